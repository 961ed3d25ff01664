package listener

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// info is struct ptrace_syscall_info: the kernel writes no more than its size.
type info struct {
	Op    uint8
	_     [3]byte
	Arch  uint32
	IP    uint64
	Stack uint64
	Nr    uint64 // at a return: the result
	Args  [6]uint64
	_     [2]uint64
}

// callInfo asks for the call at which a traced process has stopped (5.3).
func callInfo(pid int) (i info, err error) {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(pid), unsafe.Sizeof(i), uintptr(unsafe.Pointer(&i)), 0, 0)
	if errno != 0 {
		return i, errno
	}
	return i, nil
}

// listen leaves a traced process stopped that a signal has stopped.
func listen(pid int) error {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_LISTEN, uintptr(pid), 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// peek waits until a process stops or ends, and says which without taking it.
func peek(pid int) (ended bool, err error) {
	var si unix.Siginfo
	err = unix.Waitid(unix.P_PID, pid, &si, unix.WEXITED|unix.WSTOPPED|unix.WNOWAIT|unix.WALL, nil)
	const trapped, stopped = 4, 5 // CLD_TRAPPED, CLD_STOPPED
	return si.Code != trapped && si.Code != stopped, err
}
