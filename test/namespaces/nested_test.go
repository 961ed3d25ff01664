package namespaces

import (
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// engine is a container in which another runtime runs, as Docker does in Docker:
// with every capability and device, and a cgroup namespace, but no user namespace.
func engine(s *specs.Spec) {
	names := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",
		"CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN",
		"CAP_SYS_NICE", "CAP_MKNOD", "CAP_AUDIT_WRITE", "CAP_SETFCAP", "CAP_BPF", "CAP_PERFMON"}
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: names, Effective: names, Permitted: names}
	s.Process.NoNewPrivileges = false
	linuxtest.Mount("/run", "tmpfs", "tmpfs")(s)
	s.Root.Readonly = false
	linuxtest.Namespace(specs.CgroupNamespace, "")(s)
	s.Linux.Resources = &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}}
}

func writableCgroups(s *specs.Spec) {
	for i := range s.Mounts {
		if s.Mounts[i].Destination == "/sys/fs/cgroup" {
			s.Mounts[i].Options = []string{"nosuid", "noexec", "nodev"}
		}
	}
}

// Containers in a container without a user namespace, with one of their own, and
// where cgroups cannot be made.
func TestNested(t *testing.T) {
	run := linuxtest.Shell("exec tongs --root /run/t run --bundle /next inner")
	for _, c := range []struct {
		name         string
		outer, inner []linuxtest.Edit
		status       int
		want         []string
	}{
		{"plain", []linuxtest.Edit{engine, writableCgroups}, nil, 0, []string{"0 0 4294967295"}},
		{"user namespace", []linuxtest.Edit{engine, writableCgroups, bare}, []linuxtest.Edit{mapped}, 0, []string{"0 100000 65536"}},
		{"user namespace, masked", []linuxtest.Edit{engine, writableCgroups}, []linuxtest.Edit{mapped}, 1, []string{"mounts[0].type", "EPERM", "masked"}},
		{"in a user namespace", []linuxtest.Edit{mapped, engine, writableCgroups, bare}, nil, 0, []string{"0 100000 65536"}},
		{"in a user namespace, another", []linuxtest.Edit{mapped, engine, writableCgroups, bare}, []linuxtest.Edit{mapped, func(s *specs.Spec) {
			s.Linux.UIDMappings[0] = specs.LinuxIDMapping{HostID: 1000, Size: 1000}
			s.Linux.GIDMappings[0] = specs.LinuxIDMapping{HostID: 1000, Size: 1000}
		}}, 0, []string{"0 1000 1000"}},
		{"in a user namespace, read-only cgroups", []linuxtest.Edit{mapped, engine, bare}, nil, 0, []string{"0 100000 65536"}},
		{"read-only cgroups", []linuxtest.Edit{engine}, nil, 1, []string{"cgroup", "read-only file system"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := linuxtest.OneV2(t)
			dir := h.Bundle(append(c.outer, run)...)
			inner := append([]linuxtest.Edit{linuxtest.Args("/bin/cat", "/proc/self/uid_map")}, c.inner...)
			h.Nest(filepath.Join(dir, "rootfs"), linuxtest.Spec(inner...))
			r := h.Run("run", "--bundle", dir, h.ID("a"))
			linuxtest.Equal(t, "status", r.Status, c.status)
			for _, w := range c.want {
				if !strings.Contains(linuxtest.Words(r.Stdout)+r.Stderr, w) {
					t.Errorf("%q is not in %q %q", w, r.Stdout, r.Stderr)
				}
			}
		})
	}
}

// A container can be deleted where cgroups can no longer be changed.
func TestDeleteWithReadOnlyCgroups(t *testing.T) {
	h := linuxtest.OneV2(t)
	remount := func(flags uintptr) {
		if err := unix.Mount("", "/sys/fs/cgroup", "", unix.MS_REMOUNT|unix.MS_BIND|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	for name, pid := range map[string]linuxtest.Edit{"own": func(*specs.Spec) {}, "host": linuxtest.WithoutNamespace(specs.PIDNamespace)} {
		id := h.ID(name)
		h.Must("run", "--detach", "--bundle", h.Bundle(pid, bare, linuxtest.Shell("sleep 1000 & sleep 1001")), id)
		h.WaitFor(id, "running")
		remount(unix.MS_RDONLY)
		h.Must("delete", "--force", id)
		remount(0)
		if _, there := h.State(id); there {
			t.Error("the container is there")
		}
		h.RemoveCgroups(id)
	}
}
