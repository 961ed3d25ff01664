package rootless

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
	"tongs/test/inside/report"
)

// What `spec --rootless` writes runs as it is.
func TestSpec(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		h = h.AsUser()
		dir := h.Bundle()
		if err := os.Remove(filepath.Join(dir, "config.json")); err != nil {
			t.Fatal(err)
		}
		h.Must("spec", "--rootless", "--bundle", dir)
		master, side := h.Terminal()
		if err := side.Chown(int(h.User.ID), int(h.User.ID)); err != nil {
			t.Fatal(err)
		}
		p := h.Start(linuxtest.Command{Args: []string{"run", "--bundle", dir, h.ID("a")}, Stdin: side, Out: side, Session: true})
		if _, err := master.WriteString("id; tty; exit 7\n"); err != nil {
			t.Fatal(err)
		}
		contains(t, linuxtest.ReadUntil(t, master, "/dev/pts/0"), "uid=0(root) gid=0(root)")
		linuxtest.Equal(t, "status", p.Wait().Status, 7)
	})
}

func TestRun(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		h = h.AsUser()
		look := linuxtest.Inside("/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/setgroups", "/dev/null", "/dev/zero", "/dev/pts", "/dev/shm", "/bin", "/etc", "/sys/fs/cgroup", "/sys")
		data := filepath.Join(h.User.Home, "data") // nobody else can reach it
		if err := os.Mkdir(data, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(data, int(h.User.ID), int(h.User.ID)); err != nil {
			t.Fatal(err)
		}
		h.Rows(t, []linuxtest.Row{
			{Name: "default", Edits: []linuxtest.Edit{look}, Differences: cgroupMount(), Check: func(t *testing.T, r *report.Report) {
				linuxtest.Equal(t, "own namespaces", linuxtest.OwnNamespaces(t, r), namespaces(h, "ipc mnt pid user uts"))
				linuxtest.Equal(t, "uid_map", linuxtest.Words(r.Paths["/proc/self/uid_map"].Content), "0 54321 1")
				linuxtest.Equal(t, "gid_map", linuxtest.Words(r.Paths["/proc/self/gid_map"].Content), "0 54321 1")
				linuxtest.Equal(t, "setgroups", linuxtest.Words(r.Paths["/proc/self/setgroups"].Content), "deny")
				linuxtest.EqualList(t, "uids", r.UIDs, "0", "0", "0", "0")
				linuxtest.Equal(t, "capabilities", r.Capabilities["CapEff"], "0000000020000420")
				linuxtest.Equal(t, "null", r.Paths["/dev/null"].Device+r.Paths["/dev/null"].WriteError, "1:3")
				linuxtest.Equal(t, "zero", r.Paths["/dev/zero"].Device+r.Paths["/dev/zero"].ReadError, "1:5")
				linuxtest.Equal(t, "owner of /dev/pts", r.Paths["/dev/pts"].Owner, "0:0")
				linuxtest.Equal(t, "owner of /etc", r.Paths["/etc"].Owner, "0:0")
				linuxtest.Equal(t, "cgroups are", r.Paths["/sys/fs/cgroup"].WriteError, "read-only file system")
				linuxtest.Equal(t, "/sys is", r.Paths["/sys"].WriteError, "read-only file system")
				linuxtest.Equal(t, "pid", r.PID, 1)
			}},
			{Name: "network", Edits: []linuxtest.Edit{look, linuxtest.Namespace(specs.NetworkNamespace, "")}, Differences: cgroupMount(),
				Check: func(t *testing.T, r *report.Report) {
					linuxtest.Equal(t, "own namespaces", linuxtest.OwnNamespaces(t, r), namespaces(h, "ipc mnt net pid user uts"))
					linuxtest.Equal(t, "loopback", r.Loopback, "up")
				}},
			{Name: "bind", Edits: []linuxtest.Edit{linuxtest.Inside("/tmp"), linuxtest.Mount("/tmp", "bind", data, "rbind", "nosuid")}, Differences: cgroupMount(),
				Check: func(t *testing.T, r *report.Report) {
					linuxtest.Equal(t, "owner", r.Paths["/tmp"].Owner+r.Paths["/tmp"].WriteError, "0:0")
				}},
			{Name: "sub-ids", Edits: []linuxtest.Edit{look, h.User.SubIDs, func(s *specs.Spec) {
				s.Process.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{5, 65536}}
				s.Process.Capabilities = nil
			}}, OnlyTongs: "1.1 allows no additional groups to ordinary users", Check: func(t *testing.T, r *report.Report) {
				linuxtest.Equal(t, "uid_map", linuxtest.Words(r.Paths["/proc/self/uid_map"].Content), "0 54321 1 1 200000 65536")
				linuxtest.Equal(t, "gid_map", linuxtest.Words(r.Paths["/proc/self/gid_map"].Content), "0 54321 1 1 300000 65536")
				linuxtest.Equal(t, "setgroups", linuxtest.Words(r.Paths["/proc/self/setgroups"].Content), "allow")
				linuxtest.EqualList(t, "uids", r.UIDs, "1000", "1000", "1000", "1000")
				linuxtest.EqualList(t, "groups", r.Groups, "5", "65536")
				linuxtest.Equal(t, "capabilities", r.Capabilities["CapEff"], "0000000000000000")
			}},
			{Name: "sub-ids alone", Edits: []linuxtest.Edit{linuxtest.Inside("/proc/self/uid_map", "/tmp", "/dev", "/etc"), h.User.SubIDs, linuxtest.Mount("/tmp", "bind", data, "rbind"), func(s *specs.Spec) {
				// Root is another user of the host's, who can reach neither the
				// bundle's directory nor the source.
				s.Linux.UIDMappings, s.Linux.GIDMappings = s.Linux.UIDMappings[1:], s.Linux.GIDMappings[1:]
				s.Linux.UIDMappings[0].ContainerID, s.Linux.GIDMappings[0].ContainerID = 0, 0
			}}, OnlyTongs: "1.1 opens sources as the container's root", Check: func(t *testing.T, r *report.Report) {
				linuxtest.Equal(t, "uid_map", linuxtest.Words(r.Paths["/proc/self/uid_map"].Content), "0 200000 65536")
				linuxtest.Equal(t, "owner of the source", r.Paths["/tmp"].Owner+r.Paths["/tmp"].WriteError, "65534:65534permission denied")
				linuxtest.Equal(t, "owner of /dev", r.Paths["/dev"].Owner, "0:0")
			}, Prepare: func(t *testing.T, rootfs string) {
				if err := os.Chmod(filepath.Dir(rootfs), 0o700); err != nil {
					t.Fatal(err)
				}
			}},
		})
	})
}

