package container

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// setAffinity puts the calling thread on the processors of a mask of any size.
func setAffinity(mask []byte) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, 0, uintptr(len(mask)), uintptr(unsafe.Pointer(&mask[0])))
	if errno != 0 {
		return errno
	}
	return nil
}
