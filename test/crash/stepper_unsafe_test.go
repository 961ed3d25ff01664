package crash

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// call is a system call of a traced program: the nth with its number.
type call struct {
	number, nth int
}

// trace runs a program to its end, or until kill says that it is to be killed
// before a call. All its threads are followed and stop at each call; what it
// forks runs free. It gives the calls in their order, and whether it has killed.
//
// The calling goroutine must stay on its thread: only the thread that has
// started the program may trace it (ptrace(2)).
func trace(t *testing.T, argv []string, kill func(call) bool) (calls []call, killed bool) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread() // the test's own lock stays
	pid := startTraced(t, argv)
	nth := make(map[int]int)
	inside := make(map[int]bool) // thread is in a call
	for {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-1, &ws, unix.WALL, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatalf("wait4: %v", err)
		}
		if ws.Exited() || ws.Signaled() {
			if tid != pid {
				continue // a thread, or what a container has left to us
			}
			if !killed && ws.ExitStatus() != 0 {
				t.Errorf("%q: status %d, signal %v", argv, ws.ExitStatus(), ws.Signal())
			}
			return calls, killed
		}
		if killed {
			continue
		}
		deliver := 0
		switch sig := ws.StopSignal(); {
		case sig == unix.SIGTRAP|0x80: // PTRACE_O_TRACESYSGOOD
			inside[tid] = !inside[tid]
			number, entry := currentCall(tid)
			if !entry {
				break
			}
			c := call{number, nth[number]}
			nth[number]++
			calls = append(calls, c)
			if kill(c) {
				killed = true
				if err := unix.Kill(pid, unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
				continue
			}
		case sig == unix.SIGTRAP, sig == unix.SIGSTOP: // an event, and the first stop of a thread
		default:
			deliver = int(sig)
		}
		if err := unix.PtraceSyscall(tid, deliver); err != nil && err != unix.ESRCH {
			t.Fatalf("ptrace: %v", err)
		}
	}
}

func startTraced(t *testing.T, argv []string) int {
	t.Helper()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	fd := null.Fd()
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{fd, fd, fd}, Sys: &syscall.SysProcAttr{Ptrace: true}})
	if err != nil {
		t.Fatal(err)
	}
	var ws unix.WaitStatus
	if _, err := unix.Wait4(pid, &ws, unix.WALL, nil); err != nil || !ws.Stopped() {
		t.Fatalf("the program does not stop: %v, status %#x", err, ws)
	}
	// Threads are followed; the container's process is a vfork, whose event is
	// not asked for.
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	err = unix.PtraceSetOptions(pid, options)
	if err == nil {
		err = unix.PtraceSyscall(pid, 0)
	}
	if err != nil {
		t.Fatalf("ptrace: %v", err)
	}
	return pid
}

// currentCall asks about the stop of a thread: which call it is in, and whether
// it enters it. PTRACE_GET_SYSCALL_INFO (5.3) is the same on all machines.
func currentCall(tid int) (number int, entry bool) {
	var info struct {
		op    uint8
		_     [3]uint8
		arch  uint32
		ip    uint64
		sp    uint64
		nr    uint64
		args  [6]uint64
		extra uint64
	}
	const getSyscallInfo, opEntry = 0x420e, 1
	// The kernel writes at most the given size to info, which lives until the
	// call returns.
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, getSyscallInfo, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 {
		return 0, false // killed meanwhile
	}
	return int(info.nr), info.op == opEntry
}

func (c call) String() string {
	return fmt.Sprintf("system call %d, number %d of its kind", c.number, c.nth+1)
}
