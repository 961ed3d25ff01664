package rootless

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/bundle"
	"tongs/internal/linuxtest"
)

func chmodAll(path string) error { return os.Chmod(path, 0o777) }

// runNext runs the bundle that nest has made, in a container.
func runNext(level int) linuxtest.Edit {
	return linuxtest.Shell(fmt.Sprintf("echo level %d; exec tongs --root /run/t run --bundle /next n%d", level, level))
}

// nested is the configuration of a container in a container, whose root is its
// root.
func nested(edits ...linuxtest.Edit) *specs.Spec {
	s := bundle.ExampleRootless(0, 0)
	s.Process.Terminal = false
	for _, e := range append([]linuxtest.Edit{writable, all}, edits...) {
		e(s)
	}
	return s
}

func writable(s *specs.Spec) { s.Root.Readonly = false }

func TestNested(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		h = h.AsUser()
		const levels = 5
		dir := h.Bundle(writable, all, open, runNext(1))
		root := filepath.Join(dir, "rootfs")
		for i := 2; i < levels; i++ {
			root = h.Nest(root, nested(open, runNext(i)))
		}
		// The last one is as usual.
		h.Nest(root, nested(linuxtest.Inside("/proc/self/uid_map", "/proc/keys", "/dev/null")))
		h.Own(dir)
		out := h.Must("run", "--bundle", dir, h.ID("a")).Stdout
		before, json, _ := strings.Cut(out, "{")
		linuxtest.Equal(t, "levels", linuxtest.Words(before), "level 1 level 2 level 3 level 4")
		r := h.Look("{" + json)
		linuxtest.Equal(t, "pid", r.PID, 1)
		linuxtest.Equal(t, "uid_map", linuxtest.Words(r.Paths["/proc/self/uid_map"].Content), "0 0 1")
		linuxtest.Equal(t, "masked", r.Paths["/proc/keys"].Device, "1:3")
		linuxtest.Equal(t, "null", r.Paths["/dev/null"].Device+r.Paths["/dev/null"].WriteError, "1:3")
		if m, _ := r.At("/proc/sys"); !strings.HasPrefix(m.Options, "ro,") {
			t.Errorf("/proc/sys has the options %q", m.Options)
		}
	})
}

// The kernel gives no new proc where the one that is there is masked. A bind of
// that one is what is left.
func TestNestedBelowMasks(t *testing.T) {
	h := linuxtest.One(t).AsUser()
	for _, c := range []struct {
		name string
		edit linuxtest.Edit
		want []string
	}{
		{"proc", func(*specs.Spec) {}, []string{"mounts[0].type", "/proc", "EPERM", "masked"}},
		{"bind", func(s *specs.Spec) {
			s.Mounts[0] = specs.Mount{Destination: "/proc", Type: "none", Source: "/proc", Options: []string{"rbind"}}
			s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
		}, nil},
	} {
		h.Sub(t, c.name, func(t *testing.T, h *linuxtest.Host) {
			dir := h.Bundle(writable, all, runNext(1))
			h.Nest(filepath.Join(dir, "rootfs"), nested(c.edit, linuxtest.Args("/bin/echo", "inside")))
			h.Own(dir)
			r := h.Run("run", "--bundle", dir, h.ID("a"))
			if c.want == nil {
				linuxtest.Equal(t, "status", r.Status, 0)
				contains(t, r.Stdout, "inside")
				return
			}
			linuxtest.Equal(t, "status", r.Status, 1)
			contains(t, r.Stderr, c.want...)
		})
	}
}

// Root of a user namespace that somebody else has made: as in a container, or
// where Podman calls a runtime. It has a mount namespace or not.
func TestRootOfUserNamespace(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		h = h.AsUser()
		plain := func(s *specs.Spec) { // no user namespace of the container's own
			linuxtest.WithoutNamespace(specs.UserNamespace)(s)
			s.Linux.UIDMappings, s.Linux.GIDMappings = nil, nil
		}
		inner := func(s *specs.Spec) { s.Linux.UIDMappings[0].HostID, s.Linux.GIDMappings[0].HostID = 0, 0 }
		for name, c := range map[string]struct {
			edit linuxtest.Edit
			want string // namespaces that are not the test's
			map0 string
		}{
			"same user namespace": {plain, "ipc mnt pid user uts", "0 54321 1"},
			"another":             {inner, "ipc mnt pid user uts", "0 0 1"},
		} {
			for _, flags := range []string{"-Ur", "-Urm"} {
				h.Sub(t, name+" "+flags, func(t *testing.T, h *linuxtest.Host) {
					dir := h.Bundle(linuxtest.Inside("/dev/null", "/proc/self/uid_map", "/sys/fs/cgroup"), c.edit)
					out := h.Tool("unshare", append([]string{flags}, h.Argv("run", "--bundle", dir, h.ID("a"))...)...)
					linuxtest.Equal(t, "status", out.Status, 0)
					if out.Status != 0 {
						t.Fatal(out.Stderr)
					}
					r := h.Look(out.Stdout)
					linuxtest.Equal(t, "own namespaces", linuxtest.OwnNamespaces(t, r), namespaces(h, c.want))
					linuxtest.Equal(t, "uid_map", linuxtest.Words(r.Paths["/proc/self/uid_map"].Content), c.map0)
					linuxtest.Equal(t, "null", r.Paths["/dev/null"].Device+r.Paths["/dev/null"].WriteError, "1:3")
					linuxtest.Equal(t, "cgroups are", r.Paths["/sys/fs/cgroup"].WriteError, "read-only file system")
				})
			}
		}
	})
}

// A network namespace that tongs cannot make ahead: the container's process tries
// itself, and what it is told is the error.
func TestNoMoreNetworkNamespaces(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		h = h.AsUser()
		dir := h.Bundle(linuxtest.Inside("/dev/null"), func(s *specs.Spec) {
			linuxtest.WithoutNamespace(specs.UserNamespace)(s)
			linuxtest.Namespace(specs.NetworkNamespace, "")(s)
			s.Linux.UIDMappings, s.Linux.GIDMappings = nil, nil
		})
		for limit, status := range map[string]int{"0": 1, "1000": 0} {
			script := "echo " + limit + " >/proc/sys/user/max_net_namespaces && exec \"$@\""
			out := h.Tool("unshare", append([]string{"-Urm", "sh", "-c", script, "sh"}, h.Argv("run", "--bundle", dir, h.ID("a"+limit))...)...)
			linuxtest.Equal(t, "status with a limit of "+limit, out.Status, status)
			if status != 0 {
				contains(t, out.Stderr, "linux.namespaces", "unshare(CLONE_NEWNET)", "ENOSPC", "max_*_namespaces")
			} else {
				linuxtest.Equal(t, "errors", out.Stderr, "")
			}
		}
	})
}
