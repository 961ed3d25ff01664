package listener

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The test program is the one that loads a filter when this is set.
const beTraced = "TONGS_TEST_LOADS"

func init() { runtime.LockOSThread() } // the process's first thread is the one that is traced

func TestMain(m *testing.M) {
	if how := os.Getenv(beTraced); how != "" {
		os.Exit(load(how))
	}
	os.Exit(m.Run())
}

// load does what the words say, one after another.
func load(how string) int {
	var one [1]byte
	program := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}}
	prog := unix.SockFprog{Len: 1, Filter: &program[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 3
	}
	for _, word := range strings.Fields(how) {
		switch word {
		case "wait":
			os.Stderr.WriteString("w")
			if n, _ := unix.Read(0, one[:]); n != 1 {
				return 2
			}
		case "exit":
			return 4
		case "plain", "listen":
			flags := uintptr(0)
			if word == "listen" {
				flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
			}
			if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog))); errno != 0 {
				return 5
			}
		}
	}
	os.Stdout.WriteString("loaded")
	return 0
}

// child is a process that loads a filter.
type child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   bytes.Buffer
	pidfd int
}

func start(t *testing.T, how string) *child {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("tracing may need root")
	}
	c := &child{cmd: exec.Command("/proc/self/exe")}
	c.cmd.Env = append(os.Environ(), beTraced+"="+how)
	c.cmd.Stdout = &c.out
	waits, err := c.cmd.StderrPipe()
	if err == nil {
		c.in, err = c.cmd.StdinPipe()
	}
	if err == nil {
		err = c.cmd.Start()
	}
	if err == nil {
		_, err = io.ReadFull(waits, make([]byte, 1))
	}
	if err == nil {
		c.pidfd, err = unix.PidfdOpen(c.cmd.Process.Pid, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.cmd.Process.Kill() // may have ended
		unix.Close(c.pidfd)
	})
	return c
}

func (c *child) hold(t *testing.T, give func(int) error) *Held {
	t.Helper()
	h, err := Hold(c.cmd.Process.Pid, c.pidfd, give)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// The listener is one, the process does nothing meanwhile, and goes on.
func TestHold(t *testing.T) {
	for name, disturb := range map[string]func(c *child){
		"undisturbed":        func(*child) {},
		"stopped, continued": func(c *child) { c.cmd.Process.Signal(unix.SIGSTOP); c.cmd.Process.Signal(unix.SIGCONT) },
		"a signal":           func(c *child) { c.cmd.Process.Signal(unix.SIGURG) },
		"stopped for a while": func(c *child) {
			c.cmd.Process.Signal(unix.SIGSTOP)
			time.AfterFunc(100*time.Millisecond, func() { c.cmd.Process.Signal(unix.SIGCONT) })
		},
	} {
		c := start(t, "wait plain listen")
		given := false
		h := c.hold(t, func(fd int) error {
			id := uint64(0)
			_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_ID_VALID, uintptr(unsafe.Pointer(&id)))
			if given = errno == unix.ENOENT; !given {
				t.Errorf("%s: not a listener: %v", name, errno)
			}
			time.Sleep(20 * time.Millisecond)
			if c.out.Len() > 0 {
				t.Errorf("%s: the process has gone on", name)
			}
			return nil
		})
		disturb(c)
		c.in.Write([]byte{0}) // it waits for that
		if err := h.Wait(); err != nil || !given {
			t.Errorf("%s: %v", name, err)
		}
		if err := c.cmd.Wait(); err != nil || c.out.String() != "loaded" {
			t.Errorf("%s: %v, %q", name, err, c.out.String())
		}
	}
}

// Whatever goes wrong is told, and the process does not go on.
func TestHoldFails(t *testing.T) {
	for name, c := range map[string]struct {
		how  string
		give error
		want string
		errs []error
	}{
		"nobody takes it":  {how: "wait listen", give: errors.New("no agent"), want: "no agent"},
		"it ends before":   {how: "wait plain exit", want: ErrEnded.Error(), errs: []error{ErrEnded}},
		"there is another": {how: "listen wait listen", want: ErrEnded.Error() + ": seccomp: device or resource busy", errs: []error{ErrEnded, unix.EBUSY}},
		"it is killed":     {how: "wait plain wait listen", want: ErrEnded.Error(), errs: []error{ErrEnded}},
	} {
		p := start(t, c.how)
		h := p.hold(t, func(int) error { return c.give })
		if name == "it is killed" {
			p.cmd.Process.Kill()
		}
		p.in.Write([]byte{0})
		err := h.Wait()
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		for _, e := range c.errs {
			if !errors.Is(err, e) {
				t.Errorf("%s: %v is not %v", name, err, e)
			}
		}
		if err := p.cmd.Wait(); err == nil || p.out.Len() > 0 {
			t.Errorf("%s: the process has gone on: %v, %q", name, err, p.out.String())
		}
	}
}

// A process that is gone is not held, nor is another that has its number.
func TestHoldGone(t *testing.T) {
	c := start(t, "wait exit")
	c.in.Write([]byte{0})
	c.cmd.Wait() // with the status of exit
	if h, err := Hold(c.cmd.Process.Pid, c.pidfd, nil); err == nil {
		t.Errorf("it is held: %v", h)
	}
	other := start(t, "wait listen")
	if h, err := Hold(other.cmd.Process.Pid, c.pidfd, nil); err == nil {
		t.Errorf("another is held: %v", h)
	}
	other.in.Write([]byte{0})
	if err := other.cmd.Wait(); err != nil || other.out.String() != "loaded" {
		t.Errorf("the other does not go on: %v, %q", err, other.out.String())
	}
}
