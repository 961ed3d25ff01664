package stub

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// What follows a late batch: whatever the size, in either half of the ring.
func TestAfterLate(t *testing.T) {
	small := func(b *kernel.Batch) { b.Umask(0) }
	many := func(b *kernel.Batch) {
		for range maxRecords + 100 {
			b.Umask(0)
		}
	}
	big := func(b *kernel.Batch) { // one call that needs nearly all of the memory
		b.Chdir(strings.Repeat("x", 8<<20))
		b.Allow(unix.ENAMETOOLONG)
	}
	for halves := range 4 {
		for name, f := range map[string]func(*kernel.Batch){"small": small, "many": many, "big": big} {
			s := launch(t, Config{})
			for range halves {
				late := &kernel.Batch{Late: true}
				small(late)
				if err := s.Run(late); err != nil {
					t.Fatal(err)
				}
				if s.late == nil {
					t.Fatal("the batch was not late")
				}
			}
			for range 2 {
				run(t, s, f)
			}
			if s.late != nil || s.older != nil || s.next != firstRecord {
				t.Errorf("%s after %d: late %v, next %d", name, halves, s.late, s.next)
			}
		}
	}
}

// The last calls come behind late ones, too.
func TestLastAfterLate(t *testing.T) {
	for halves := range 4 {
		s := launch(t, Config{})
		var mask kernel.Handle
		for range halves {
			late := &kernel.Batch{Late: true}
			late.Umask(0o77)
			mask = late.Last()
			if err := s.Run(late); err != nil {
				t.Fatal(err)
			}
		}
		b := &kernel.Batch{}
		b.CloseRange(3, unix.CLOSE_RANGE_CLOEXEC)
		b.Execve("/bin/true", []string{"true"}, nil)
		if err := s.Exec(b); err != nil {
			t.Fatalf("after %d: %v", halves, err)
		}
		if halves > 1 && mask.Count(0o777) != 0o77 {
			t.Errorf("the second late batch has the result %o", mask.Count(0o777))
		}
	}
}

// With both processes on one CPU the stub stores the result of a report when tongs
// has written the next but one batch into the same half.
func TestLateResultOfLate(t *testing.T) {
	if !isChild(t.Name()) {
		again(t, t.Name(), nil) // since it moves all threads to one CPU
		return
	}
	pin(t)
	s := launch(t, Config{})
	for i := range 2000 {
		b := &kernel.Batch{Late: i%5 != 4}
		for j := range 1 + i%160 {
			b.Umask(uint32(i+j) & 0o777)
		}
		if err := s.Run(b); err != nil {
			t.Fatalf("batch %d: %v", i, err)
		}
	}
}
