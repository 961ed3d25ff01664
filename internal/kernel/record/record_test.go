package record_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/kernel/kerneltest"
	"tongs/internal/kernel/record"
)

func TestConformance(t *testing.T) {
	kerneltest.Run(t, false, func(*testing.T) kernel.Kernel { return &record.Kernel{} })
}

// Every typed call, as the recorder prints it.
func TestText(t *testing.T) {
	k := &record.Kernel{}
	b := &kernel.Batch{}
	b.For("field", "cannot do")
	kerneltest.All(b)
	if err := k.Run(b); err != nil {
		t.Fatal(err)
	}
	const file = "testdata/calls.txt"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(k.Text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := k.Text.String(); got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// A fault at call n stops the batch there and is reported as that call's.
func TestFault(t *testing.T) {
	total := &kernel.Batch{}
	kerneltest.All(total)
	for n := 1; n <= len(total.Calls); n++ {
		if total.Calls[n-1].AllowAny {
			continue // no fault: its caller judges it
		}
		k := &record.Kernel{Fail: n, Errno: unix.EIO}
		b := &kernel.Batch{}
		kerneltest.All(b)
		err := k.Run(b)
		var call *kernel.CallError
		if !errors.As(err, &call) || call.Errno != unix.EIO || call.Name != b.Calls[n-1].Name {
			t.Fatalf("fault at %d: got %v", n, err)
		}
		if lines := strings.Count(k.Text.String(), "\n"); lines != n {
			t.Fatalf("fault at %d: %d calls recorded", n, lines)
		}
	}
}

func TestAnswer(t *testing.T) {
	k := &record.Kernel{Answer: func(c *kernel.Call) (int64, bool) {
		return -int64(unix.ENOENT), c.Name == "openat2"
	}}
	b := &kernel.Batch{}
	h := b.Openat2(kernel.CWD(), "/x", 0, 0, 0)
	b.Allow(unix.ENOENT)
	if err := k.Run(b); err != nil {
		t.Fatal(err)
	}
	if h.Errno() != unix.ENOENT {
		t.Errorf("got %v", h.Errno())
	}
}

func TestUnknownCall(t *testing.T) {
	b := &kernel.Batch{}
	b.Raw("reboot", unix.SYS_REBOOT)
	if err := (&record.Kernel{}).Run(b); err == nil {
		t.Error("a call without a format was recorded")
	}
}
