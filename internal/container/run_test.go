package container

import (
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestForwarded(t *testing.T) {
	list := append(usual(), rare()...)
	for _, sig := range []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGUSR1, unix.SIGWINCH, unix.SIGTSTP, unix.SIGCONT, unix.Signal(64)} {
		if !slices.Contains(list, sig) {
			t.Errorf("%v is not forwarded", sig)
		}
	}
	for _, sig := range []os.Signal{unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE, unix.SIGKILL, unix.SIGSTOP} {
		if slices.Contains(list, sig) {
			t.Errorf("%v is forwarded", sig)
		}
	}
}

func TestWaitInit(t *testing.T) {
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
		// Not with others=true: that would reap children of other tests.
		if got, err := waitInit(cmd.Process.Pid, false); err != nil || got != want {
			t.Errorf("%s: got %d, %v; want %d", script, got, err, want)
		}
	}
}

func TestForward(t *testing.T) {
	cmd := spawn(t, "sleep", "1000")
	pidfd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	s := &signals{c: make(chan os.Signal, 2)}
	s.c <- unix.SIGWINCH // for the terminal, of which there is none
	s.c <- unix.SIGUSR1
	defer signal.Stop(s.c)
	go s.forward(pidfd, nil)
	if err := cmd.Wait(); err == nil || err.Error() != "signal: user defined signal 1" {
		t.Errorf("got %v, want SIGUSR1", err)
	}
}
