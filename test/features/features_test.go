// Package features checks what tongs says of itself and of the machine: beside
// runc's words, and on machines from which something has been taken away.
//
// It deliberately does not check that features work: the other tests do.
package features

import (
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go/features"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
	"tongs/internal/probe"
)

func TestMain(m *testing.M) { linuxtest.Main(m) }

// report is what `features --probe` prints.
type report struct {
	features.Features
	Probe []probe.Finding
}

func ask(t *testing.T, h *linuxtest.Host, args ...string) report {
	t.Helper()
	var r report
	if err := json.Unmarshal([]byte(h.Must(append([]string{"features"}, args...)...).Stdout), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *report) finding(t *testing.T, name string) probe.Finding {
	t.Helper()
	for _, f := range r.Probe {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("nothing was found out about %q", name)
	return probe.Finding{}
}

// What runc recognizes is recognized, but for what is listed.
func TestFeaturesOfRunc(t *testing.T) {
	h := linuxtest.One(t)
	tongs, runc := ask(t, h), ask(t, h.With("runc"))
	exceptions := map[string]string{
		"mountOptions acl": "a file system's own option", "mountOptions noacl": "the same",
		"archs SCMP_ARCH_MIPS*": "no program of it can run where tongs does", "archs SCMP_ARCH_PPC*": "the same", "archs SCMP_ARCH_S390*": "the same",
	}
	compare := func(what string, ours, theirs []string) {
		if len(ours) == 0 {
			t.Errorf("%s: nothing is said", what)
		}
		for _, item := range theirs {
			excepted := false
			for pattern := range exceptions {
				match, _ := path.Match(pattern, what+" "+item) // which are fine
				excepted = excepted || match
			}
			if !slices.Contains(ours, item) && !excepted {
				t.Errorf("%s: runc recognizes %s", what, item)
			}
		}
	}
	compare("hooks", tongs.Hooks, runc.Hooks)
	compare("mountOptions", tongs.MountOptions, runc.MountOptions)
	compare("namespaces", tongs.Linux.Namespaces, runc.Linux.Namespaces)
	compare("capabilities", tongs.Linux.Capabilities, runc.Linux.Capabilities)
	compare("actions", tongs.Linux.Seccomp.Actions, runc.Linux.Seccomp.Actions)
	compare("operators", tongs.Linux.Seccomp.Operators, runc.Linux.Seccomp.Operators)
	compare("archs", tongs.Linux.Seccomp.Archs, runc.Linux.Seccomp.Archs)
	for what, both := range map[string][2]*bool{
		"cgroup.v1": {tongs.Linux.Cgroup.V1, runc.Linux.Cgroup.V1}, "cgroup.v2": {tongs.Linux.Cgroup.V2, runc.Linux.Cgroup.V2},
		"cgroup.systemd": {tongs.Linux.Cgroup.Systemd, runc.Linux.Cgroup.Systemd}, "cgroup.systemdUser": {tongs.Linux.Cgroup.SystemdUser, runc.Linux.Cgroup.SystemdUser},
		"seccomp": {tongs.Linux.Seccomp.Enabled, runc.Linux.Seccomp.Enabled}, "apparmor": {tongs.Linux.Apparmor.Enabled, runc.Linux.Apparmor.Enabled},
		"selinux": {tongs.Linux.Selinux.Enabled, runc.Linux.Selinux.Enabled},
	} {
		if both[0] == nil || both[1] == nil || *both[1] && !*both[0] {
			t.Errorf("%s: runc has it", what)
		}
	}
	if len(tongs.Probe) > 0 {
		t.Error("the machine was asked without --probe")
	}
}

// Every field of the specification's structure says something.
func TestFeaturesComplete(t *testing.T) {
	h := linuxtest.One(t)
	var object map[string]any
	if err := json.Unmarshal([]byte(h.Must("features").Stdout), &object); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux.namespaces", "linux.capabilities",
		"linux.cgroup.v1", "linux.cgroup.v2", "linux.cgroup.systemd", "linux.cgroup.systemdUser", "linux.cgroup.rdma",
		"linux.seccomp.enabled", "linux.seccomp.actions", "linux.seccomp.operators", "linux.seccomp.archs", "linux.seccomp.knownFlags",
		"linux.seccomp.supportedFlags", "linux.apparmor.enabled", "linux.selinux.enabled", "linux.intelRdt.enabled", "linux.memoryPolicy.modes",
		"linux.memoryPolicy.flags", "linux.mountExtensions.idmap.enabled", "linux.netDevices.enabled", "annotations", "potentiallyUnsafeConfigAnnotations"} {
		var value any = object
		for part := range strings.SplitSeq(field, ".") {
			m, _ := value.(map[string]any)
			value = m[part]
		}
		if value == nil {
			t.Errorf("%s is missing", field)
		}
	}
}

// The machine that the other tests use allows what they do, in both views.
func TestProbe(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		r := ask(t, h, "--probe", "/", "/dev/shm", "/proc")
		for _, f := range r.Probe {
			if f.Required && !f.OK {
				t.Errorf("%s: %s", f.Name, f.Reason)
			}
			if f.OK == (f.Reason != "") || f.OK && f.Remedy != "" || f.Serves == "" {
				t.Errorf("reason, remedy and use do not fit: %+v", f)
			}
		}
		for _, name := range []string{"user namespaces", "tmpfs in a user namespace", "idmapped mounts of /dev/shm", "cgroups"} {
			if f := r.finding(t, name); !f.OK {
				t.Errorf("%s: %s", name, f.Reason)
			}
		}
		if f := r.finding(t, "idmapped mounts of /proc"); f.OK || f.Detail != "proc" || !strings.Contains(f.Reason, "cannot map owners") {
			t.Errorf("proc can map owners: %+v", f)
		}
		if v2 := strings.HasPrefix(r.finding(t, "cgroups").Detail, "v2"); v2 != h.V2 {
			t.Errorf("cgroup v2: %v, want %v", v2, h.V2)
		}
		if h.V2 {
			r.finding(t, "device programs")
		}
	})
}

