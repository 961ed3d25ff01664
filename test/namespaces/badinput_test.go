package namespaces

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

// What is wrong is an error with its field, and nothing is left.
func TestBadInput(t *testing.T) {
	h := linuxtest.One(t)
	ns := hold(t, h, "holder", mapped)
	path := func(name string) string { return filepath.Join(h.Dir, name) }
	for link, to := range map[string]string{"link": "/proc/self/ns/net", "uts": "/proc/self/ns/uts", "dangling": path("nothing")} {
		if err := os.Symlink(to, path(link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path("file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(path("fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	join := func(kind specs.LinuxNamespaceType, path string) linuxtest.Edit {
		return linuxtest.Namespace(kind, path)
	}
	sysctl := func(join linuxtest.Edit, name string) linuxtest.Edit {
		return func(s *specs.Spec) {
			join(s)
			s.Hostname, s.Linux.Sysctl = "", map[string]string{"net.ipv4.ip_default_ttl": "64", name: "65"}
		}
	}
	maps := func(list ...specs.LinuxIDMapping) linuxtest.Edit {
		return func(s *specs.Spec) {
			mapped(s)
			s.Linux.UIDMappings = list
		}
	}
	offset := func(clock string, o specs.LinuxTimeOffset) linuxtest.Edit {
		return func(s *specs.Spec) {
			linuxtest.Namespace(specs.TimeNamespace, "")(s)
			s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{clock: o}
		}
	}
	var many []specs.LinuxIDMapping
	for i := range uint32(341) {
		many = append(many, specs.LinuxIDMapping{ContainerID: i, HostID: 100000 + 2*i, Size: 1})
	}
	for _, c := range []struct {
		name string
		edit linuxtest.Edit
		want []string
	}{
		{"another type", join(specs.NetworkNamespace, "/proc/self/ns/uts"), []string{"linux.namespaces[last].path", "not a namespace of type network"}},
		{"another type by a link", join(specs.IPCNamespace, path("link")), []string{"linux.namespaces[last].path", "not a namespace of type ipc"}},
		{"no namespace", join(specs.NetworkNamespace, path("file")), []string{"linux.namespaces[last].path", "not a namespace"}},
		{"directory", join(specs.NetworkNamespace, h.Dir), []string{"linux.namespaces[last].path", "not a namespace"}},
		{"FIFO", join(specs.NetworkNamespace, path("fifo")), []string{"linux.namespaces[last].path", "not a namespace"}},
		{"vanished", join(specs.NetworkNamespace, "/proc/4194305/ns/net"), []string{"linux.namespaces[last].path", "ENOENT"}},
		{"dangling", join(specs.NetworkNamespace, path("dangling")), []string{"linux.namespaces[last].path", "ENOENT"}},
		{"host's network", sysctl(join(specs.NetworkNamespace, "/proc/self/ns/net"), "net.ipv4.ip_default_ttl"), []string{"linux.sysctl[net.ipv4.ip_default_ttl]", "linux.namespaces[last].path", "the host's own"}},
		{"host's messages", sysctl(join(specs.IPCNamespace, "/proc/self/ns/ipc"), "fs.mqueue.msg_max"), []string{"linux.sysctl[fs.mqueue.msg_max]", "linux.namespaces[last].path", "the host's own"}},
		{"host's domain name", sysctl(join(specs.UTSNamespace, path("uts")), "kernel.domainname"), []string{"linux.sysctl[kernel.domainname]", "linux.namespaces[last].path", "the host's own"}},
		{"relative", join(specs.NetworkNamespace, "ns/net"), []string{"linux.namespaces[last].path", "absolute"}},
		{"own user namespace", join(specs.UserNamespace, "/proc/self/ns/user"), []string{"linux.namespaces[last].path", "EINVAL"}},
		{"twice", func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: ns("pid")})
		}, []string{"linux.namespaces[last].type", "twice"}},
		{"other mappings than those of the path", func(s *specs.Spec) {
			mapped(s)
			s.Linux.UIDMappings[0].HostID++
			join(specs.UserNamespace, ns("user"))(s)
		}, []string{"linux.uidMappings", "not those of the user namespace"}},
		{"overlap in the container", maps(specs.LinuxIDMapping{HostID: 100000, Size: 10}, specs.LinuxIDMapping{ContainerID: 9, HostID: 200000, Size: 1}),
			[]string{"linux.uidMappings[1]", "overlaps"}},
		{"overlap on the host", maps(specs.LinuxIDMapping{HostID: 100000, Size: 10}, specs.LinuxIDMapping{ContainerID: 10, HostID: 100009, Size: 1}),
			[]string{"linux.uidMappings[1]", "overlaps"}},
		{"too many", maps(many...), []string{"linux.uidMappings", "340"}},
		{"nobody", maps(specs.LinuxIDMapping{HostID: 100000}), []string{"linux.uidMappings[0]"}},
		{"beyond the last", maps(specs.LinuxIDMapping{HostID: 1<<32 - 10, Size: 100}), []string{"linux.uidMappings[0]", "run past"}},
		{"root is not mapped", maps(specs.LinuxIDMapping{ContainerID: 1, HostID: 100000, Size: 10}), []string{"linux.uidMappings", "id 0"}},
		{"unmapped user", func(s *specs.Spec) { mapped(s); s.Process.User.UID = 65536 }, []string{"process.user.uid", "not mapped"}},
		{"unmapped group", func(s *specs.Spec) { mapped(s); s.Process.User.AdditionalGids = []uint32{1, 65536} }, []string{"process.user.additionalGids[1]", "not mapped"}},
		{"mappings of nothing", func(s *specs.Spec) { s.Linux.UIDMappings = many[:1] }, []string{"linux.uidMappings", "user namespace"}},
		{"time before the boot", offset("boottime", specs.LinuxTimeOffset{Secs: -1 << 40}), []string{"linux.timeOffsets[boottime]", "ERANGE"}},
		{"time beyond the end", offset("monotonic", specs.LinuxTimeOffset{Secs: 1 << 62}), []string{"linux.timeOffsets[monotonic]", "ERANGE"}},
		{"nanoseconds", offset("monotonic", specs.LinuxTimeOffset{Nanosecs: 1e9}), []string{"linux.timeOffsets.monotonic.nanosecs"}},
		{"unknown clock", offset("realtime", specs.LinuxTimeOffset{Secs: 1}), []string{"linux.timeOffsets.realtime", "unknown clock"}},
	} {
		h.Sub(t, c.name, func(t *testing.T, h *linuxtest.Host) {
			id := h.ID("a")
			r := h.Run("run", "--bundle", h.Bundle(c.edit), id)
			linuxtest.Equal(t, "status", r.Status, 1)
			last := strconv.Itoa(len(linuxtest.Spec(c.edit).Linux.Namespaces) - 1)
			for _, w := range c.want {
				w = strings.ReplaceAll(w, "[last]", "["+last+"]")
				if !strings.Contains(r.Stderr, w) {
					t.Errorf("%q is not in %q", w, r.Stderr)
				}
			}
			if _, there := h.State(id); there {
				t.Error("the container is there")
			}
		})
	}
}

// A link to a namespace is as good as its path: the namespace is what counts.
func TestNamespaceByLink(t *testing.T) {
	h := linuxtest.One(t)
	ns := hold(t, h, "holder")
	link := filepath.Join(h.Dir, "link")
	if err := os.Symlink(ns("net"), link); err != nil {
		t.Fatal(err)
	}
	want, err := os.Readlink(ns("net"))
	if err != nil {
		t.Fatal(err)
	}
	linuxtest.Equal(t, "network", h.RunInside("a", linuxtest.Namespace(specs.NetworkNamespace, link)).Namespaces["net"], want)
}
