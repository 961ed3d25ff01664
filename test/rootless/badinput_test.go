package rootless

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// What only the host's root may do is refused, by the field that asks for it, and
// with what to do.
func TestRefusals(t *testing.T) {
	h := linuxtest.One(t).AsUser()
	locked, closed := filepath.Join(h.Dir, "locked"), filepath.Join(h.Dir, "closed")
	for dir, mode := range map[string]os.FileMode{locked: 0o755, closed: 0o700} {
		if err := os.Mkdir(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("none", locked, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(locked, 0) })
	ids := func(list ...specs.LinuxIDMapping) []specs.LinuxIDMapping { return list }
	bind := func(source string, options ...string) linuxtest.Edit {
		return linuxtest.Mount("/tmp", "bind", source, options...)
	}
	for _, c := range []struct {
		name string
		edit linuxtest.Edit
		want []string
	}{
		{"no user namespace", func(s *specs.Spec) {
			linuxtest.WithoutNamespace(specs.UserNamespace)(s)
			s.Linux.UIDMappings, s.Linux.GIDMappings = nil, nil
		}, []string{"user namespace", "spec --rootless"}},
		{"no mount namespace", func(s *specs.Spec) {
			linuxtest.WithoutNamespace(specs.MountNamespace)(s)
			open(s)
		}, []string{"mount namespace"}},
		{"somebody else's uid", func(s *specs.Spec) { s.Linux.UIDMappings[0].HostID = 0 }, []string{"linux.uidMappings", "newuidmap", "not allowed"}},
		{"somebody else's gid", func(s *specs.Spec) { s.Linux.GIDMappings[0].HostID = 0 }, []string{"linux.gidMappings", "newgidmap", "not allowed"}},
		{"more than the sub-ids", func(s *specs.Spec) {
			s.Linux.UIDMappings = append(s.Linux.UIDMappings, specs.LinuxIDMapping{ContainerID: 1, HostID: h.User.SubUID, Size: h.User.SubSize + 1})
		}, []string{"linux.uidMappings", "newuidmap", "not allowed"}},
		{"overlap", func(s *specs.Spec) {
			s.Linux.UIDMappings = append(s.Linux.UIDMappings, specs.LinuxIDMapping{ContainerID: 0, HostID: h.User.SubUID, Size: 1})
		}, []string{"linux.uidMappings[1]", "overlaps"}},
		{"unmapped user", func(s *specs.Spec) { s.Process.User.UID = 1 }, []string{"process.user.uid", "not mapped"}},
		{"groups", func(s *specs.Spec) { s.Process.User.AdditionalGids = []uint32{0} }, []string{"process.user.additionalGids", "denies setgroups"}},
		{"groups by sub-ids of users only", func(s *specs.Spec) {
			s.Linux.UIDMappings = append(s.Linux.UIDMappings, specs.LinuxIDMapping{ContainerID: 1, HostID: h.User.SubUID, Size: 5})
			s.Process.User.AdditionalGids = []uint32{0}
		}, []string{"process.user.additionalGids", "denies setgroups"}},
		{"limit", func(s *specs.Spec) {
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1, Hard: 1 << 30}}
		}, []string{"process.rlimits[0]", "only the host's root"}},
		{"network devices", func(s *specs.Spec) {
			linuxtest.Namespace(specs.NetworkNamespace, "")(s)
			s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"lo": {Name: "lo2"}}
		}, []string{"linux.netDevices", "ordinary user"}},
		{"sysfs", func(s *specs.Spec) {
			for i := range s.Mounts {
				if s.Mounts[i].Destination == "/sys" {
					s.Mounts[i] = specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs"}
				}
			}
		}, []string{"mounts[5].type", "sysfs", "network namespace"}},
		{"proc without namespace", linuxtest.WithoutNamespace(specs.PIDNamespace), []string{"mounts[0].type", "proc", "PID namespace"}},
		{"part of the mounts", bind("/", "bind"), []string{"mounts[7].source", "EINVAL", "rbind"}},
		{"locked flag", bind(locked, "rbind", "rw"), []string{"mounts[7].options", "EPERM", "locked"}},
		{"unreadable source", bind(filepath.Join(closed, "file"), "bind"), []string{"mounts[7].source", "EACCES"}},
		{"idmap", func(s *specs.Spec) {
			bind(h.User.Home, "bind", "idmap")(s)
		}, []string{"mounts[7].options", "privileges"}},
		{"device", func(s *specs.Spec) {
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/mine", Type: "c", Major: 1, Minor: 3}}
		}, []string{"linux.devices[0]", "/dev/mine"}},
		{"host's namespace", func(s *specs.Spec) { linuxtest.Namespace(specs.NetworkNamespace, "/proc/1/ns/net")(s) }, []string{"linux.namespaces[last].path", "EACCES"}},
		{"own network namespace", func(s *specs.Spec) { linuxtest.Namespace(specs.NetworkNamespace, "/proc/self/ns/net")(s) }, []string{"linux.namespaces[last].path", "EPERM"}},
		{"too many ids", func(s *specs.Spec) {
			s.Linux.UIDMappings = ids()
			for i := range uint32(341) {
				s.Linux.UIDMappings = append(s.Linux.UIDMappings, specs.LinuxIDMapping{ContainerID: i, HostID: h.User.SubUID + 2*i, Size: 1})
			}
		}, []string{"linux.uidMappings", "340"}},
	} {
		h.Sub(t, c.name, func(t *testing.T, h *linuxtest.Host) {
			r := h.Run("run", "--bundle", h.Bundle(linuxtest.Args("/bin/true"), c.edit), h.ID("a"))
			linuxtest.Equal(t, "status", r.Status, 1)
			for _, w := range c.want {
				// Each edit puts the namespace to the end; the example has one more on v2.
				last := 5
				if h.V2 {
					last++
				}
				contains(t, r.Stderr, strings.ReplaceAll(w, "[last]", "["+strconv.Itoa(last)+"]"))
			}
		})
	}
}
