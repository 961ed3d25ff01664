package stub

import (
	"errors"
	"io"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// family adds calls that make a child, which writes and then does what end adds,
// and that wait for it.
func family(b *kernel.Batch, to kernel.Handle, seconds int, end func()) {
	c := b.For("child", "cannot do it").Vfork(func() {
		b.Write(to, "child ")
		end()
	})
	b.PollEnd(c, seconds).WaitChild(c).WriteStatus(c, to).RequireSuccess(c)
	b.Write(to, " parent")
}

func read(t *testing.T, r io.Reader) string {
	t.Helper()
	buf := make([]byte, 4096)
	n, err := r.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// The child executes its own calls and the parent only the others, also when
// they are many.
func TestChild(t *testing.T) {
	r, w := pipe(t)
	s := launch(t, Config{Inherit: []kernel.Handle{handle(w)}})
	to := s.Inherited()[0]
	for _, end := range []func(b *kernel.Batch){
		func(b *kernel.Batch) { b.ExitGroup(0) },
		func(b *kernel.Batch) {
			b.Chdir("/nowhere").Allow()
			b.Execve("/bin/true", []string{"true"}, nil).ExitGroup(3)
		},
		func(b *kernel.Batch) { b.Execve("/nowhere", []string{"x"}, nil).Allow().ExitGroup(0) },
	} {
		run(t, s, func(b *kernel.Batch) { family(b, to, 20, func() { end(b) }) })
		if got := read(t, r); got != "child \x00\x00\x00\x00 parent" {
			t.Errorf("got %q", got)
		}
	}
	// More calls than the memory holds, and a child across the border.
	run(t, s, func(b *kernel.Batch) {
		for range maxRecords - firstRecord - 3 {
			b.Umask(0)
		}
		family(b, to, 0, func() { b.ExitGroup(0) })
	})
	if got := read(t, r); got != "child \x00\x00\x00\x00 parent" {
		t.Errorf("across the border: got %q", got)
	}
	// More than the memory holds in the child itself.
	b := &kernel.Batch{}
	b.For("a", "cannot b").Vfork(func() {
		for range maxRecords {
			b.Umask(0)
		}
	})
	if err := s.Run(b); !errors.Is(err, errTooLarge) {
		t.Errorf("a child that is too large: %v", err)
	}
}

func TestChildFails(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		want   string
	}{
		"status": {1, "child \x00\x01\x00\x00"},
		"large":  {255, "child \x00\xff\x00\x00"},
	} {
		r, w := pipe(t)
		s := launch(t, Config{Inherit: []kernel.Handle{handle(w)}})
		b := &kernel.Batch{}
		family(b, s.Inherited()[0], 0, func() { b.ExitGroup(c.status) })
		if err := s.Run(b); !errors.Is(err, unix.EAGAIN) {
			t.Errorf("%s: got %v, want EAGAIN", name, err)
		}
		if got := read(t, r); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
		if !ended(t, s.PidFD, 5*time.Second) {
			t.Errorf("%s: the parent goes on", name)
		}
	}
}

// A child that takes too long ends its parent.
func TestChildTimeout(t *testing.T) {
	_, w := pipe(t)
	s := launch(t, Config{Inherit: []kernel.Handle{handle(w)}, Namespaces: unix.CLONE_NEWPID})
	b := &kernel.Batch{}
	family(b, s.Inherited()[0], 1, func() { b.Execve("/bin/sleep", []string{"sleep", "100"}, nil) })
	begin := time.Now()
	err := s.Run(b)
	var lost *kernel.LostError
	if !errors.As(err, &lost) || lost.Field != "child" {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begin); took < 900*time.Millisecond || took > 20*time.Second {
		t.Errorf("took %v", took)
	}
}

// The last calls may have children of their own: it is the parent's program that
// counts.
func TestChildBeforeProgram(t *testing.T) {
	for name, c := range map[string]struct {
		program string
		ok      bool
		status  int
	}{
		"works":             {"/bin/true", true, 0},
		"no program":        {"/nowhere", false, 0},
		"child is not well": {"/bin/true", false, 1},
	} {
		_, w := pipe(t)
		s := launch(t, Config{Inherit: []kernel.Handle{handle(w)}})
		b := &kernel.Batch{}
		b.CloseRange(3, unix.CLOSE_RANGE_CLOEXEC)
		family(b, s.Inherited()[0], 0, func() {
			if c.status == 0 {
				b.Execve("/bin/true", []string{"true"}, nil)
			}
			b.ExitGroup(c.status)
		})
		b.Execve(c.program, []string{"p"}, nil).Allow().ExitGroup(127)
		if err := s.Exec(b); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
