package kerneltest

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// late hands on batch after batch without waiting, of sizes around that of any
// buffer, and looks at each one's results when they are promised.
func late(t *testing.T, k kernel.Kernel) {
	before := &kernel.Batch{}
	if err := k.Run(before); err != nil {
		t.Fatal(err)
	}
	dir := kernel.Handle{}
	var wanted []func() // of batches that are on their way
	done := func(left int) {
		for ; len(wanted) > left; wanted = wanted[1:] {
			wanted[0]()
		}
	}
	for i, size := range []int{1, 80, 3, 150, 165, 166, 167, 168, 200, 1, 40, 40, 40, 5000, 2, 90, 1, 4000, 60, 60} {
		b := &kernel.Batch{Late: i%7 != 6}
		checked := false
		if i == 0 {
			dir = b.Openat2(kernel.CWD(), "/", unix.O_PATH|unix.O_DIRECTORY, 0, 0)
		}
		stats := make([]*kernel.Stat, 0, size)
		missing := make([]kernel.Handle, 0, size)
		for range size {
			b.For("field", "cannot look")
			h := b.Openat2(dir, "proc/self", unix.O_PATH|unix.O_NOFOLLOW, 0, 0)
			stats = append(stats, b.Stat(h))
			b.Close(h)
			missing = append(missing, b.Openat2(dir, "no such file"+strings.Repeat("x", i*10), unix.O_PATH, 0, 0))
			b.Allow(unix.ENOENT)
		}
		b.Check(func() error { checked = true; return nil })
		if err := k.Run(b); err != nil {
			t.Fatalf("batch %d: %v", i, err)
		}
		wanted = append(wanted, func() {
			if !checked {
				t.Errorf("batch %d: its checks were not run", i)
			}
			for j := range size {
				if stats[j].Type() != unix.S_IFLNK || missing[j].Errno() != unix.ENOENT {
					t.Fatalf("batch %d, %d: mode %o, %v", i, j, stats[j].Mode(), missing[j].Errno())
				}
			}
		})
		if b.Late {
			done(2)
		} else {
			done(0)
		}
	}
	if err := k.Run(&kernel.Batch{}); err != nil {
		t.Fatal(err)
	}
	done(0)
}

// lateError has a call fail, or a check, in a batch that is late.
func lateError(t *testing.T, k kernel.Kernel) {
	b := &kernel.Batch{Late: true}
	b.For("first", "cannot do").Umask(0o22)
	b.Chdir("/no such directory")
	err := k.Run(b)
	if err == nil {
		next := &kernel.Batch{}
		next.For("second", "cannot do").Umask(0o22)
		err = k.Run(next)
	}
	var call *kernel.CallError
	if !errors.As(err, &call) || call.Field != "first" || call.Errno != unix.ENOENT {
		t.Fatalf("got %v, want the first batch's", err)
	}
}

// lateCheck has a check of a late batch give the kernel more to do, and fail.
func lateCheck(t *testing.T, k kernel.Kernel) {
	wrong := errors.New("wrong")
	b := &kernel.Batch{Late: true}
	b.Umask(0o22)
	b.Check(func() error {
		more := &kernel.Batch{}
		st := more.StatPath("/")
		if err := k.Run(more); err != nil || st.Type() != unix.S_IFDIR {
			t.Errorf("more: %v, mode %o", err, st.Mode())
		}
		return wrong
	})
	err := k.Run(b)
	if err == nil {
		next := &kernel.Batch{}
		next.Umask(0o22)
		err = k.Run(next)
	}
	if !errors.Is(err, wrong) {
		t.Fatalf("got %v, want the check's", err)
	}
}
