package stub

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/kernel/stub/code"
)

func TestCallLargerThanMemory(t *testing.T) {
	s := launch(t, Config{})
	b := &kernel.Batch{}
	b.Umask(0o22)
	b.For("process.cwd", "cannot enter").Chdir(strings.Repeat("x", code.Size))
	err := s.Run(b)
	want := "process.cwd: cannot enter: chdir: a call's arguments are larger than the shared memory"
	if message(err) != want || !errors.Is(err, errTooLarge) {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	run(t, s, func(b *kernel.Batch) { b.Umask(0) }) // nothing is lost

	b = &kernel.Batch{}
	b.Chdir(strings.Repeat("x", code.Size-arenaOff-1)) // fits to the byte
	if err := s.Run(b); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("got %v, want ENAMETOOLONG", err)
	}
}

func TestLastCallsLargerThanMemory(t *testing.T) {
	fill := func(b *kernel.Batch) {
		for range maxRecords {
			b.For("a", "cannot b").Umask(0)
		}
	}
	for _, f := range []func(s *Stub) func(*kernel.Batch) error{
		func(s *Stub) func(*kernel.Batch) error { return s.Park },
		func(s *Stub) func(*kernel.Batch) error { return s.Exec },
	} {
		s := launch(t, Config{})
		b := &kernel.Batch{}
		fill(b)
		err := f(s)(b)
		if want := "a: cannot b: umask: a call's arguments are larger than the shared memory"; message(err) != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		run(t, s, fill) // the same in parts
	}
}

// A result can be used in a later part of a batch, by its number.
func TestBatchInParts(t *testing.T) {
	const calls, slot = 20000, 16
	fd, err := unix.MemfdCreate("slots", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "slots")
	defer f.Close()
	s := launch(t, Config{Inherit: []kernel.Handle{handle(f)}})
	b := &kernel.Batch{}
	file := b.Dup3(s.Inherited()[0], 50, 0)
	rest := strings.Repeat("x", 4096-slot-1)
	for i := range calls {
		b.Raw("pwrite64", unix.SYS_PWRITE64, kernel.R(file), kernel.T(fmt.Sprintf("%016d", i)+rest), kernel.N(slot), kernel.N(uint64(slot*i)))
	}
	if err := s.Run(b); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, slot*calls+1)
	if n, err := f.ReadAt(got, 0); n != slot*calls {
		t.Fatalf("%d bytes were written, want %d (%v)", n, slot*calls, err)
	}
	for i := range calls {
		if text := string(got[slot*i:][:slot]); text != fmt.Sprintf("%016d", i) {
			t.Fatalf("call %d wrote %q", i, text)
		}
		if n := b.Calls[1+i].Result.Count(100); n != slot {
			t.Fatalf("call %d says %d", i, n)
		}
	}
}

func TestBatchAfterLastCalls(t *testing.T) {
	s := launch(t, Config{})
	b := &kernel.Batch{}
	b.Write(s.Line(), "p")
	b.Read(s.Line(), 1) // waits for ever
	if err := s.Park(b); err != nil {
		t.Fatal(err)
	}
	b = &kernel.Batch{}
	b.Umask(0)
	const want = "the container's process has already been given its last calls"
	for what, err := range map[string]error{"Run": s.Run(b), "Park": s.Park(b), "Exec": s.Exec(b)} {
		if message(err) != want {
			t.Errorf("%s: %v", what, err)
		}
	}
}
