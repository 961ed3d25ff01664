// Package host is the kernel that executes batches in the calling process:
// it prepares what the container's process inherits, and is the partner of
// the stub in conformance tests.
//
// What it deliberately does not do: it does not keep descriptors; a handle
// that nobody closes stays open until the process ends.
package host

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// Kernel executes calls as the calling thread.
type Kernel struct{}

// Run executes the batch (kernel.Kernel).
func (Kernel) Run(b *kernel.Batch) error {
	for i := range b.Calls {
		c := &b.Calls[i]
		if c.Skip > 0 {
			return fmt.Errorf("%s: %s: %s would fork this process", c.Field, c.Want(), c)
		}
		n, e := execute(b, c)
		if e != 0 {
			if !c.Tolerates(e) {
				return kernel.Failed(c, e)
			}
			c.Result.Resolve(-int64(e))
			continue
		}
		if n > 0 && c.ExitPositive || n == 0 && c.ZeroFatal {
			return fmt.Errorf("%s: %s: %s would end this process", c.Field, c.Want(), c)
		}
		c.Result.Resolve(n)
	}
	return b.Finish()
}

// execute makes one system call. The memory that it points to is Go memory,
// which is not moved and is kept alive until the call returns.
func execute(b *kernel.Batch, c *kernel.Call) (int64, unix.Errno) {
	var args [6]uintptr
	for i, a := range c.Args {
		switch a.Kind() {
		case kernel.Int:
			args[i] = uintptr(a.N)
		case kernel.Ref:
			n, _, _ := a.H.Number(b)
			args[i] = uintptr(n)
		case kernel.Memory:
			args[i] = address(a.Mem)
		}
	}
	n, _, e := syscall.Syscall6(c.Nr, args[0], args[1], args[2], args[3], args[4], args[5])
	runtime.KeepAlive(c)
	return int64(n), e
}

func address(m *kernel.Mem) uintptr {
	for _, p := range m.Refs {
		*(*uint64)(unsafe.Pointer(&m.Bytes[p.Off : p.Off+8][0])) = uint64(address(p.To))
	}
	if len(m.Bytes) == 0 {
		return 0
	}
	return uintptr(unsafe.Pointer(&m.Bytes[0]))
}
