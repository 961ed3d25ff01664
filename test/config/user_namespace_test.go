package config

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
	"tongs/test/inside/report"
)

// mapped asks for a new user namespace in which ids from 0 on are the host's
// from 100000 on.
func mapped(s *specs.Spec) {
	linuxtest.Namespace(specs.UserNamespace, "")(s)
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	s.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 200000, Size: 65536}}
}

// hostSys shows the host's /sys, where a new one needs a network namespace of
// the container's own.
func hostSys(s *specs.Spec) {
	for i := range s.Mounts {
		if s.Mounts[i].Destination == "/sys" {
			s.Mounts[i] = specs.Mount{Destination: "/sys", Type: "none", Source: "/sys", Options: []string{"rbind", "nosuid", "noexec", "nodev", "ro"}}
		}
	}
}

// foreign checks that the container is in a namespace of its own, of each type.
func foreign(t *testing.T, r *report.Report, types ...string) {
	t.Helper()
	for _, name := range []string{"ipc", "mnt", "net", "pid", "time", "user", "uts"} {
		ours, _ := os.Readlink("/proc/self/ns/" + name)
		if own := r.Namespaces[name] != ours; own != slices.Contains(types, name) {
			t.Errorf("namespace %s: own %v, want %v", name, own, !own)
		}
	}
}

func TestUserNamespace(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		each(t, h, []row{
			{name: "root", edits: edit(mapped), onlyTongs: "1.1 cannot reach the root file system of a directory of mode 0700",
				check: func(t *testing.T, r *report.Report) {
					foreign(t, r, "ipc", "mnt", "net", "pid", "user", "uts")
					linuxtest.EqualList(t, "uids", r.UIDs, "0", "0", "0", "0")
					linuxtest.EqualList(t, "gids", r.GIDs, "0", "0", "0", "0")
					linuxtest.Equal(t, "pid", r.PID, 1)
					linuxtest.Equal(t, "session", r.Session, 1)
					linuxtest.Equal(t, "capabilities", r.Capabilities["CapEff"], "0000000020000420")
				}},
			{name: "user", edits: []linuxtest.Edit{mapped, linuxtest.Inside("/dev/null", "/dev/zero", "/dev/pts", "/tmp"), func(s *specs.Spec) {
				s.Process.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{5, 65535}}
				s.Process.Capabilities = nil
				s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_STACK", Soft: 1048576, Hard: 2097152}, {Type: "RLIMIT_CORE", Soft: 0, Hard: 0}}
				s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1", "kernel.msgmax": "9000"}
			}}, onlyTongs: "as above", check: func(t *testing.T, r *report.Report) {
				linuxtest.EqualList(t, "uids", r.UIDs, "1000", "1000", "1000", "1000")
				linuxtest.EqualList(t, "groups", r.Groups, "5", "65535")
				linuxtest.Equal(t, "capabilities", r.Capabilities["CapEff"], "0000000000000000")
				linuxtest.Equal(t, "limit", r.Limits["Max stack size"], "1048576 2097152")
				linuxtest.Equal(t, "null", r.Paths["/dev/null"].Device+r.Paths["/dev/null"].WriteError, "1:3")
				linuxtest.Equal(t, "zero", r.Paths["/dev/zero"].Device+r.Paths["/dev/zero"].ReadError, "1:5")
			}},
			{name: "host's network", edits: []linuxtest.Edit{mapped, hostSys, linuxtest.WithoutNamespace(specs.NetworkNamespace)}, onlyTongs: "as above",
				check: func(t *testing.T, r *report.Report) {
					foreign(t, r, "ipc", "mnt", "pid", "user", "uts")
				}},
			{name: "host's processes", edits: []linuxtest.Edit{mapped, linuxtest.WithoutNamespace(specs.PIDNamespace), func(s *specs.Spec) {
				s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
				for i := range s.Mounts {
					if s.Mounts[i].Destination == "/proc" {
						s.Mounts[i] = specs.Mount{Destination: "/proc", Type: "none", Source: "/proc", Options: []string{"rbind", "ro"}}
					}
				}
			}}, onlyTongs: "as above", check: func(t *testing.T, r *report.Report) {
				foreign(t, r, "ipc", "mnt", "net", "user", "uts")
			}},
			{name: "time", edits: []linuxtest.Edit{mapped, linuxtest.Namespace(specs.TimeNamespace, ""), linuxtest.Inside("/proc/self/timens_offsets"), func(s *specs.Spec) {
				s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"monotonic": {Secs: 1000, Nanosecs: 5}, "boottime": {Secs: -1}}
			}}, onlyTongs: "1.1 has no time namespaces", check: func(t *testing.T, r *report.Report) {
				foreign(t, r, "ipc", "mnt", "net", "pid", "user", "uts", "time")
				linuxtest.Equal(t, "offsets", strings.Join(strings.Fields(r.Paths["/proc/self/timens_offsets"].Content), " "), "monotonic 1000 5 boottime -1 0")
			}},
			{name: "time, no user namespace", edits: []linuxtest.Edit{linuxtest.Namespace(specs.TimeNamespace, ""), linuxtest.Inside("/proc/self/timens_offsets"), func(s *specs.Spec) {
				s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 86400}}
			}}, onlyTongs: "1.1 has no time namespaces", check: func(t *testing.T, r *report.Report) {
				foreign(t, r, "ipc", "mnt", "net", "pid", "uts", "time")
				linuxtest.Equal(t, "offsets", strings.Join(strings.Fields(r.Paths["/proc/self/timens_offsets"].Content), " "), "monotonic 0 0 boottime 86400 0")
			}},
			{name: "many mappings", edits: []linuxtest.Edit{mapped, func(s *specs.Spec) {
				var list []specs.LinuxIDMapping // as many as the kernel takes
				for i := range uint32(300) {
					list = append(list, specs.LinuxIDMapping{ContainerID: 2 * i, HostID: 100000 + 3*i, Size: 1})
				}
				s.Linux.UIDMappings = list
				s.Process.User.UID = 598
			}}, onlyTongs: "1.1 takes fewer", check: func(t *testing.T, r *report.Report) {
				linuxtest.EqualList(t, "uids", r.UIDs, "598", "598", "598", "598")
			}},
		})
	})
}

