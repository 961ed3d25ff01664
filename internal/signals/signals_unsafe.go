package signals

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// action is the kernel's struct sigaction (rt_sigaction(2)), the same on amd64
// and arm64.
type action struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

// addresses returns where the handler and the code behind it begin.
func addresses() (handler, restorer uintptr)

// Flags of sigaction(2), as linux/signal.h has them on amd64 and arm64.
const (
	saRestorer = 0x04000000 // amd64 needs it, arm64 allows it
	saOnStack  = 0x08000000
	saRestart  = 0x10000000
)

// install makes handler the process's action. It runs on the alternate stack
// that the Go runtime gives each of its threads, with all signals blocked, and
// system calls that it interrupts are restarted.
func install(n unix.Signal) error {
	a := action{flags: saOnStack | saRestart | saRestorer, mask: ^uint64(0)}
	a.handler, a.restorer = addresses()
	// The kernel copies the struct, which lies on our stack, before it returns.
	_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(n), uintptr(unsafe.Pointer(&a)), 0, 8, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}