// What is taken away is missed.
func TestProbeMisses(t *testing.T) {
	h := linuxtest.One(t)
	if err := unix.Mount("tmpfs", "/proc/sys/kernel", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	r := ask(t, h, "--probe")
	if err := unix.Unmount("/proc/sys/kernel", 0); err != nil {
		t.Fatal(err)
	}
	if f := r.finding(t, "proc in a user namespace"); f.OK || !strings.Contains(f.Reason, "/proc/sys/kernel is mounted over") {
		t.Errorf("a part of /proc is covered: %+v", f)
	}
	if f := ask(t, h, "--probe"); !f.finding(t, "proc in a user namespace").OK {
		t.Error("nothing of /proc is covered")
	}
	if err := unix.Mount("tmpfs", "/sys/fs/cgroup", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	r = ask(t, h, "--probe")
	if err := unix.Unmount("/sys/fs/cgroup", 0); err != nil {
		t.Fatal(err)
	}
	if f := r.finding(t, "cgroups"); f.OK || !strings.Contains(f.Reason, "nothing is mounted") || f.Remedy == "" {
		t.Errorf("there are no cgroups: %+v", f)
	}
}

// doctor says it to people: to root and to an ordinary user.
func TestDoctor(t *testing.T) {
	h := linuxtest.One(t)
	root := h.Must("doctor").Stdout
	if !strings.Contains(root, "works    openat2\n") || !strings.Contains(root, "\nContainers of root can run here.\n") || strings.Contains(root, "BROKEN") {
		t.Errorf("root is told: %s", root)
	}
	state := h.Dir + "/state-of-user"
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if text, status := asUser(t, h, state); status != 1 || !strings.Contains(text, "BROKEN   state directory") || !strings.Contains(text, "Containers of user 1234 cannot run here") {
		t.Errorf("a user without a directory is told, with status %d: %s", status, text)
	}
	if err := os.Chown(state, 1234, 1234); err != nil {
		t.Fatal(err)
	}
	text, status := asUser(t, h, state)
	if status != 0 || !strings.Contains(text, "works    user namespaces\n") || !strings.Contains(text, "works    open_tree, mount_setattr\n") || !strings.Contains(text, "missing  subordinate ids") {
		t.Errorf("a user is told, with status %d: %s", status, text)
	}
}

// Root of a user namespace is told what it can do there; root without privileges
// that it cannot do anything.
func TestDoctorLimited(t *testing.T) {
	h := linuxtest.One(t)
	doctor := func(argv ...string) (string, int) {
		cmd := exec.Command(argv[0], append(argv[1:], h.Argv("doctor")...)...)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	if text, status := doctor("unshare", "--user", "--map-root-user"); status != 0 || strings.Contains(text, "BROKEN") || !strings.Contains(text, "missing  idmapped mounts") {
		t.Errorf("root of a user namespace is told, with status %d: %s", status, text)
	}
	text, status := doctor("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")
	if status != 1 || !strings.Contains(text, "BROKEN   open_tree, mount_setattr: ") || !strings.Contains(text, "remedy: give tongs CAP_SYS_ADMIN") {
		t.Errorf("root without privileges is told, with status %d: %s", status, text)
	}
}

func asUser(t *testing.T, h *linuxtest.Host, state string) (string, int) {
	t.Helper()
	cmd := exec.Command(h.Argv()[0], "--root", state, "doctor")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1234, Gid: 1234}}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}
