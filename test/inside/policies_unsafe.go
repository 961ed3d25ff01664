package main

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"tongs/test/inside/report"
)

// policies asks the kernel what it treats the process by.
func policies(r *report.Report) {
	// Of the first thread: others may not have inherited it.
	if a, err := unix.SchedGetAttr(os.Getpid(), 0); err == nil {
		r.Scheduler = fmt.Sprint(a.Policy, a.Flags, a.Nice, a.Priority, a.Runtime, a.Deadline, a.Period)
	}
	const whoProcess, classShift = 1, 13
	if n, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, whoProcess, 0, 0); errno == 0 {
		r.IOPriority = fmt.Sprint(n>>classShift, n&(1<<classShift-1))
	}
	const query = 0xffffffff
	if n, _, errno := unix.Syscall(unix.SYS_PERSONALITY, query, 0, 0); errno == 0 {
		r.Personality = fmt.Sprintf("%#x", n)
	}
	// The kernel writes both within their sizes.
	var mode uint32
	var nodes [16]uint64
	_, _, errno := unix.Syscall6(unix.SYS_GET_MEMPOLICY, uintptr(unsafe.Pointer(&mode)), uintptr(unsafe.Pointer(&nodes)), 64*uintptr(len(nodes)), 0, 0, 0)
	if errno == 0 {
		r.MemoryPolicy = fmt.Sprintf("%#x %#x", mode, nodes[0])
	}
}
