package stub

import (
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/kernel/stub/code"
)

// lostBy runs b, which must end in a LostError with this text, quickly.
func lostBy(t *testing.T, s *Stub, b *kernel.Batch, want string) *kernel.LostError {
	t.Helper()
	var err error
	within(t, 5*time.Second, func() { err = s.Run(b) })
	var lost *kernel.LostError
	if !errors.As(err, &lost) || lost.Error() != want {
		t.Fatalf("got  %v\nwant %s", err, want)
	}
	return lost
}

// checkGone checks that nothing is left of a stub that was lost by err.
func checkGone(t *testing.T, s *Stub, err error, before map[string]string) {
	t.Helper()
	if !gone(s.PID) {
		t.Error("the process was not reaped")
	}
	b := &kernel.Batch{}
	b.Umask(0)
	if again := s.Run(b); again != err {
		t.Errorf("the next Run says %v, want the same as before, %v", again, err)
	}
	if again := s.Exec(b); again != err {
		t.Errorf("Exec says %v, want the same as before, %v", again, err)
	}
	for range 2 {
		s.Kill()
		s.Close()
	}
	if left := newFDs(before); len(left) > 0 {
		t.Errorf("descriptors were left: %v", left)
	}
}

func TestKilledBeforeFirstRun(t *testing.T) {
	before := openFDs()
	s := launch(t, Config{})
	unix.PidfdSendSignal(s.PidFD, unix.SIGKILL, nil, 0)
	ended(t, s.PidFD, 5*time.Second)
	b := &kernel.Batch{}
	b.For("hostname", "cannot set").Umask(0o22).Umask(0)
	err := lostBy(t, s, b, "hostname: cannot set: umask(022): the container's process was killed by signal 9 (SIGKILL)")
	checkGone(t, s, err, before)
}

func TestKilledBetweenRuns(t *testing.T) {
	before := openFDs()
	s := launch(t, Config{})
	run(t, s, func(b *kernel.Batch) { b.Umask(0); b.Umask(1); b.Umask(2) })
	unix.PidfdSendSignal(s.PidFD, unix.SIGSEGV, nil, 0)
	ended(t, s.PidFD, 5*time.Second)
	b := &kernel.Batch{}
	b.For("a", "cannot b").Umask(0o22).Umask(0)
	err := lostBy(t, s, b, "a: cannot b: umask(022): the container's process was killed by signal 11 (SIGSEGV)")
	checkGone(t, s, err, before)
}

// blocked makes a stub with a batch that stops in its second call.
func blocked(t *testing.T, c Config) (*Stub, *kernel.Batch) {
	t.Helper()
	r, w := pipe(t)
	status, report := pipe(t)
	c.Inherit = []kernel.Handle{handle(r), handle(report)}
	s := launch(t, c)
	b := &kernel.Batch{}
	b.For("mounts[1]", "cannot tell")
	b.Write(s.Inherited()[1], "x")
	b.For("mounts[2]", "cannot wait")
	b.Read(s.Inherited()[0], 1)
	b.For("mounts[3]", "cannot go on").Umask(0)
	first, pidfd := s.ring.word(firstRecord*code.RecordSize+code.ResultOff), s.PidFD
	done := make(chan bool)
	t.Cleanup(func() { <-done; w.Close() })
	go func() { // as soon as the batch has begun
		defer close(done)
		status.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := status.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		if c.Timeout == 0 {
			// The report may be there before the result of the call that made it.
			unfinished := int64(unset)
			for end := time.Now().Add(10 * time.Second); atomic.LoadUint64(first) == uint64(unfinished) && time.Now().Before(end); {
				runtime.Gosched()
			}
			unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
		}
	}()
	return s, b
}

func TestKilledInACall(t *testing.T) {
	s, b := blocked(t, Config{})
	lost := lostBy(t, s, b, `mounts[2]: cannot wait: read(<pipe>, [out 1], 1): the container's process was killed by signal 9 (SIGKILL)`)
	if lost.Field != "mounts[2]" || b.Calls[0].Result.Errno() != 0 || b.Calls[0].Result.Count(10) != 1 {
		t.Errorf("field %q, result of the call before %d", lost.Field, b.Calls[0].Result.Count(10))
	}
	checkGone(t, s, lost, openFDs())
}

func TestSlowCall(t *testing.T) {
	s, b := blocked(t, Config{Timeout: 2 * time.Second})
	lost := lostBy(t, s, b, `mounts[2]: cannot wait: read(<pipe>, [out 1], 1): the container's process did not answer within 2s`)
	checkGone(t, s, lost, openFDs())
}

func TestStopped(t *testing.T) {
	before := openFDs()
	s := launch(t, Config{Timeout: 2 * time.Second})
	run(t, s, func(b *kernel.Batch) { b.Umask(0) })
	unix.PidfdSendSignal(s.PidFD, unix.SIGSTOP, nil, 0)
	b := &kernel.Batch{}
	b.For("a", "cannot b").Umask(0o22)
	begin := time.Now()
	err := lostBy(t, s, b, "a: cannot b: umask(022): the container's process did not answer within 2s")
	if took := time.Since(begin); took < 2*time.Second || took > 8*time.Second {
		t.Errorf("took %s", took)
	}
	checkGone(t, s, err, before)
}

