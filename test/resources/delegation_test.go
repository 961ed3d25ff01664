package resources

import (
	"os"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

// writable gives the container its own cgroup namespace and a mount of cgroups
// that can be written to.
func writable(s *specs.Spec) {
	linuxtest.Namespace(specs.CgroupNamespace, "")(s)
	writableMount(s)
}

func writableMount(s *specs.Spec) {
	for i, m := range s.Mounts {
		if m.Type == "cgroup" {
			s.Mounts[i].Options = []string{"nosuid", "noexec", "nodev", "relatime", "rw"}
		}
	}
}

func asUser(s *specs.Spec) { s.Process.User = specs.User{UID: 1000, GID: 1000} }

func mapped(s *specs.Spec) {
	linuxtest.Namespace(specs.UserNamespace, "")(s)
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	s.Linux.GIDMappings = s.Linux.UIDMappings
}

// A cgroup of v2 belongs to the container's user if that can write to it and
// sees nothing else: the directory and the files that the kernel lists
// (runtime-spec 1.3, config-linux § Cgroup ownership). Otherwise, and on v1, all is root's.
func TestDelegation(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		for _, c := range []struct {
			name  string
			edits []linuxtest.Edit
			owner uint32
			runc  string // why runc 1.1.5 is not asked
		}{
			{"user", []linuxtest.Edit{asUser, writable}, 1000, "it gives away those only that systemd has made"},
			{"root", []linuxtest.Edit{writable}, 0, ""},
			{"read-only", []linuxtest.Edit{asUser, linuxtest.Namespace(specs.CgroupNamespace, "")}, 0, ""},
			{"host's cgroup namespace", []linuxtest.Edit{asUser, writableMount, linuxtest.WithoutNamespace(specs.CgroupNamespace)}, 0, ""},
			{"user namespace", []linuxtest.Edit{mapped, writable}, 100000, "it cannot reach the root file system of a directory of mode 0700"},
		} {
			h.Sub(t, c.name, func(t *testing.T, h *linuxtest.Host) {
				if !h.V2 {
					c.owner = 0
				}
				bundle := h.Bundle(append([]linuxtest.Edit{forever()}, c.edits...)...)
				tongs := owners(t, h, bundle)
				for file, owner := range tongs {
					want := uint32(0)
					if file == "." || file == "cgroup.procs" || file == "cgroup.threads" || file == "cgroup.subtree_control" {
						want = c.owner
					}
					same(t, "owner of "+file, owner, want)
				}
				if c.runc == "" {
					for file, owner := range owners(t, h.With("runc"), bundle) {
						same(t, "owner of "+file+", beside runc", tongs[file], owner)
					}
				}
			})
		}
	})
}

// owners gives those of the files in the v2 cgroup of a container, or in the
// first of v1.
func owners(t *testing.T, h *linuxtest.Host, bundle string) map[string]uint32 {
	t.Helper()
	id := h.ID("a")
	h.Must("create", "--bundle", bundle, id)
	st, _ := h.State(id)
	dir := cgroupDirs(t, h, st.PID)[0]
	list := map[string]uint32{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"."}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	for _, name := range names {
		info, err := os.Stat(dir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		list[name] = info.Sys().(*syscall.Stat_t).Uid
	}
	h.Must("delete", "--force", id)
	return list
}

// The user can divide the cgroup, and what was made is removed with it; limits
// stay the host's.
func TestDelegatedCgroupIsDivided(t *testing.T) {
	h := linuxtest.OneV2(t)
	for name, user := range map[string]linuxtest.Edit{"user": asUser, "root of a user namespace": mapped} {
		h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
			id := h.ID("a")
			const script = "cd /sys/fs/cgroup && mkdir one one/two && echo 0 > one/two/cgroup.procs && grep 0:: /proc/self/cgroup && (echo 1 > hugetlb.2MB.max) 2>&1; sleep 1000"
			p := h.Start(linuxtest.Command{Args: []string{"run", "--bundle", h.Bundle(linuxtest.Shell(script), user, writable), id}})
			if !linuxtest.Until(func() bool { return strings.HasSuffix(p.Output(), "denied\n") }) {
				t.Error("no end")
			}
			same(t, "inside", p.Output(), "0::/one/two\n/bin/sh: can't create hugetlb.2MB.max: Permission denied\n")
			h.Must("exec", id, "true")
			h.Must("kill", id, "KILL")
			p.Wait()
			h.CheckCleanButKeys()
		})
	}
}
