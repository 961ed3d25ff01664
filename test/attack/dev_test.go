package attack

import (
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// withoutMount takes the mounts at and below a path away.
func withoutMount(path string) linuxtest.Edit {
	return func(s *specs.Spec) {
		var list []specs.Mount
		for _, m := range s.Mounts {
			if m.Destination != path && !strings.HasPrefix(m.Destination, path+"/") {
				list = append(list, m)
			}
		}
		s.Mounts = list
	}
}

// imageDev is a configuration in which /dev is the image's.
func imageDev(*scene, int) []linuxtest.Edit {
	return []linuxtest.Edit{withoutMount("/dev"), look("/dev/ptmx", "/dev/fd")}
}

// The image's /dev and what is in it is a link to the victim, a FIFO, another
// device (CVE-2026-41579, GHSA-7vwr-4279-7gq5, CVE-2015-3627): nothing of the
// victim's is made, removed or given to somebody.
func TestDev(t *testing.T) {
	inRoot := func(t *testing.T, s *scene, o *outcome) {
		t.Helper()
		correct(t, s, o)
		if p := o.Paths["/dev/ptmx"]; p.Type != "link" || p.Link != "pts/ptmx" {
			t.Errorf("/dev/ptmx is %+v", p)
		}
	}
	// Somebody may have exchanged what the program looks at.
	looked := func(t *testing.T, s *scene, o *outcome) { descriptors(t, o); masked(t, o) }
	var cases []attackCase
	for name, trap := range map[string]string{"absolute link": "-> VICTIM", "relative link": "-> ../../../../../VICTIM", "dangling link": "-> VICTIM/new"} {
		cases = append(cases, attackCase{name: "/dev " + name, swaps: []swap{{"/dev", "dir", trap}}, edits: imageDev, check: inRoot, noRace: true})
	}
	cases = append(cases,
		attackCase{name: "/dev loop", swaps: []swap{{"/dev", "dir", "-> /dev"}}, edits: imageDev, refused: "linux.devices", noRace: true},
		attackCase{name: "/dev file", swaps: []swap{{"/dev", "dir", "= x"}}, edits: imageDev, refused: "linux.devices", noRace: true},
		attackCase{name: "/dev magic link", swaps: []swap{{"/dev", "dir", "-> /proc/self/root/.."}}, edits: imageDev, refused: "linux.devices", noRace: true})
	for name, trap := range map[string]string{"link": "-> VICTIM/file", "link to core_pattern": "-> /proc/sys/kernel/core_pattern", "file": "= x", "fifo": "fifo", "other device": "kmsg", "directory": "dir"} {
		cases = append(cases, attackCase{name: "/dev/null " + name, swaps: []swap{{"/dev/null", "null", trap}}, edits: imageDev, refused: "linux.devices", noRace: true})
	}
	cases = append(cases, attackCase{name: "/dev/ptmx directory", swaps: []swap{{"/dev/ptmx", "= x", "dir"}}, edits: imageDev, refused: "cannot make the link /dev/ptmx", noRace: true})
	h := linuxtest.Beside(t)
	play(t, h, cases)
	for _, c := range []attackCase{
		{name: "/dev", swaps: []swap{{"/dev", "dir", "-> VICTIM"}}, edits: imageDev, check: looked},
		{name: "/dev look-alike", swaps: []swap{{"/dev", "dir", "look-alike"}}, edits: imageDev, check: looked, bothWays: true},
		{name: "/dev/null", swaps: []swap{{"/dev/null", "null", "-> VICTIM/file"}}, edits: imageDev, check: looked, bothWays: true},
		{name: "/dev/null hard", swaps: []swap{{"/dev/null", "null", "= x"}}, edits: imageDev, check: looked, bothWays: true},
		{name: "/dev/ptmx", swaps: []swap{{"/dev/ptmx", "= x", "-> VICTIM/ptmx"}}, edits: imageDev, check: looked},
	} {
		raceIn(t, h, c.name, func(t *testing.T, h *linuxtest.Host) { c.race(newScene(t, h)) })
	}
}

// A node that is there already is not the right one: it keeps its owner.
func TestDevKeepsOwners(t *testing.T) {
	h := linuxtest.One(t)
	s := newScene(t, h)
	s.object(s.root+"/dev/null", "= x")
	s.must(unix.Chown(s.root+"/dev/null", 1234, 1234))
	s.WriteConfig(s.bundle, linuxtest.Spec(append(imageDev(s, 0), writable)...))
	if o := s.run("a"); o.started || !strings.Contains(o.Stderr, "/dev/null exists and is not the device 1:3") {
		t.Errorf("%s", o.text)
	}
	var st unix.Stat_t
	if err := unix.Lstat(s.root+"/dev/null", &st); err != nil || st.Uid != 1234 {
		t.Errorf("the owner is %d now, %v", st.Uid, err)
	}
}

// console runs a container with a terminal whose program looks at it.
func (s *scene) console() *outcome {
	s.t.Helper()
	master, side := s.Terminal()
	r := s.Exec(linuxtest.Command{Args: []string{"run", "--bundle", s.bundle, s.ID("c")}, Stdin: side, Out: side, Session: true})
	side.Close()
	buf := make([]byte, 1<<16)
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		fds := []unix.PollFd{{Fd: int32(master.Fd()), Events: unix.POLLIN}}
		if n, _ := unix.Poll(fds, 100); n == 0 {
			continue
		}
		n, err := unix.Read(int(master.Fd()), buf)
		if n <= 0 || err != nil {
			break
		}
		r.Stdout += string(buf[:n])
	}
	master.Close()
	r.Stderr = r.Stdout // both come from there
	return s.judge(r)
}