func TestExitByItself(t *testing.T) {
	before := openFDs()
	s := launch(t, Config{})
	b := &kernel.Batch{}
	b.For("a", "cannot b").Umask(0).ExitGroup(7)
	err := lostBy(t, s, b, "a: cannot b: exit_group(07): the container's process exited with status 7")
	checkGone(t, s, err, before)
}

func TestFailedCallEndsTheStub(t *testing.T) {
	before := openFDs()
	s := launch(t, Config{})
	b := &kernel.Batch{}
	b.Close(kernel.NoFD())
	if err := s.Run(b); !errors.Is(err, unix.EBADF) {
		t.Fatal(err)
	}
	err := s.Run(b)
	var lost *kernel.LostError
	if !errors.As(err, &lost) || !strings.HasSuffix(err.Error(), "exited with status 125") {
		t.Errorf("the next Run says %v", err)
	}
	checkGone(t, s, err, before)
}

// A stub is told that errors are expected, not which: behind an unexpected one it
// goes on, and must not be waited for.
func TestUnexpectedErrorEndsTheStub(t *testing.T) {
	before := openFDs()
	s := launch(t, Config{})
	b := &kernel.Batch{}
	b.Close(kernel.NoFD()).Allow(unix.ENOENT, unix.EAGAIN)
	b.Umask(0)
	begin := time.Now()
	if err := s.Run(b); !errors.Is(err, unix.EBADF) {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 8*time.Second {
		t.Errorf("took %s", took)
	}
	err := s.Run(b)
	var lost *kernel.LostError
	if !errors.As(err, &lost) {
		t.Errorf("the next Run says %v", err)
	}
	checkGone(t, s, err, before)
}

func TestCloseEndsTheStub(t *testing.T) {
	s := launch(t, Config{})
	pidfd, err := unix.FcntlInt(uintptr(s.PidFD), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	run(t, s, func(b *kernel.Batch) { b.Umask(0) })
	s.Close()
	if !ended(t, pidfd, 5*time.Second) {
		t.Fatal("the stub lives on without a tongs")
	}
	b := &kernel.Batch{}
	b.Umask(0)
	for what, err := range map[string]error{"Run": s.Run(b), "Park": s.Park(b), "Exec": s.Exec(b)} {
		if err == nil {
			t.Errorf("%s works after Close", what)
		}
	}
	s.Kill() // must not wait for anything
	var ws unix.WaitStatus
	if _, err := unix.Wait4(s.PID, &ws, 0, nil); err != nil || ws.ExitStatus() != 125 {
		t.Errorf("exit status %d, %v", ws.ExitStatus(), err)
	}
}

func TestKillTwice(t *testing.T) {
	s := launch(t, Config{})
	s.Kill()
	if !gone(s.PID) {
		t.Error("the process was not reaped")
	}
	s.Kill()
	b := &kernel.Batch{}
	b.Umask(0o22)
	lostBy(t, s, b, "umask(022): the container's process was killed by signal 9 (SIGKILL)")
}

// A child in which the stub goes on can be killed as soon as others see it: it
// is reaped, and how it has ended is what is told.
func TestForkedChildKilled(t *testing.T) {
	for name, end := range map[string]func(b *kernel.Batch){
		"was killed by signal 9 (SIGKILL)": func(b *kernel.Batch) {
			b.Raw("kill", unix.SYS_KILL, kernel.R(b.Getpid()), kernel.N(uint64(unix.SIGKILL)))
			b.Umask(0)
		},
		"exited with status 7": func(b *kernel.Batch) { b.ExitGroup(7) },
	} {
		before := openFDs()
		s := launch(t, Config{})
		first := s.PID
		b := &kernel.Batch{}
		child := b.ForkSibling()
		end(b)
		var err error
		within(t, 5*time.Second, func() { err = s.Run(b) })
		var lost *kernel.LostError
		if !errors.As(err, &lost) || lost.How != name {
			t.Errorf("got %v, want a process that %s", err, name)
		}
		if child.PID() == first || !gone(first) {
			t.Error("the stub did not fork, or is still there")
		}
		checkGone(t, s, err, before)
	}
}

// A call that fails otherwise than was allowed is told of when the batch is over. The
// stub has gone on, in a child if it was to fork: that is what ends then.
func TestForkBehindAFailure(t *testing.T) {
	s := launch(t, Config{})
	first := s.PID
	b := &kernel.Batch{}
	b.Fchdir(kernel.NoFD()).Allow(unix.ENOENT) // EBADF
	child := b.ForkSibling()
	var err error
	within(t, 5*time.Second, func() { err = s.Run(b) })
	if !errors.Is(err, unix.EBADF) {
		t.Errorf("got %v, want EBADF", err)
	}
	if !gone(first) || child.PID() == first || !gone(child.PID()) {
		t.Errorf("of %d and its child %d one is left", first, child.PID())
	}
	s.Close()
}
