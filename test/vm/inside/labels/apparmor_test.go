// Package labels tests AppArmor profiles of containers on a host that has
// AppArmor.
package labels

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

func TestMain(m *testing.M) { linuxtest.MainVM(m) }

// profiles are loaded for each test.
const profiles = `
profile tongs-test flags=(attach_disconnected,mediate_deleted) {
	file,
	capability,
	signal,
	network,
	mount,
	umount,
	deny /etc/forbidden r,
}
profile tongs-test-other flags=(attach_disconnected,mediate_deleted) {
	file,
	capability,
	signal,
}
`

func profile(name string) linuxtest.Edit {
	return func(s *specs.Spec) { s.Process.ApparmorProfile = name }
}

// look says what a process is confined by, and tries what one profile denies.
const look = "cat /proc/self/attr/apparmor/current; cat /etc/forbidden 2>&1"

const (
	confined = "tongs-test (enforce)\ncat: can't open '/etc/forbidden': Permission denied\n"
	other    = "tongs-test-other (enforce)\nsecret\n"
	free     = "unconfined\nsecret\n"
)

// bundle makes a bundle whose root file system has the file that is denied.
func bundle(t *testing.T, h *linuxtest.Host, edits ...linuxtest.Edit) string {
	t.Helper()
	dir := h.Bundle(edits...)
	if err := os.WriteFile(filepath.Join(dir, "rootfs/etc/forbidden"), []byte("secret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// each runs the test for tongs and runc.
func each(t *testing.T, h *linuxtest.Host, test func(t *testing.T, h *linuxtest.Host, program string)) {
	for _, program := range []string{"tongs", "runc"} {
		h.Sub(t, program, func(t *testing.T, h *linuxtest.Host) {
			if program == "runc" {
				h = h.With("runc")
			}
			test(t, h, program)
		})
	}
}

func TestProfile(t *testing.T) {
	linuxtest.LoadProfiles(t, profiles)
	h := linuxtest.One(t)
	user := func(s *specs.Spec) { s.Process.User = specs.User{UID: 1000, GID: 1000} }
	for name, edits := range map[string][]linuxtest.Edit{
		"root":             {},
		"user":             {user},
		"new privileges":   {func(s *specs.Spec) { s.Process.NoNewPrivileges = false }},
		"host's processes": {linuxtest.WithoutNamespace(specs.PIDNamespace)},
		"user namespace":   {inUserNamespace},
		"read-only root":   {func(s *specs.Spec) { s.Root.Readonly = true }},
	} {
		each(t, h, func(t *testing.T, h *linuxtest.Host, program string) {
			edits := append([]linuxtest.Edit{profile("tongs-test"), linuxtest.Shell(look)}, edits...)
			if r := h.Run("run", "--bundle", bundle(t, h, edits...), h.ID(program)); r.Stdout != confined {
				t.Errorf("%s: status %d, %q, want %q; %s", name, r.Status, r.Stdout, confined, r.Stderr)
			}
		})
	}
	r := h.Must("run", "--bundle", bundle(t, h, profile("unconfined"), linuxtest.Shell(look)), h.ID("u"))
	if r.Stdout != free {
		t.Errorf("unconfined: %q", r.Stdout)
	}
	// Without a proc file system in the container.
	r = h.Run("run", "--bundle", bundle(t, h, profile("tongs-test"), linuxtest.Shell("cat /etc/forbidden 2>&1"), noProc), h.ID("p"))
	if !strings.HasSuffix(confined, r.Stdout) || r.Stdout == "" {
		t.Errorf("no /proc: %q; %s", r.Stdout, r.Stderr)
	}
}

func noProc(s *specs.Spec) {
	var list []specs.Mount
	for _, m := range s.Mounts {
		if m.Destination != "/proc" {
			list = append(list, m)
		}
	}
	s.Mounts, s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = list, nil, nil
}

func inUserNamespace(s *specs.Spec) {
	linuxtest.Namespace(specs.UserNamespace, "")(s)
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	s.Linux.GIDMappings = s.Linux.UIDMappings
}

// A process of exec has the profile of the configuration, or another.
func TestProfileExec(t *testing.T) {
	linuxtest.LoadProfiles(t, profiles)
	h := linuxtest.One(t)
	for name, edits := range map[string][]linuxtest.Edit{"": {}, "user namespace": {inUserNamespace}} {
		each(t, h, func(t *testing.T, h *linuxtest.Host, program string) {
			edits := append([]linuxtest.Edit{profile("tongs-test"), linuxtest.Shell("sleep 1000")}, edits...)
			id := h.ID(program)
			h.Must("run", "--detach", "--bundle", bundle(t, h, edits...), id)
			for want, flags := range map[string][]string{confined: {}, other: {"--apparmor", "tongs-test-other"}, free: {"--apparmor", "unconfined"}} {
				args := append(append([]string{"exec"}, flags...), id, "/bin/sh", "-c", look)
				if r := h.Run(args...); r.Stdout != want {
					t.Errorf("%s %s: status %d, %q, want %q; %s", name, flags, r.Status, r.Stdout, want, r.Stderr)
				}
			}
			r := h.Run("exec", "--apparmor", "nowhere", id, "/bin/true")
			if r.Status != 255 || program == "tongs" && !strings.Contains(r.Stderr, "process.apparmorProfile: cannot apply the profile nowhere") {
				t.Errorf("unknown profile: status %d, %s", r.Status, r.Stderr)
			}
			h.Must("delete", "--force", id)
		})
	}
}

func TestProfileUnknown(t *testing.T) {
	h := linuxtest.One(t)
	for _, command := range []string{"run", "create"} {
		r := h.Run(command, "--bundle", bundle(t, h, profile("nowhere"), linuxtest.Shell(look)), h.ID("a"))
		if r.Status != 1 || !strings.Contains(r.Stderr, "process.apparmorProfile: cannot apply the profile nowhere, which has to be loaded: ") ||
			!strings.Contains(r.Stderr, "no such file or directory") {
			t.Errorf("%s: status %d, %s", command, r.Status, r.Stderr)
		}
	}
	r := h.Run("run", "--bundle", bundle(t, h, linuxtest.Shell(look), func(s *specs.Spec) { s.Process.SelinuxLabel = "a:b:c" }), h.ID("b"))
	if r.Status != 1 || !strings.Contains(r.Stderr, "process.selinuxLabel: selinux label is specified in config, but selinux is disabled or not supported") {
		t.Errorf("SELinux: status %d, %s", r.Status, r.Stderr)
	}
}

// Hooks that act for the host are not confined; those in the container are.
func TestProfileHooks(t *testing.T) {
	linuxtest.LoadProfiles(t, profiles)
	h := linuxtest.One(t)
	each(t, h, func(t *testing.T, h *linuxtest.Host, program string) {
		log := filepath.Join(h.Dir, "hooks-"+program)
		hook := func(file string) []specs.Hook {
			return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "cat /proc/self/attr/apparmor/current >> " + file}, Env: []string{"PATH=/bin:/usr/bin"}}}
		}
		dir := bundle(t, h, profile("tongs-test"), linuxtest.Shell("cat /tmp/log"), func(s *specs.Spec) {
			s.Root.Readonly = false
			s.Hooks = &specs.Hooks{CreateRuntime: hook(log), CreateContainer: hook(log), StartContainer: hook("/tmp/log"), Poststart: hook(log), Poststop: hook(log)}
		})
		r := h.Must("run", "--bundle", dir, h.ID(program))
		data, err := os.ReadFile(log)
		if r.Stdout != "tongs-test (enforce)\n" || err != nil || string(data) != strings.Repeat("unconfined\n", 4) {
			t.Errorf("startContainer: %q, others: %q, %v", r.Stdout, data, err)
		}
	})
}

