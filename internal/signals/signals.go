// Package signals catches signals for a process that waits for a container:
// each becomes a byte in a pipe, which the process polls beside what else it
// waits for.
//
// The standard library's way costs the Go runtime two switches of threads for
// each signal, some 25 µs, and keeps three threads: for all signals that `run`
// must pass on that is as long as a container takes to start. Here a handler of
// a few instructions writes the byte, and catching all signals takes some 10 µs.
//
// What it deliberately does not do:
//   - It gives no signal back: whoever catches signals does so until its end.
//   - It does not catch what the Go runtime needs for itself (SIGURG, SIGPROF),
//     nor the synchronous faults, which say that we are broken.
package signals

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Catch catches all signals that can be passed on to another process, and
// SIGCHLD and SIGWINCH, and returns a descriptor from which their numbers are
// read, a byte each. It is to be called once. If more come than the pipe
// holds, the last are lost, as the kernel does with signals of one number.
func Catch() (int, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return -1, fmt.Errorf("cannot make a pipe for signals: %w", err)
	}
	pipe = int32(p[1])
	for n := unix.Signal(1); n <= 64; n++ {
		if !caught(n) {
			continue
		}
		if err := install(n); err != nil {
			return -1, fmt.Errorf("cannot catch %s: %w", name(n), err)
		}
	}
	return p[0], nil
}

// caught leaves out what cannot be caught or passed on.
func caught(n unix.Signal) bool {
	switch n {
	case unix.SIGKILL, unix.SIGSTOP, // cannot be caught
		unix.SIGURG, unix.SIGPROF, // the Go runtime interrupts its threads with them
		unix.SIGPIPE,                                                                   // about our own output
		unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGSYS, // we are broken
		32, 33, 34: // the C library's own
		return false
	}
	return true
}

func name(n unix.Signal) string {
	if s := unix.SignalName(n); s != "" {
		return s
	}
	return fmt.Sprintf("signal %d", int(n))
}

// pipe is where the handler writes to.
var pipe int32