// With a terminal, /dev/console, /dev/pts and /dev/ptmx are the image's links
// (CVE-2025-52565): the console is a terminal of the container's own devpts, and
// what /dev/console leads to is covered by nothing.
func TestConsole(t *testing.T) {
	h := linuxtest.Beside(t)
	edits := func(dev string) []linuxtest.Edit {
		// The type and file system of the console, and of standard input.
		list := []linuxtest.Edit{linuxtest.Terminal, writable, linuxtest.Shell("stat -c %t /dev/console; stat -f -c %t /dev/console; cat /dev/console.trap/file /proc/kcore; stat -L -c in:%t /proc/self/fd/0")}
		if dev == "image" {
			return append(list, withoutMount("/dev"), linuxtest.Mount("/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"))
		}
		return list
	}
	good := func(t *testing.T, o *outcome) {
		t.Helper()
		if !strings.Contains(o.text, "88\r\n1cd1\r\n") || !strings.Contains(o.text, "in:88") {
			t.Errorf("the console is %q", o.text)
		}
	}
	traps := map[string]struct{ path, good, trap, refused string }{
		"console link":       {"/dev/console", "= x", "-> VICTIM/console", "process.terminal"},
		"console core link":  {"/dev/console", "= x", "-> /proc/sys/kernel/core_pattern", "process.terminal"},
		"console directory":  {"/dev/console", "= x", "dir", "process.terminal"},
		"console fifo":       {"/dev/console", "= x", "fifo", ""},
		"console device":     {"/dev/console", "= x", "kmsg", ""},
		"pts link":           {"/dev/pts", "dir", "-> VICTIM/pts", "process.terminal"},
		"pts file":           {"/dev/pts", "dir", "= x", "mounts["},
		"ptmx link":          {"/dev/ptmx", "= x", "-> VICTIM/ptmx", ""},
		"dev link to victim": {"/dev", "dir", "-> VICTIM", "process.terminal"},
		"dev link in root":   {"/dev", "dir", "-> /tmp", "process.terminal"},
	}
	for name, c := range traps {
		h.Sub(t, "trap: "+name, func(t *testing.T, h *linuxtest.Host) {
			s := newScene(t, h, edits("image")...)
			s.object(s.root+c.path, c.good)
			s.object(s.root+c.path+".trap", c.trap)
			s.must(exchange(s.root+c.path, s.root+c.path+".trap"))
			o := s.console()
			switch {
			case c.refused == "" || o.started:
				good(t, o)
			case !strings.Contains(o.text, c.refused):
				t.Errorf("got %q, want %q", o.text, c.refused)
			}
			if c.refused != "" && o.started {
				t.Logf("started: %q", o.text)
			}
		})
	}
	for _, name := range []string{"console link", "pts link", "ptmx link"} {
		c := traps[name]
		raceIn(t, h, name, func(t *testing.T, h *linuxtest.Host) {
			s := newScene(t, h, edits("image")...)
			s.object(s.root+c.path, c.good)
			s.object(s.root+c.path+".trap", c.trap)
			e := s.race(func() error { return exchange(s.root+c.path, s.root+c.path+".trap") }, func(int) bool {
				o := s.console()
				if o.started && !strings.Contains(o.text, "in:88") { // at the path may be the trap again
					t.Errorf("standard input is no terminal: %q", o.text)
				}
				return o.started
			})
			if c.refused != "" {
				e.bothWays()
			}
		})
	}
	h.Sub(t, "the usual /dev", func(t *testing.T, h *linuxtest.Host) {
		s := newScene(t, h, edits("")...)
		s.object(s.root+"/dev", "-> "+s.victim)
		if o := s.console(); o.started {
			good(t, o)
		}
	})
}