// Flags that the host has on a mount stay in a user namespace, whatever the options
// say, and a warning tells of it.
func TestFlagsOfTheHostStay(t *testing.T) {
	h := linuxtest.One(t)
	source := h.Dir + "/source"
	if err := os.Mkdir(source, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("none", source, "tmpfs", syscall.MS_RDONLY|syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, "mode=777"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(source, syscall.MNT_DETACH) })
	for _, c := range []struct{ options, warned string }{
		{"bind rw", "MOUNT_ATTR_RDONLY"},
		{"rbind rrw", "MOUNT_ATTR_RDONLY"},
		{"bind suid dev exec", "MOUNT_ATTR_NOSUID|MOUNT_ATTR_NODEV|MOUNT_ATTR_NOEXEC"},
		{"bind noexec exec", "MOUNT_ATTR_NOEXEC"},
		{"bind", ""},
	} {
		h.Sub(t, c.options, func(t *testing.T, h *linuxtest.Host) {
			result := h.Run("run", "--bundle", h.Bundle(mapped, linuxtest.Inside("/tmp"), linuxtest.Mount("/tmp", "bind", source, strings.Fields(c.options)...)), h.ID("a"))
			if result.Status != 0 {
				t.Fatal(result.Stderr)
			}
			r := h.Look(result.Stdout)
			m, _ := r.At("/tmp")
			for _, flag := range []string{"ro", "nosuid", "nodev", "noexec"} {
				if !slices.Contains(strings.Split(m.Options, ","), flag) {
					t.Errorf("%s is not in %q", flag, m.Options)
				}
			}
			linuxtest.Equal(t, "writing", r.Paths["/tmp"].WriteError, "read-only file system")
			warned := strings.Contains(result.Stderr, "mounts[7].options: the flags "+c.warned+" of the host's mount at "+source)
			if warned != (c.warned != "") {
				t.Errorf("warnings %q", result.Stderr)
			}
		})
	}
}

// What is made on the container's behalf belongs to its root; what the host
// made stays the host's.
func TestUserNamespaceOwners(t *testing.T) {
	h := linuxtest.One(t)
	r := h.RunInside("a", mapped, linuxtest.Inside("/dev", "/dev/null", "/dev/pts/ptmx", "/etc/passwd", "/tmp/new"),
		func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs"}, specs.Mount{Destination: "/tmp/new", Type: "tmpfs", Source: "tmpfs"})
		})
	for path, want := range map[string]string{"/dev": "0:0", "/dev/null": "65534:65534", "/dev/pts/ptmx": "0:0", "/etc/passwd": "65534:65534", "/tmp/new": "0:0"} {
		linuxtest.Equal(t, path, r.Paths[path].Owner, want)
	}
}

