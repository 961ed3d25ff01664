package kernel_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// A batch that hoards has no call that closes, and what is said of such a call
// does not hit the one before it.
func TestHoard(t *testing.T) {
	for _, hoard := range []bool{false, true} {
		b := &kernel.Batch{Hoard: hoard}
		h := b.Openat2(kernel.CWD(), "/", unix.O_PATH, 0, 0)
		b.Close(h).Allow()
		b.Umask(0).Allow(unix.EPERM)
		b.Reset()
		b.Setsid()
		b.Close(h).Allow(unix.EBADF)
		want := 2
		if hoard {
			want = 1
		}
		if len(b.Calls) != want || b.Calls[0].AllowAny || len(b.Calls[0].Allowed) > 0 || b.Calls[0].Name != "setsid" {
			t.Errorf("hoard %v: %d calls, first %+v", hoard, len(b.Calls), b.Calls[0])
		}
		if last := b.Calls[len(b.Calls)-1]; !hoard && !last.Tolerates(unix.EBADF) {
			t.Errorf("the close is not what was allowed to fail: %+v", last)
		}
	}
}
