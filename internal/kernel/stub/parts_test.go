package stub

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

func runLate(t *testing.T, s *Stub, f func(b *kernel.Batch)) *kernel.Batch {
	t.Helper()
	b := &kernel.Batch{Late: true}
	f(b)
	if err := s.Run(b); err != nil {
		t.Fatal(err)
	}
	if s.late == nil || s.late.b != b {
		t.Fatal("the batch was not late")
	}
	return b
}

// A late part uses a result that lies in the other half; then come the last calls.
func TestLastWhileUsed(t *testing.T) {
	r, w := pipe(t)
	s := launch(t, Config{Inherit: []kernel.Handle{handle(r)}})
	runLate(t, s, func(b *kernel.Batch) { b.Umask(0) })
	var number, mask kernel.Handle
	runLate(t, s, func(b *kernel.Batch) { number = b.Getpid() })
	runLate(t, s, func(b *kernel.Batch) {
		b.Read(s.Inherited()[0], 1)
		b.Raw("umask", unix.SYS_UMASK, kernel.R(number))
		mask = b.Umask(0).Last()
	})
	go func() { time.Sleep(300 * time.Millisecond); w.Write([]byte{0}) }()
	b := &kernel.Batch{}
	b.CloseRange(3, unix.CLOSE_RANGE_CLOEXEC)
	b.Execve("/bin/true", []string{"true"}, nil)
	if err := s.Exec(b); err != nil {
		t.Fatal(err)
	}
	if got := mask.Count(0o777); got != number.Count(1<<30)&0o777 {
		t.Errorf("umask was %o, want %o of %d", got, number.Count(1<<30)&0o777, number.Count(1<<30))
	}
}

// A descriptor that is sent Meanwhile, for the last call of a batch that is too large
// for a half of the ring.
func TestMeanwhileOfParts(t *testing.T) {
	for name, f := range map[string]func(b *kernel.Batch){
		"texts": func(b *kernel.Batch) {
			for range 40 {
				b.Chdir(strings.Repeat("x", 1000)).Allow()
			}
		},
		"many": func(b *kernel.Batch) {
			for range 200 {
				b.Umask(0)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := pipe(t)
			s := launch(t, Config{Timeout: 3 * time.Second})
			for range 2 {
				runLate(t, s, func(b *kernel.Batch) { b.Umask(0) })
			}
			b := &kernel.Batch{}
			f(b)
			b.For("linux.namespaces", "cannot receive")
			got := b.ReceiveFD(s.Line(), "pipe")
			b.Meanwhile = func() error { return s.SendFD(int(r.Fd())) }
			if err := s.Run(b); err != nil {
				t.Fatal(err)
			}
			h, ok := got.Handle()
			if !ok {
				t.Fatal("no descriptor came")
			}
			run(t, s, func(b *kernel.Batch) { b.Close(h) })
		})
	}
}

// A part of a batch ends just behind what only a child executes.
func TestChildAtTheEnd(t *testing.T) {
	s := launch(t, Config{})
	b := &kernel.Batch{}
	b.Vfork(func() { b.ExitGroup(0) })
	if err := s.Run(b); err != nil {
		t.Error(err)
	}
}

// The border of two parts lies between the calls that belong to one child.
func TestBorderInFamily(t *testing.T) {
	for k := range 12 {
		r, w := pipe(t)
		s := launch(t, Config{Inherit: []kernel.Handle{handle(w), handle(r)}, Timeout: 3 * time.Second})
		b := &kernel.Batch{}
		for range maxRecords - 1 - firstRecord - k {
			b.Umask(0)
		}
		family(b, s.Inherited()[0], 2, func() { b.ExitGroup(1) })
		err := s.Run(b)
		if !errors.Is(err, unix.EAGAIN) {
			t.Errorf("%d calls of the family in the first part: got %v, want EAGAIN of its status 1", k, err)
		}
	}
}
