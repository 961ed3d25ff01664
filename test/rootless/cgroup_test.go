package rootless

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

func limit(s *specs.Spec) {
	n := int64(1 << 26)
	s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &n}}
}

// Without a cgroup there are no limits, which must not be ignored.
func TestLimitsWithoutCgroup(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		h = h.AsUser()
		for name, c := range map[string]struct {
			edit linuxtest.Edit
			want []string
		}{
			"limit": {limit, []string{"permission denied", "delegated"}},
			"path":  {func(s *specs.Spec) { s.Linux.CgroupsPath = "/" + h.ID("path") }, []string{"permission denied"}},
		} {
			h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
				r := h.Run("run", "--bundle", h.Bundle(c.edit), h.ID("a"))
				linuxtest.Equal(t, "status", r.Status, 1)
				contains(t, r.Stderr, c.want...)
			})
		}
		bundle := h.Bundle(linuxtest.Args("/bin/true"))
		linuxtest.Equal(t, "--rootless false", h.Exec(linuxtest.Command{Args: []string{"--rootless", "false", "run", "--bundle", bundle, h.ID("b")}}).Status, 1)
		for _, v := range []string{"true", "auto"} {
			h.Must("--rootless", v, "run", "--bundle", bundle, h.ID("b"))
		}
	})
}

// delegated runs the test with a cgroup that belongs to the user, in which the
// test's commands are: another in it is theirs, in the same directory. Controllers
// of v2 are hardly there on a machine with v1.
func delegated(t *testing.T, h *linuxtest.Host) (dir string) {
	t.Helper()
	dir = filepath.Join("/sys/fs/cgroup", h.ID("user"))
	own := filepath.Join(dir, "session")
	if err := os.MkdirAll(own, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, own} {
		for _, file := range []string{"", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} {
			if err := os.Chown(filepath.Join(d, file), int(h.User.ID), int(h.User.ID)); err != nil {
				t.Fatal(err)
			}
		}
	}
	move := func(to string) {
		if err := os.WriteFile(filepath.Join(to, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
			t.Fatal(err)
		}
	}
	move(own)
	t.Cleanup(func() {
		move("/sys/fs/cgroup")
		for _, d := range []string{own, dir} {
			if err := os.Remove(d); err != nil {
				t.Error(err)
			}
		}
	})
	return dir
}

// A cgroup that was delegated to the user is used, as far as it has controllers.
func TestDelegatedCgroup(t *testing.T) {
	h := linuxtest.OneV2(t).AsUser()
	dir := delegated(t, h)
	h.Sub(t, "life", func(t *testing.T, h *linuxtest.Host) {
		id := h.ID("a")
		h.Must("run", "--detach", "--bundle", h.Bundle(linuxtest.Args("/bin/sleep", "1000")), id)
		st, _ := h.State(id)
		linuxtest.Equal(t, "cgroup", h.CgroupDir(st.PID, ""), filepath.Join(dir, id))
		h.Must("pause", id)
		h.WaitFor(id, "paused")
		h.Must("resume", id)
		h.Must("exec", id, "/bin/true")
		h.Must("delete", "--force", id)
		if _, err := os.Stat(filepath.Join(dir, id)); !os.IsNotExist(err) {
			t.Errorf("the cgroup is there: %v", err)
		}
	})
	h.Sub(t, "limit", func(t *testing.T, h *linuxtest.Host) {
		have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
		if err != nil {
			t.Fatal(err)
		}
		id := h.ID("a")
		bundle := h.Bundle(limit, linuxtest.Args("/bin/sleep", "1000"))
		if strings.Contains(string(have), "memory") {
			h.Must("run", "--detach", "--bundle", bundle, id)
			text, err := os.ReadFile(filepath.Join(dir, id, "memory.max"))
			linuxtest.Equal(t, "limit", string(text), "67108864\n")
			linuxtest.Equal(t, "error", err, nil)
			h.Must("delete", "--force", id)
			return
		}
		r := h.Run("run", "--bundle", bundle, id)
		linuxtest.Equal(t, "status", r.Status, 1)
		contains(t, r.Stderr, "linux.resources.memory.limit", "memory", "Delegate=memory")
	})
	// CVE-2023-25809: what is the user's could be written to from the container.
	for _, c := range []struct {
		name   string
		closed bool // the user may make no cgroup
		edits  []linuxtest.Edit
		empty  bool // nothing is seen
	}{
		{"cgroup, no namespace", false, []linuxtest.Edit{linuxtest.WithoutNamespace(specs.CgroupNamespace)}, false},
		{"no cgroup, no namespace", true, []linuxtest.Edit{linuxtest.WithoutNamespace(specs.CgroupNamespace)}, true},
		{"no cgroup", true, nil, true},
	} {
		h.Sub(t, c.name, func(t *testing.T, h *linuxtest.Host) {
			if c.closed {
				if err := os.Chmod(dir, 0o555); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { os.Chmod(dir, 0o755) })
			}
			file := filepath.Join(dir, "session", "cgroup.procs")
			r := h.RunInside("a", append(c.edits, linuxtest.Inside("/sys/fs/cgroup", file), func(s *specs.Spec) {
				for i := range s.Mounts {
					if s.Mounts[i].Destination == "/sys/fs/cgroup" {
						s.Mounts[i].Options = nil // not even ro
					}
				}
			})...)
			linuxtest.Equal(t, "nothing is seen", len(r.Paths["/sys/fs/cgroup"].Names) == 0, c.empty)
			linuxtest.Equal(t, "the host's cgroup is there", r.Paths[file].Error == "", !c.empty)
			if !c.empty {
				linuxtest.Equal(t, "writing", r.Paths[file].WriteError, "read-only file system")
			}
		})
	}
}