// namespaces adds the cgroup namespace that the example has on v2.
func namespaces(h *linuxtest.Host, list string) string {
	if h.V2 {
		return "cgroup " + list
	}
	return list
}

// cgroupMount are the differences of a container without a cgroup.
func cgroupMount() []linuxtest.Difference {
	const reason = "a container without a cgroup sees none; with runc on v1 it sees all of the host's"
	return []linuxtest.Difference{{Key: "Mount :sys:fs:cgroup+ *", Reason: reason}, {Key: "Mount :sys:fs:cgroup:*+ *", Reason: reason},
		{Key: "Paths :sys:fs:cgroup *", Reason: reason}}
}

// Where state is kept when nobody says so.
func TestRuntimeDir(t *testing.T) {
	h := linuxtest.One(t).AsUser()
	bundle := h.Bundle(linuxtest.Args("/bin/sleep", "1000"))
	bare := func(args ...string) *linuxtest.Result {
		r := h.Exec(linuxtest.Command{Args: args, Bare: true})
		if r.Status != 0 {
			t.Fatalf("%q: status %d, %s", args, r.Status, r.Stderr)
		}
		return r
	}
	bare("create", "--bundle", bundle, h.ID("a"))
	dir := filepath.Join(h.User.Home, "tongs")
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	linuxtest.Equal(t, "mode", info.Mode(), os.ModeDir|os.ModeSticky|0o700)
	contains(t, bare("list").Stdout, h.ID("a"), "created", "tongs-test")
	bare("delete", "--force", h.ID("a"))
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Errorf("left: %v, %v", names, err)
	}
	if err := os.Remove(dir); err != nil {
		t.Error(err)
	}
	r := h.Exec(linuxtest.Command{Args: []string{"run", "--bundle", bundle, h.ID("b")}, Bare: true, Env: []string{"XDG_RUNTIME_DIR="}})
	linuxtest.Equal(t, "status", r.Status, 1)
	contains(t, r.Stderr, "--root", "permission denied", "XDG_RUNTIME_DIR") // root may have made it, or not
	if strings.Contains(r.Stderr, "panic") {
		t.Error(r.Stderr)
	}
}

// Hooks and a filter work as for root.
func TestHooksAndFilter(t *testing.T) {
	h := linuxtest.One(t).AsUser()
	log := filepath.Join(h.User.Home, "log")
	hook := func(name string) []specs.Hook {
		return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "cat > /dev/null; echo " + name + " $(id -u) >> " + log}}}
	}
	id := h.ID("a")
	bundle := h.Bundle(linuxtest.Shell("grep Seccomp: /proc/self/status; mkdir /tmp/x 2>&1; true"), func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{CreateRuntime: hook("createRuntime"), Poststart: hook("poststart"), Poststop: hook("poststop"),
			CreateContainer: hook("createContainer"), StartContainer: []specs.Hook{{Path: "/bin/true"}}}
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno}}}
		s.Process.NoNewPrivileges = false
	})
	r := h.Must("run", "--bundle", bundle, id)
	contains(t, r.Stdout, "Seccomp:\t2", "not permitted")
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	linuxtest.Equal(t, "hooks", linuxtest.Words(string(text)), "createRuntime 54321 createContainer 0 poststart 54321 poststop 54321")
}