// Containers of a pod share what the first of them has.
func TestPod(t *testing.T) {
	h := linuxtest.One(t)
	for _, user := range []bool{true, false} {
		h.Sub(t, fmt.Sprintf("user namespace %v", user), func(t *testing.T, h *linuxtest.Host) {
			edits := []linuxtest.Edit{linuxtest.Args("/bin/sleep", "100")}
			if user {
				edits = append(edits, mapped)
			}
			first := h.ID("first")
			h.Must("run", "--detach", "--bundle", h.Bundle(edits...), first)
			defer h.Must("delete", "--force", first)
			state, _ := h.State(first)
			types := map[specs.LinuxNamespaceType]string{specs.PIDNamespace: "pid", specs.NetworkNamespace: "net", specs.IPCNamespace: "ipc"}
			edits = []linuxtest.Edit{}
			if user {
				types[specs.UserNamespace] = "user"
			}
			want := map[string]string{}
			for kind, file := range types {
				path := "/proc/" + strconv.Itoa(state.PID) + "/ns/" + file
				edits = append(edits, linuxtest.Namespace(kind, path))
				want[file], _ = os.Readlink(path)
			}
			r := h.RunInside("second", edits...)
			for file, ns := range want {
				linuxtest.Equal(t, "namespace "+file, r.Namespaces[file], ns)
			}
			if r.PID == 1 || r.UIDs[0] != "0" {
				t.Errorf("pid %d, uid %s", r.PID, r.UIDs[0])
			}
			foreign := r.Namespaces["mnt"]
			if host, _ := os.Readlink("/proc/" + strconv.Itoa(state.PID) + "/ns/mnt"); foreign == host {
				t.Error("the mount namespace is shared, too")
			}
		})
	}
}

// Files of an id-mapped mount have other owners, in both directions.
func TestMappedOwners(t *testing.T) {
	h := linuxtest.One(t)
	dir := h.Dir + "/source"
	for _, d := range []string{dir, dir + "/below"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, id := range map[string]int{"root": 0, "user": 1000, "other": 70000} {
		if err := os.WriteFile(dir+"/"+name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir+"/"+name, id, id+1); err != nil {
			t.Fatal(err)
		}
	}
	own := func(options ...string) linuxtest.Edit {
		return func(s *specs.Spec) {
			linuxtest.Mount("/tmp", "bind", dir, options...)(s)
			m := &s.Mounts[len(s.Mounts)-1]
			m.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 5000, Size: 1001}}
			m.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 6000, Size: 1002}}
		}
	}
	look := linuxtest.Inside("/tmp/root", "/tmp/user", "/tmp/other")
	make := func(s *specs.Spec) {
		s.Process.Args = []string{"/bin/sh", "-c", "echo x > /tmp/made && stat -c %u:%g /tmp/made"}
	}
	const none = "65534:65534"
	for _, c := range []struct {
		name              string
		edits             []linuxtest.Edit
		root, user, other string
		made              string // inside
		host              string // outside
	}{
		{"mapping of its own", []linuxtest.Edit{own("bind")}, "5000:6001", "6000:7001", none, "", ""},
		{"the container's", []linuxtest.Edit{mapped, linuxtest.Mount("/tmp", "bind", dir, "bind", "idmap")}, "0:1", "1000:1001", none, "0:0", "0:0"},
		{"recursive", []linuxtest.Edit{mapped, linuxtest.Mount("/tmp", "bind", dir, "rbind", "ridmap")}, "0:1", "1000:1001", none, "0:0", "0:0"},
		{"two of the same", []linuxtest.Edit{mapped, linuxtest.Mount("/etc", "bind", dir, "bind", "idmap"), linuxtest.Mount("/tmp", "bind", dir, "rbind", "idmap")}, "0:1", "1000:1001", none, "0:0", "0:0"},
		{"none", []linuxtest.Edit{mapped, linuxtest.Mount("/tmp", "bind", dir, "bind")}, none, none, none, "", ""},
	} {
		h.Sub(t, c.name, func(t *testing.T, h *linuxtest.Host) {
			r := h.RunInside("a", append(c.edits, look)...)
			linuxtest.Equal(t, "root's file", r.Paths["/tmp/root"].Owner, c.root)
			linuxtest.Equal(t, "user's file", r.Paths["/tmp/user"].Owner, c.user)
			linuxtest.Equal(t, "unmapped file", r.Paths["/tmp/other"].Owner, c.other)
			if c.made == "" {
				return
			}
			run := h.Must("run", "--bundle", h.Bundle(append(c.edits, make)...), h.ID("b"))
			linuxtest.Equal(t, "new file", strings.TrimSpace(run.Stdout), c.made)
			info, err := os.Stat(dir + "/made")
			if err != nil {
				t.Fatal(err)
			}
			st := info.Sys().(*syscall.Stat_t)
			linuxtest.Equal(t, "new file outside", fmt.Sprint(st.Uid, ":", st.Gid), c.host)
			os.Remove(dir + "/made")
		})
	}
}

