package attack

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
	"tongs/internal/linuxtest/stepper"
)

// A race seldom meets the moment between a mount and the look whether it is where
// it should be. Here tongs and the container's process stop at each call, and the
// attacker acts once, at just that moment. What it exchanges stays exchanged: without
// the look the container would start.

// moment reports whether a stop is the one at which the attacker acts.
type moment func(s *scene, st *stepper.Stop) bool

// attached is when something has been attached at a path of the container, and
// nobody has looked for it there yet.
func attached(path string) moment {
	return func(s *scene, st *stepper.Stop) bool {
		return behind(st, unix.SYS_MOVE_MOUNT) && s.leads(st, st.Args[2], path)
	}
}

// opened is when a path of the container has been opened, and is not used yet.
func opened(path string) moment {
	return func(s *scene, st *stepper.Stop) bool {
		return behind(st, unix.SYS_OPENAT2) && s.leads(st, uint64(st.Result), path)
	}
}

// entered is when a path of the container has become the working directory.
func entered(path string) moment {
	return func(s *scene, st *stepper.Stop) bool {
		return behind(st, unix.SYS_FCHDIR) && s.leads(st, st.Args[0], path)
	}
}

// behind reports whether the container's process has made a call, without an error.
func behind(st *stepper.Stop, number int) bool {
	return !st.Own && !st.Entry && st.Number == number && st.Result >= 0
}

// leads reports whether a descriptor of a stopped process is open on a path of the
// container; "" is its root. With hooks the root lies where the host has it.
func (s *scene) leads(st *stepper.Stop, fd uint64, path string) bool {
	to, err := os.Readlink(descriptor(st, fd))
	return err == nil && (to == path || to == s.root+path)
}

func descriptor(st *stepper.Stop, fd uint64) string {
	return fmt.Sprintf("/proc/%d/fd/%d", st.TID, int32(fd))
}

// step is try for a command on the scene's bundle during which the attacker acts.
func (s *scene) step(at moment, act func() error, args ...string) *outcome {
	s.t.Helper()
	var files [2]*os.File
	for i := range files {
		f, err := os.CreateTemp(s.Dir, "stream-")
		s.must(err)
		defer f.Close()
		files[i] = f
	}
	acted := false
	c := stepper.Command{Argv: s.Argv(append(args, "--bundle", s.bundle, s.ID("a"))...), Files: [3]*os.File{nil, files[0], files[1]}, Children: true}
	ws := stepper.Run(s.t, c, func(st *stepper.Stop) stepper.Verdict {
		if !at(s, st) {
			return stepper.Next
		}
		if err := act(); err != nil {
			s.t.Errorf("cannot act: %v", err)
		}
		acted = true
		return stepper.Free
	})
	if !acted {
		s.t.Error("the moment has not come")
	}
	r := &linuxtest.Result{Status: ws.ExitStatus(), Stdout: hostFile(s.t, files[0].Name()), Stderr: hostFile(s.t, files[1].Name())}
	if ws.Signaled() {
		r.Signal = ws.Signal()
	}
	return s.judge(r)
}

// thing is an object at a path of the root.
type thing struct{ path, kind string }

// momentCase is one container, and one act.
type momentCase struct {
	name   string
	things []thing
	edits  func(s *scene) []linuxtest.Edit
	at     moment
	act    func(s *scene) error
	want   string                                   // the error …
	check  func(t *testing.T, s *scene, o *outcome) // … or what holds in the container
	args   func(s *scene) []string                  // nil: run
}

func (c *momentCase) play(t *testing.T, h *linuxtest.Host) {
	h.Sub(t, c.name, func(t *testing.T, h *linuxtest.Host) {
		s := newScene(t, h)
		for _, o := range c.things {
			s.object(s.root+o.path, o.kind)
		}
		s.WriteConfig(s.bundle, linuxtest.Spec(append([]linuxtest.Edit{look(), writable}, c.edits(s)...)...))
		args := []string{"run"}
		if c.args != nil {
			args = c.args(s)
		}
		o := s.step(c.at, func() error { return c.act(s) }, args...)
		switch {
		case c.want != "" && (o.Status != 1 || !strings.Contains(o.Stderr, c.want)):
			t.Errorf("status %d, %q, want an error with %q", o.Status, o.Stderr, c.want)
		case c.want == "" && !o.started:
			t.Errorf("refused: %s", o.Stderr)
		case c.want == "":
			c.check(t, s, o)
		}
		s.CheckCleanButKeys()
	})
}

// swapped exchanges a path of the root for its trap.
func swapped(path string) func(*scene) error {
	return func(s *scene) error { return exchange(s.root+path, s.root+path+".trap") }
}

// swappedBack does so for no longer than a moment.
func swappedBack(path string) func(*scene) error {
	return func(s *scene) error {
		if err := swapped(path)(s); err != nil {
			return err
		}
		return swapped(path)(s)
	}
}

// elsewhere is the error for a path that leads to something else than what was attached.
func elsewhere(field, path string) string {
	return field + ": the path " + path + " leads elsewhere than to the mount that was just attached there"
}
