package main

import "golang.org/x/sys/unix"

// bomb forks without end, and so does what it has forked. A child has no thread
// of the Go runtime but its own, so it makes system calls and nothing else.
func bomb() {
	for {
		_, _, err := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if err != 0 {
			unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		}
	}
}