// What a container has mounted over its /proc is not met when the next process
// is confined (CVE-2019-16884, CVE-2025-52881).
func TestProfileIsNotRedirected(t *testing.T) {
	linuxtest.LoadProfiles(t, profiles)
	h := linuxtest.One(t)
	var dirs, files strings.Builder // of numbers that the next processes may have
	for n := range 200 {
		dirs.WriteString(" /proc/" + strconv.Itoa(n) + "/attr/apparmor")
		files.WriteString(" /proc/" + strconv.Itoa(n) + "/attr/apparmor/exec /proc/" + strconv.Itoa(n) + "/attr/exec")
	}
	cover := "mount -t tmpfs t /proc && mkdir -p /proc/self/attr/apparmor /proc/thread-self/attr/apparmor" + dirs.String() +
		" && touch /proc/self/attr/exec /proc/self/attr/apparmor/exec" + files.String() + " && echo covered && sleep 1000"
	id := h.ID("a")
	r := h.Must("run", "--detach", "--bundle", bundle(t, h, profile("tongs-test"), linuxtest.Shell(cover), func(s *specs.Spec) {
		c := s.Process.Capabilities
		c.Bounding, c.Permitted, c.Effective = append(c.Bounding, "CAP_SYS_ADMIN"), append(c.Permitted, "CAP_SYS_ADMIN"), append(c.Effective, "CAP_SYS_ADMIN")
	}), id)
	if !linuxtest.Until(func() bool { r.Reread(); return r.Stdout == "covered\n" }) {
		t.Fatalf("/proc is not covered: %s%s", r.Stdout, r.Stderr)
	}
	for range 20 {
		if r := h.Run("exec", id, "/bin/cat", "/etc/forbidden"); r.Status != 1 || !strings.Contains(r.Stderr, "Permission denied") {
			t.Errorf("status %d, %s%s", r.Status, r.Stdout, r.Stderr)
		}
	}
	// Nothing was written to what lies there.
	if r := h.Must("exec", id, "/bin/sh", "-c", "cat /proc/*/attr/exec /proc/*/attr/apparmor/exec | wc -c"); r.Stdout != "0\n" {
		t.Errorf("written to the look-alike: %s bytes", r.Stdout)
	}
	// Nor is it met by a container that joins the mount namespace.
	st, _ := h.State(id)
	other := bundle(t, h, profile("tongs-test"), linuxtest.Shell("cat /etc/forbidden"), noProc,
		linuxtest.Namespace(specs.MountNamespace, "/proc/"+strconv.Itoa(st.PID)+"/ns/mnt"))
	if r := h.Run("run", "--bundle", other, h.ID("b")); r.Status == 0 {
		t.Errorf("joined: status %d, %s%s", r.Status, r.Stdout, r.Stderr)
	}
	h.Must("delete", "--force", id)
}

// An ordinary user's containers are confined, too.
func TestProfileOfOrdinaryUser(t *testing.T) {
	linuxtest.LoadProfiles(t, profiles)
	h := linuxtest.One(t).AsUser()
	for name, edits := range map[string][]linuxtest.Edit{"alone": nil, "sub-ids": {h.User.SubIDs}} {
		edits = append([]linuxtest.Edit{profile("tongs-test"), linuxtest.Shell(look)}, edits...)
		if r := h.Run("run", "--bundle", bundle(t, h, edits...), h.ID("a")); r.Stdout != confined {
			t.Errorf("%s: status %d, %q, want %q; %s", name, r.Status, r.Stdout, confined, r.Stderr)
		}
		h.Must("run", "--detach", "--bundle", bundle(t, h, append(edits, linuxtest.Args("/bin/sleep", "1000"))...), h.ID("b"))
		if r := h.Run("exec", h.ID("b"), "/bin/sh", "-c", look); r.Stdout != confined {
			t.Errorf("%s, exec: status %d, %q, want %q; %s", name, r.Status, r.Stdout, confined, r.Stderr)
		}
		h.Must("delete", "--force", h.ID("b"))
	}
}
