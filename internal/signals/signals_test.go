package signals

import (
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const childEnv = "TONGS_SIGNALS_TEST"

// Catching is for the rest of a process's life: the test starts one.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	os.Exit(m.Run())
}

// child catches signals, sends itself all of them, several times and from
// several threads at work, and checks what it reads.
func child() int {
	fd, err := Catch()
	if err != nil {
		println(err.Error())
		return 1
	}
	stop := make(chan bool)
	for range 4 { // threads that allocate, are preempted, collect garbage
		go func() {
			for list := [][]byte{}; ; list = append(list[:len(list)/2], make([]byte, 4096)) {
				select {
				case <-stop:
					return
				default:
				}
			}
		}()
	}
	want := map[unix.Signal]int{}
	got := map[unix.Signal]int{}
	for range 20 {
		for n := unix.Signal(1); n <= 64; n++ {
			if !caught(n) || n == unix.SIGCHLD {
				continue
			}
			if err := unix.Kill(os.Getpid(), n); err != nil {
				println(n, err.Error())
				return 1
			}
			want[n]++
			if !read(fd, got, n, want[n]) {
				println("signal", n, "did not arrive")
				return 1
			}
		}
	}
	close(stop)
	for n, times := range got {
		if times != want[n] {
			println("signal", n, "arrived", times, "times, not", want[n])
			return 1
		}
	}
	return 0
}

// read counts what arrives until signal n has come often enough.
func read(fd int, got map[unix.Signal]int, n unix.Signal, times int) bool {
	for end := time.Now().Add(5 * time.Second); got[n] < times; {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, int(time.Until(end).Milliseconds())); err != nil && err != unix.EINTR || time.Now().After(end) {
			return false
		}
		var buf [64]byte
		m, _ := unix.Read(fd, buf[:])
		for _, b := range buf[:max(m, 0)] {
			got[unix.Signal(b)]++
		}
	}
	return true
}

func TestCatch(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, strings.TrimSpace(string(out)))
	}
}

func TestCaught(t *testing.T) {
	for _, n := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGUSR1, unix.SIGWINCH, unix.SIGTSTP, unix.SIGTTIN, unix.SIGCONT, unix.SIGCHLD, 35, 64} {
		if !caught(n) {
			t.Errorf("%v is not caught", n)
		}
	}
	for _, n := range []unix.Signal{unix.SIGURG, unix.SIGPIPE, unix.SIGKILL, unix.SIGSTOP, unix.SIGSEGV, unix.SIGPROF} {
		if caught(n) {
			t.Errorf("%v is caught", n)
		}
	}
}

// BenchmarkNotify is what the standard library takes for the same.
func BenchmarkNotify(b *testing.B) {
	var list []os.Signal
	for n := unix.Signal(1); n <= 64; n++ {
		if caught(n) {
			list = append(list, n)
		}
	}
	for b.Loop() {
		c := make(chan os.Signal, 1)
		signal.Notify(c, list...)
		signal.Stop(c)
	}
}
