// Package stepper runs a program that stops in front of each of its system calls
// and behind it (ptrace(2)), so that a test can act at just that moment. It can
// follow what the program starts, too: the container's process.
//
// What it deliberately does not do: it changes no call and no result, and it
// knows nothing of what the calls are for.
package stepper

import (
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Command is a program to run.
type Command struct {
	Argv     []string
	Files    [3]*os.File // standard streams; nil is /dev/null
	Children bool        // processes that it starts stop at their calls, too, and end with it
}

// Stop is a thread that stands in front of a system call or behind it.
type Stop struct {
	TID    int
	Own    bool // a thread of the program, not of a process that it has started
	Number int  // of the call
	Args   [6]uint64
	Entry  bool  // in front of it
	Result int64 // behind it; less than 0 is an error number
}

// Verdict says how it goes on.
type Verdict int

const (
	Next Verdict = iota // to the next stop
	Free                // without stops
	Kill                // the program is killed
)

// limit bounds a program; one that hangs is a failure.
const limit = 2 * time.Minute

// tracer follows the tasks of one program.
type tracer struct {
	t       *testing.T
	pid     int
	tasks   map[int]*Stop // by thread: the call that it is in or was in last
	free    bool
	options int
}

// Run runs a program to its end and asks at each stop how to go on.
//
// The calling goroutine must stay on its thread: only the thread that has
// started the program may trace it.
func Run(t *testing.T, c Command, at func(*Stop) Verdict) unix.WaitStatus {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread() // the test's own lock stays
	tr := &tracer{t: t, tasks: map[int]*Stop{}, options: unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL}
	if c.Children {
		tr.options |= unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK
	}
	pidfd := tr.start(&c)
	defer unix.Close(pidfd)
	late := time.AfterFunc(limit, func() { unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0) })
	status := tr.follow(at)
	if !late.Stop() {
		t.Errorf("%q has not ended after %v", c.Argv, limit)
	}
	tr.endRest()
	return status
}

// start leaves the program on its way to its first stop.
func (tr *tracer) start(c *Command) (pidfd int) {
	tr.t.Helper()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		tr.t.Fatal(err)
	}
	defer null.Close()
	files := make([]uintptr, len(c.Files))
	for i, f := range c.Files {
		if f == nil {
			f = null
		}
		files[i] = f.Fd()
	}
	pidfd = -1
	tr.pid, err = syscall.ForkExec(c.Argv[0], c.Argv, &syscall.ProcAttr{
		Env: os.Environ(), Files: files, Sys: &syscall.SysProcAttr{Ptrace: true, PidFD: &pidfd}})
	if err != nil {
		tr.t.Fatal(err)
	}
	var ws unix.WaitStatus
	if _, err := unix.Wait4(tr.pid, &ws, unix.WALL, nil); err != nil || !ws.Stopped() {
		tr.t.Fatalf("the program does not stop: %v, status %#x", err, ws)
	}
	tr.tasks[tr.pid] = &Stop{TID: tr.pid, Own: true}
	if err = unix.PtraceSetOptions(tr.pid, tr.options); err == nil {
		err = unix.PtraceSyscall(tr.pid, 0)
	}
	if err != nil {
		tr.t.Fatalf("ptrace: %v", err)
	}
	return pidfd
}

// follow lets all tasks go from stop to stop until the program has ended.
func (tr *tracer) follow(at func(*Stop) Verdict) unix.WaitStatus {
	tr.t.Helper()
	for killed := false; ; {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-1, &ws, unix.WALL, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			tr.t.Fatalf("wait4: %v", err)
		}
		if ws.Exited() || ws.Signaled() {
			delete(tr.tasks, tid)
			if tid == tr.pid {
				return ws
			}
			continue // a thread, a process, or what a container has left to us
		}
		tr.know(tid)
		switch ws.TrapCause() {
		case unix.PTRACE_EVENT_CLONE, unix.PTRACE_EVENT_FORK, unix.PTRACE_EVENT_VFORK:
			// The new task may not have stopped yet when the program ends.
			if n, err := unix.PtraceGetEventMsg(tid); err == nil {
				tr.know(int(n))
			}
		}
		if killed {
			continue
		}
		deliver := 0
		switch sig := ws.StopSignal(); {
		case sig == unix.SIGTRAP|0x80: // PTRACE_O_TRACESYSGOOD
			killed = tr.judge(tid, at)
		case sig == unix.SIGTRAP, sig == unix.SIGSTOP: // an event, an execve, and the first stop of a task
		default:
			deliver = int(sig)
		}
		if killed {
			continue
		}
		if err := tr.resume(tid, deliver); err != nil && err != unix.ESRCH {
			tr.t.Fatalf("ptrace: %v", err)
		}
	}
}

// judge asks about a stop at a call, and says whether the program is killed now.
func (tr *tracer) judge(tid int, at func(*Stop) Verdict) bool {
	tr.t.Helper()
	s := tr.know(tid)
	if tr.free || !s.look() {
		return false
	}
	switch at(s) {
	case Free:
		tr.free = true
	case Kill:
		if err := unix.Kill(tr.pid, unix.SIGKILL); err != nil {
			tr.t.Fatal(err)
		}
		return true
	}
	return false
}

// know gives what is known of a task, which may be new.
func (tr *tracer) know(tid int) *Stop {
	s := tr.tasks[tid]
	if s == nil {
		s = &Stop{TID: tid, Own: unix.Tgkill(tr.pid, tid, 0) == nil} // ESRCH for another process's
		tr.tasks[tid] = s
	}
	return s
}

func (tr *tracer) resume(tid, deliver int) error {
	if tr.free {
		return unix.PtraceCont(tid, deliver)
	}
	return unix.PtraceSyscall(tid, deliver)
}

// endRest ends the processes that have outlived the program: what stops at its
// calls could not go on by itself.
func (tr *tracer) endRest() {
	for tid := range tr.tasks {
		for options := unix.WALL | unix.WNOHANG; ; {
			var ws unix.WaitStatus
			n, err := unix.Wait4(tid, &ws, options, nil)
			if err == unix.EINTR {
				continue
			}
			if err != nil || n == tid && !ws.Stopped() {
				break // it has ended
			}
			if options != unix.WALL {
				unix.Kill(tid, unix.SIGKILL) // not yet waited for, so the number is its own
				options = unix.WALL
			}
		}
	}
}
