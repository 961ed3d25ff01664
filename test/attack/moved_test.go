package attack

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// movable is a directory, a, of the volume that is renamed to a place outside of all
// that is mounted, where a file with the secret lies beside it.
func movable(t *testing.T, h *linuxtest.Host) (s *scene, move func() error) {
	t.Helper()
	s = newScene(t, h)
	here, there := s.volume()+"/a", s.bundle+"/outside/a"
	s.object(here+"/b", "dir")
	s.object(s.bundle+"/outside/file", "= "+secret)
	move = func() error {
		err := os.Rename(here, there)
		if err == nil || !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) {
			return err
		}
		// It is there. What the runtime has made meanwhile is in the way.
		if err := os.RemoveAll(here); err != nil {
			return err
		}
		return os.Rename(there, here)
	}
	return s, move
}

// inVolume mounts the volume, and in it what ours is in.
func inVolume(s *scene, edits ...linuxtest.Edit) {
	s.t.Helper()
	s.WriteConfig(s.bundle, linuxtest.Spec(append(edits, writable, linuxtest.Mount("/vol", "bind", s.volume(), "rbind"),
		linuxtest.Mount("/vol/a/b", "bind", s.source(), "bind"))...))
}

// outside checks a program whose working directory may have been moved to the
// outside: from there no way leads on, and the mount is where its directory is or
// nowhere.
func outside(t *testing.T, s *scene, o *outcome) {
	t.Helper()
	descriptors(t, o)
	masked(t, o)
	if p := o.Paths["/vol/a/b/ours"]; p.Content != "ours" && p.Content != "" {
		t.Errorf("/vol/a/b/ours: %+v", p)
	}
	for _, path := range []string{"../file", "../../file"} {
		if p := o.Paths[path]; p.Error == "" && p.Type != "" {
			t.Errorf("%s: %+v", path, p)
		}
	}
	for _, name := range o.Paths[".."].Names {
		if name == "file" || name == "rootfs" {
			t.Errorf("the directory above has %q", o.Paths[".."].Names)
		}
	}
	for _, m := range o.Mounts {
		if m.Point == s.bundle+"/outside/a" {
			t.Errorf("it is mounted on the host's path: %+v", m)
		}
	}
}

// A directory with a mount, which is the working directory, is moved out of a volume
// between create and start, and while the container runs.
func TestMovedOut(t *testing.T) {
	h := linuxtest.One(t)
	h.Sub(t, "between create and start", func(t *testing.T, h *linuxtest.Host) {
		s, move := movable(t, h)
		inVolume(s, look(".", "..", "../file", "../../file", "/vol/a/b/ours"), cwd("/vol/a"))
		before := mountinfo(t)
		r := s.Must("create", "--bundle", s.bundle, s.ID("a"))
		s.must(move())
		s.Must("start", s.ID("a"))
		s.WaitFor(s.ID("a"), "stopped")
		r.Reread()
		o := s.judge(r)
		outside(t, s, o)
		if o.Paths["/vol/a/b/ours"].Error == "" || len(o.Paths["."].Names) == 0 {
			t.Errorf("the directory has not been moved: %+v", o.Paths)
		}
		if now := mountinfo(t); now != before {
			t.Errorf("the host's mounts were\n%s\nare\n%s", before, now)
		}
		s.Must("delete", s.ID("a"))
	})
	h.Sub(t, "exec", func(t *testing.T, h *linuxtest.Host) {
		s, move := movable(t, h)
		inVolume(s, linuxtest.Args("/bin/sleep", "1000"), cwd("/vol/a"))
		s.Must("run", "--detach", "--bundle", s.bundle, s.ID("a"))
		s.must(move())
		for _, args := range [][]string{{"exec"}, {"exec", "--cwd", "/vol/a/b"}, {"exec", "--cwd", "/proc/1/cwd"}} {
			o := s.try(linuxtest.Command{Args: append(args, s.ID("a"), "/bin/inside", ".", "..")})
			if o.started {
				t.Errorf("%q: started in %q", args, o.Cwd)
			}
		}
		s.Must("delete", "--force", s.ID("a"))
	})
}

// The same in a race.
func TestMovedOutRace(t *testing.T) {
	h := linuxtest.Beside(t)
	raceIn(t, h, "mount point", func(t *testing.T, h *linuxtest.Host) {
		s, move := movable(t, h)
		inVolume(s, look("/vol/a/b/ours"))
		s.race(move, s.runs(outside)).bothWays()
	})
	raceIn(t, h, "working directory", func(t *testing.T, h *linuxtest.Host) {
		s, move := movable(t, h)
		s.WriteConfig(s.bundle, linuxtest.Spec(look(".", "..", "../file", "../../file"), cwd("/vol/a/b"), writable, linuxtest.Mount("/vol", "bind", s.volume(), "rbind")))
		s.race(move, s.runs(outside))
	})
	raceIn(t, h, "exec", func(t *testing.T, h *linuxtest.Host) {
		s, move := movable(t, h)
		s.WriteConfig(s.bundle, linuxtest.Spec(linuxtest.Args("/bin/sleep", "1000"), writable, linuxtest.Mount("/vol", "bind", s.volume(), "rbind")))
		s.Must("run", "--detach", "--bundle", s.bundle, s.ID("a"))
		s.race(move, func(int) bool {
			o := s.try(linuxtest.Command{Args: []string{"exec", "--cwd", "/vol/a/b", s.ID("a"), "/bin/inside", ".", "..", "../file", "../../file"}})
			if o.started {
				outside(t, s, o)
			}
			return o.started
		})
		s.Must("delete", "--force", s.ID("a"))
	})
}
