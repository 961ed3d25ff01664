package stepper

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// look asks about the stop of a task, false if it has been killed meanwhile.
// PTRACE_GET_SYSCALL_INFO (5.3) is the same on all machines; of the way out it
// tells the result alone.
func (s *Stop) look() bool {
	var info struct {
		op      uint8
		_       [3]uint8
		arch    uint32
		ip      uint64
		sp      uint64
		nr      uint64 // on the way out: the result, and whether it is an error
		args    [6]uint64
		retData uint32
	}
	const getSyscallInfo, opEntry, opExit = 0x420e, 1, 2
	// The kernel writes at most the given size to info, which lives until the
	// call returns.
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, getSyscallInfo, uintptr(s.TID), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 {
		return false
	}
	switch s.Entry = info.op == opEntry; {
	case s.Entry:
		s.Number, s.Args, s.Result = int(info.nr), info.args, 0
	case info.op == opExit:
		s.Result = int64(info.nr)
	default:
		return false
	}
	return true
}
