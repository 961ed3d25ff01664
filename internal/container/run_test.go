package container

import (
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// newWaiter waits for a child of the test; signals come from the returned
// descriptor.
func newWaiter(t *testing.T, pid int) (*waiter, int) {
	t.Helper()
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pidfd); unix.Close(pipe[0]); unix.Close(pipe[1]) })
	// Not with others: that would reap children of other tests.
	return &waiter{pid: pid, pidfd: pidfd, signals: pipe[0]}, pipe[1]
}

func TestWait(t *testing.T) {
	for script, want := range map[string]int{
		"exit 0":        0,
		"exit 42":       42,
		"exit 255":      255,
		"kill -KILL $$": 128 + 9,
		"kill -TERM $$": 128 + 15,
	} {
		cmd := exec.Command("sh", "-c", script)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w, _ := newWaiter(t, cmd.Process.Pid)
		if got, err := w.wait(); err != nil || got != want {
			t.Errorf("%s: got %d, %v; want %d", script, got, err, want)
		}
	}
}

func TestWaitPassesSignals(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w, signals := newWaiter(t, cmd.Process.Pid)
	// A change of the terminal's size, and there is no terminal; the end of
	// somebody else's child.
	numbers := []byte{byte(unix.SIGWINCH), byte(unix.SIGCHLD), byte(unix.SIGUSR1)}
	if _, err := unix.Write(signals, numbers); err != nil {
		t.Fatal(err)
	}
	if got, err := w.wait(); err != nil || got != 128+int(unix.SIGUSR1) {
		t.Errorf("got %d, %v; want the end by SIGUSR1", got, err)
	}
}