// Of idmap and ridmap the last counts: whether owners below are mapped as well.
func TestMappedOwnersBelow(t *testing.T) {
	h := linuxtest.One(t)
	dir := h.Dir + "/source"
	if err := os.MkdirAll(dir+"/below", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(dir+"/below", dir+"/below", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir+"/below", 0); err != nil {
			t.Error(err)
		}
	})
	for options, want := range map[string]string{"idmap": "65534:65534", "ridmap": "0:0", "idmap ridmap": "0:0", "ridmap idmap": "65534:65534"} {
		h.Sub(t, options, func(t *testing.T, h *linuxtest.Host) {
			r := h.RunInside("a", mapped, linuxtest.Mount("/tmp", "bind", dir, append(strings.Fields(options), "rbind")...), linuxtest.Inside("/tmp", "/tmp/below"))
			linuxtest.Equal(t, "top", r.Paths["/tmp"].Owner, "0:0")
			linuxtest.Equal(t, "below", r.Paths["/tmp/below"].Owner, want)
		})
	}
}

func TestMappedOwnersBadInput(t *testing.T) {
	h := linuxtest.One(t)
	for _, c := range []struct {
		name  string
		edits []linuxtest.Edit
		want  []string
	}{
		{"file system", []linuxtest.Edit{mapped, linuxtest.Mount("/data", "bind", "/proc", "bind", "idmap")}, []string{"mounts[7].options", "mount_setattr", "EINVAL", "type proc"}},
		{"no mapping", []linuxtest.Edit{linuxtest.Mount("/data", "bind", h.Dir, "bind", "idmap")}, []string{"mounts[7].uidMappings"}},
		{"tmpfs", []linuxtest.Edit{mapped, linuxtest.Mount("/data", "tmpfs", "tmpfs", "idmap")}, []string{"mounts[7].options", "bind"}},
		{"half", []linuxtest.Edit{mapped, func(s *specs.Spec) { s.Mounts[0].UIDMappings = []specs.LinuxIDMapping{{Size: 1}} }}, []string{"mounts[0].gidMappings"}},
		{"overlap", []linuxtest.Edit{mapped, func(s *specs.Spec) { s.Linux.UIDMappings = append(s.Linux.UIDMappings, s.Linux.UIDMappings[0]) }}, []string{"linux.uidMappings[1]", "overlaps"}},
		{"no root", []linuxtest.Edit{mapped, func(s *specs.Spec) { s.Linux.GIDMappings[0].ContainerID = 1 }}, []string{"linux.gidMappings", "0"}},
		{"no user", []linuxtest.Edit{mapped, func(s *specs.Spec) { s.Process.User.UID = 70000 }}, []string{"process.user.uid", "70000"}},
		{"time offset", []linuxtest.Edit{linuxtest.Namespace(specs.TimeNamespace, ""), func(s *specs.Spec) {
			s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"monotonic": {Secs: -1 << 40}}
		}}, []string{"linux.timeOffsets[monotonic]", "ERANGE"}},
		{"namespace of another type", edit(func(s *specs.Spec) { linuxtest.Namespace(specs.UserNamespace, "/proc/self/ns/net")(s) }), []string{"linux.namespaces[5].path", "user"}},
		{"own user namespace", edit(func(s *specs.Spec) { linuxtest.Namespace(specs.UserNamespace, "/proc/self/ns/user")(s) }), []string{"linux.namespaces[5].path", "EINVAL"}},
	} {
		h.Sub(t, c.name, func(t *testing.T, h *linuxtest.Host) {
			r := h.Run("run", "--bundle", h.Bundle(c.edits...), h.ID("a"))
			linuxtest.Equal(t, "status", r.Status, 1)
			for _, w := range c.want {
				if !strings.Contains(r.Stderr, w) {
					t.Errorf("stderr %q, want %q", r.Stderr, w)
				}
			}
		})
	}
}
