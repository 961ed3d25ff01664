package attack

import (
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// root.path is replaced by another directory, by a link to the victim, or is
// away for a moment. What was opened is the root, or the container is refused.
func TestRootReplaced(t *testing.T) {
	h := linuxtest.Beside(t)
	for name, c := range map[string]struct {
		trap    string
		refused string
	}{
		"link to the victim":          {"-> VICTIM", "is a symbolic link"},
		"relative link to the victim": {"-> ../../VICTIM", "is a symbolic link"},
		"link to the host's root":     {"-> /", "is a symbolic link"},
		"other directory":             {"dir", "process.args[0]"},
		"file":                        {"= x", "is not a directory"},
		"fifo":                        {"fifo", "is not a directory"},
	} {
		h.Sub(t, "trap: "+name, func(t *testing.T, h *linuxtest.Host) {
			s := newScene(t, h, linuxtest.Inside("/file"))
			s.object(s.bundle+"/trap", c.trap)
			s.must(exchange(s.root, s.bundle+"/trap"))
			if o := s.run("a"); o.started || !strings.Contains(o.Stderr, c.refused) {
				t.Errorf("status %d, %q, want %q", o.Status, o.Stderr, c.refused)
			}
		})
	}
	for name, trap := range map[string]string{"link to the victim": "-> VICTIM", "other directory": "dir"} {
		raceIn(t, h, name, func(t *testing.T, h *linuxtest.Host) {
			s := newScene(t, h, look("/file"))
			s.object(s.bundle+"/trap", trap)
			s.race(func() error { return exchange(s.root, s.bundle+"/trap") }, s.runs(correct)).bothWays()
		})
	}
	raceIn(t, h, "renamed", func(t *testing.T, h *linuxtest.Host) {
		s := newScene(t, h, look())
		away := false
		act := func() error {
			from, to := s.root, s.victim+"-away"
			if away {
				from, to = to, from
			}
			away = !away
			return os.Rename(from, to)
		}
		s.race(act, s.runs(correct)).bothWays()
	})
}

// peer makes the root a mount that is shared: what a sibling mounts there comes
// into copies of it, too.
func (s *scene) peer() {
	s.t.Helper()
	s.must(unix.Mount(s.root, s.root, "", unix.MS_BIND, ""))
	s.t.Cleanup(func() { s.must(unix.Unmount(s.root, unix.MNT_DETACH)) })
	s.must(unix.Mount("", s.root, "", unix.MS_SHARED, ""))
}

// A sibling in the mount peer group of the root mounts over the root, over a
// mount point and over what is masked, between two steps of the set-up.
func TestMountsOfAPeer(t *testing.T) {
	h := linuxtest.Beside(t)
	for _, point := range []string{"/", "/proc", "/dev", "/etc", "/sys"} {
		h.Sub(t, "trap: "+point, func(t *testing.T, h *linuxtest.Host) {
			s := peerScene(t, h)
			s.must(unix.Mount("none", s.root+point, "tmpfs", 0, "size=64k"))
			defer unix.Unmount(s.root+point, unix.MNT_DETACH)
			o := s.run("a")
			if point == "/" { // an empty root
				if o.started || !strings.Contains(o.Stderr, "process.args[0]") {
					t.Errorf("status %d: %s", o.Status, o.Stderr)
				}
			} else if !o.started {
				t.Errorf("refused: %s", o.Stderr)
			} else {
				correct(t, s, o)
			}
		})
		if point == "/etc" || point == "/sys" {
			continue // as for the others
		}
		raceIn(t, h, point, func(t *testing.T, h *linuxtest.Host) {
			s := peerScene(t, h)
			mounted := false
			act := func() error {
				mounted = !mounted
				if !mounted {
					return unix.Unmount(s.root+point, unix.MNT_DETACH)
				}
				return unix.Mount("none", s.root+point, "tmpfs", 0, "size=64k")
			}
			defer func() {
				if mounted {
					unix.Unmount(s.root+point, unix.MNT_DETACH)
				}
			}()
			s.race(act, func(int) bool {
				o := s.run("a")
				if o.started { // what comes from the host later covers what is there: the root is its slave
					descriptors(t, o)
					masked(t, o)
				}
				return o.started
			})
		})
	}
}

func peerScene(t *testing.T, h *linuxtest.Host) *scene {
	s := newScene(t, h, look(), writable)
	s.peer()
	return s
}

// What the container mounts in a root that is shared does not come to the host.
func TestMountsStayInside(t *testing.T) {
	for _, propagation := range []string{"", "private", "slave", "rslave"} {
		t.Run(propagation, func(t *testing.T) {
			h := linuxtest.One(t)
			s := newScene(t, h, linuxtest.Args("/bin/sleep", "1000"), func(spec *specs.Spec) { spec.Linux.RootfsPropagation = propagation })
			s.peer()
			before := mountinfo(t)
			s.Must("create", "--bundle", s.bundle, s.ID("a"))
			during := mountinfo(t)
			s.Must("start", s.ID("a"))
			started := mountinfo(t)
			s.Must("delete", "--force", s.ID("a"))
			if during != before || started != before {
				t.Errorf("the host's mounts were\n%s\nare in between\n%s\nand\n%s", before, during, started)
			}
		})
	}
}

func mountinfo(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
