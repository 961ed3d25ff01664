// Package listener takes the listener of a seccomp filter from a container's
// process, between the call that loads the filter and the next one that the
// process makes (seccomp_unotify(2)).
//
// By then the filter may catch any call. So the process does not wait by a
// call, nor does it spin: it is traced (ptrace(2)) and stopped at the return of
// seccomp(2). If the tracer dies the kernel kills the process, so no program
// runs whose agent has not been told.
//
// It deliberately does not
//   - know what the filter asks, or whom;
//   - follow the process any further, or its children.
package listener

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// limit bounds the wait for the filter, once nothing else is to come before it.
const limit = time.Minute

// ErrEnded says that the process has ended before it had a filter. Who started
// it may know why.
var ErrEnded = errors.New("the container's process has ended before it loaded its filter")

// Held is a process that is traced until it has loaded its filter.
type Held struct {
	pidfd int
	done  chan error
}

// Hold traces a process that has its filter still to load: give gets the
// listener, and when it has returned without an error, the process goes on.
// It is killed otherwise, and also if we end before.
func Hold(pid, pidfd int, give func(listener int) error) (*Held, error) {
	t, begun, done := &tracee{pid: pid, pidfd: pidfd, give: give}, make(chan error, 1), make(chan error, 1)
	go func() {
		// Never unlocked: the tracer is the thread, and ends with it.
		runtime.LockOSThread()
		err := t.seize()
		begun <- err
		if err == nil {
			done <- t.follow()
		}
	}()
	select {
	case err := <-begun:
		if err != nil {
			return nil, err
		}
		return &Held{pidfd, done}, nil
	case <-time.After(limit): // it is frozen, say
		return nil, fmt.Errorf("cannot trace the container's process: it has not stopped for %v", limit)
	}
}

// Wait returns when the process has its filter and is on its own again, or with
// what went wrong, and then the process has ended or is about to.
func (h *Held) Wait() error {
	select {
	case err := <-h.done:
		if err != nil {
			h.kill()
		}
		return err
	case <-time.After(limit):
	}
	h.kill()
	return fmt.Errorf("the container's process has not loaded its filter for %v", limit)
}

func (h *Held) kill() { _ = unix.PidfdSendSignal(h.pidfd, unix.SIGKILL, nil, 0) }

// tracee is the process as the tracing thread sees it.
type tracee struct {
	pid, pidfd int
	give       func(int) error
	loading    bool       // it is in the call that loads the filter
	failed     unix.Errno // of that call
}

func (t *tracee) seize() error {
	err := unix.PtraceSeize(t.pid)
	if err == nil {
		err = unix.PtraceInterrupt(t.pid)
	}
	if err == nil {
		_, err = t.stop()
	}
	if err == nil { // the number has not become another's before we had it
		err = unix.PidfdSendSignal(t.pidfd, 0, nil, 0)
	}
	if err == nil {
		err = unix.PtraceSetOptions(t.pid, unix.PTRACE_O_EXITKILL|unix.PTRACE_O_TRACESYSGOOD)
	}
	if err == nil {
		err = unix.PtraceSyscall(t.pid, 0)
	}
	if err != nil {
		return fmt.Errorf("cannot trace the container's process: ptrace: %w", err)
	}
	return nil
}

// stop waits for the next stop. The end of the process is left for its parent,
// which may be another thread of ours.
func (t *tracee) stop() (unix.WaitStatus, error) {
	for {
		ended, err := peek(t.pid)
		var ws unix.WaitStatus
		if err == nil && !ended {
			_, err = unix.Wait4(t.pid, &ws, unix.WALL, nil)
		}
		switch {
		case err == unix.EINTR:
		case err == unix.ECHILD, err == nil && !ws.Stopped():
			return 0, t.ended()
		default:
			return ws, err
		}
	}
}

func (t *tracee) ended() error {
	if t.failed != 0 {
		return fmt.Errorf("%w: seccomp: %w", ErrEnded, t.failed)
	}
	return ErrEnded
}

// follow lets the process go on from one stop to the next, up to the one that
// is looked for.
func (t *tracee) follow() error {
	for {
		ws, err := t.stop()
		if err != nil {
			return err
		}
		sig := ws.StopSignal()
		switch {
		case sig == unix.SIGTRAP|0x80: // PTRACE_O_TRACESYSGOOD: a call begins or returns
			loaded, err := t.call()
			if err != nil {
				return err
			}
			if loaded {
				return unix.PtraceDetach(t.pid)
			}
			err = unix.PtraceSyscall(t.pid, 0)
		case ws>>16 != 0 && sig != unix.SIGTRAP: // PTRACE_EVENT_STOP: all of it is stopped by a signal
			err = listen(t.pid)
		case ws>>16 != 0: // of seize, or such a stop is over
			err = unix.PtraceSyscall(t.pid, 0)
		default: // it is about to get a signal
			err = unix.PtraceSyscall(t.pid, int(sig))
		}
		if err != nil && err != unix.ESRCH { // it was killed meanwhile
			return fmt.Errorf("cannot trace the container's process: ptrace: %w", err)
		}
	}
}

// call looks at the call of which the beginning or the return was reported.
func (t *tracee) call() (loaded bool, err error) {
	info, err := callInfo(t.pid)
	if err == unix.ESRCH {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot trace the container's process: ptrace: %w", err)
	}
	switch info.Op {
	case unix.PTRACE_SYSCALL_INFO_ENTRY:
		t.loading = info.Nr == unix.SYS_SECCOMP && info.Args[0] == unix.SECCOMP_SET_MODE_FILTER && info.Args[1]&unix.SECCOMP_FILTER_FLAG_NEW_LISTENER != 0
	case unix.PTRACE_SYSCALL_INFO_EXIT:
		switch result := int64(info.Nr); {
		case !t.loading:
		case result < 0:
			t.failed = unix.Errno(-result)
		default:
			return true, t.take(result)
		}
	}
	return false, nil
}

// take takes the listener. The process cannot have changed its number: it has
// executed nothing of the container's.
func (t *tracee) take(n int64) error {
	fd, err := unix.PidfdGetfd(t.pidfd, int(n), 0)
	if err != nil {
		return fmt.Errorf("cannot take the filter's listener from the container's process: pidfd_getfd: %w", err)
	}
	defer unix.Close(fd)
	return t.give(fd)
}
