// Package namespaces tests every mix of namespaces that makes sense, new, joined
// and shared with the host, as it is seen from inside, and that nothing of the
// host is reachable in any of them but what the configuration grants.
package namespaces

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
	"tongs/test/inside/report"
)

func TestMain(m *testing.M) { linuxtest.Main(m) }

// mapped asks for a new user namespace in which ids from 0 on are the host's
// from 100000 on.
func mapped(s *specs.Spec) {
	linuxtest.Namespace(specs.UserNamespace, "")(s)
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	s.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 200000, Size: 65536}}
}

// shows replaces the mount on a point by a recursive bind of the host's.
func shows(point string) linuxtest.Edit {
	return func(s *specs.Spec) {
		for i := range s.Mounts {
			if s.Mounts[i].Destination == point {
				s.Mounts[i] = specs.Mount{Destination: point, Type: "none", Source: point, Options: []string{"rbind", "nosuid", "noexec", "nodev", "ro"}}
			}
		}
	}
}

// without leaves a mount out.
func without(point string) linuxtest.Edit {
	return func(s *specs.Spec) {
		s.Mounts = slices.DeleteFunc(s.Mounts, func(m specs.Mount) bool { return m.Destination == point })
	}
}

// bare leaves nothing of /proc masked or read-only. /proc/keys shows then what
// the user may see, on the whole machine.
func bare(s *specs.Spec) {
	s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
	s.Process.Args = slices.DeleteFunc(s.Process.Args, func(arg string) bool { return arg == "/proc/keys" })
}

// hold runs a container that stays, and gives the paths of its namespaces.
func hold(t *testing.T, h *linuxtest.Host, name string, edits ...linuxtest.Edit) func(file string) string {
	t.Helper()
	id := h.ID(name)
	h.Must("run", "--detach", "--bundle", h.Bundle(append(edits, linuxtest.Args("/bin/sleep", "1000"))...), id)
	t.Cleanup(func() { h.Must("delete", "--force", id) })
	st, _ := h.State(id)
	return func(file string) string { return "/proc/" + strconv.Itoa(st.PID) + "/ns/" + file }
}

// secrets puts a key into the test's own session keyring, which its commands
// inherit.
func secrets(t *testing.T) {
	t.Helper()
	if _, err := unix.KeyctlJoinSessionKeyring("tongs-test"); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.AddKey("user", report.SecretKey, []byte("secret"), unix.KEY_SPEC_SESSION_KEYRING); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.KeyctlSearch(unix.KEY_SPEC_SESSION_KEYRING, "user", report.SecretKey, 0); err != nil {
		t.Fatalf("the test does not find its own key: %v", err)
	}
}

// scan wants nothing to be reachable but what the configuration grants.
func scan(t *testing.T, s *specs.Spec, r *report.Report) {
	t.Helper()
	for fd, to := range r.Descriptors {
		if fd != "0" && fd != "1" && fd != "2" {
			t.Errorf("descriptor %s is open on %s", fd, to)
		}
	}
	scanMounts(t, s, r)
	if got, want := r.Paths["/.."].Names, r.Paths["/"].Names; !slices.Equal(got, want) {
		t.Errorf("/.. has %q, and not %q", got, want)
	}
	root := r.Paths["/proc/1/root"]
	if root.Link != "/" && root.Link != "" {
		t.Errorf("/proc/1/root leads to %q", root.Link)
	}
	if text := r.Paths["/proc/1/environ"].Content; strings.Contains(text, "TONGS_TEST_SECRET") {
		t.Errorf("process 1 has the environment %q", text)
	}
	want := append(slices.Clone(s.Process.Env), "HOME=/root")
	got := slices.Clone(r.Env)
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("environment %q, want %q", got, want)
	}
	if r.SecretKey == "found" {
		t.Error("a key of the test was found")
	}
	if strings.Contains(r.Paths["/proc/keys"].Content, report.SecretKey) {
		t.Error("/proc/keys shows a key of the test")
	}
}

// scanMounts wants each mount to be one of the configuration's.
func scanMounts(t *testing.T, s *specs.Spec, r *report.Report) {
	t.Helper()
	points := append([]string{"/"}, s.Linux.MaskedPaths...)
	points = append(points, s.Linux.ReadonlyPaths...)
	for _, name := range []string{"null", "random", "full", "tty", "zero", "urandom"} {
		points = append(points, filepath.Join("/dev", name))
	}
	var trees []string
	for _, m := range s.Mounts {
		points = append(points, m.Destination)
		if m.Type == "cgroup" || slices.Contains(m.Options, "rbind") {
			trees = append(trees, m.Destination+"/")
		}
	}
	for _, m := range r.Mounts {
		known := slices.Contains(points, m.Point) || slices.ContainsFunc(trees, func(tree string) bool { return strings.HasPrefix(m.Point, tree) })
		if !known {
			t.Errorf("something is mounted on %s: %+v", m.Point, m)
		}
	}
}

// pin keeps a namespace of a process at a path, as network plugins do.
func pin(t *testing.T, from, to string) {
	t.Helper()
	err := os.WriteFile(to, nil, 0o600)
	if err == nil {
		err = unix.Mount(from, to, "", unix.MS_BIND, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(to, 0); err != nil {
			t.Error(err)
		}
	})
}
