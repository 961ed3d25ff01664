package kernel

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Child is a process that the executing process makes and waits for.
type Child struct {
	at     int // call that makes it
	pid    Handle
	poll   *Mem // struct pollfd with its pidfd
	status *Mem // what wait4(2) says of its end
}

// Vfork adds clone(2) with CLONE_VFORK: a child executes the calls that f adds,
// of which the last must end it or replace it by a program. When it has, the
// caller goes on behind them. Only a stub can do that: the others share their
// memory with nobody.
func (b *Batch) Vfork(f func()) *Child {
	c := &Child{poll: &Mem{Bytes: make([]byte, 8), Both: true}, status: &Mem{Bytes: make([]byte, 8), Both: true}}
	binary.NativeEndian.PutUint16(c.poll.Bytes[4:], unix.POLLIN)
	c.at = len(b.Calls)
	c.pid = b.add("clone", unix.SYS_CLONE, num(unix.CLONE_VM|unix.CLONE_VFORK|unix.CLONE_PIDFD|uint64(unix.SIGCHLD)), Arg{},
		Arg{Mem: c.poll}, Arg{}, Arg{}).Result
	f()
	b.Calls[c.at].Skip = len(b.Calls) - c.at - 1
	return c
}

// together notes that the call added last belongs to those of the child.
func (c *Child) together(b *Batch) *Batch {
	b.Calls[c.at].Together = len(b.Calls) - c.at - 1
	return b
}

// PollEnd adds ppoll(2) that waits for the child's end, no longer than some
// seconds if they are not 0: then the caller ends.
func (b *Batch) PollEnd(c *Child, seconds int) *Batch {
	timeout := Arg{}
	if seconds > 0 {
		mem := make([]byte, 16)
		binary.NativeEndian.PutUint64(mem, uint64(seconds))
		timeout = b.in(mem, nil)
	}
	b.add("ppoll", unix.SYS_PPOLL, Arg{Mem: c.poll}, num(1), timeout, Arg{}, Arg{}).ZeroFatal = true
	return c.together(b)
}

// WaitChild adds wait4(2), which keeps the child's status for the calls below.
func (b *Batch) WaitChild(c *Child) *Batch {
	b.add("wait4", unix.SYS_WAIT4, ref(c.pid), Arg{Mem: c.status}, Arg{}, Arg{})
	return c.together(b)
}

// StatusSize is how many bytes WriteStatus writes.
const StatusSize = 4

// WriteStatus adds write(2) of the child's status as wait4(2) gave it.
func (b *Batch) WriteStatus(c *Child, h Handle) *Batch {
	b.add("write", unix.SYS_WRITE, ref(h), Arg{Mem: c.status}, num(StatusSize))
	return c.together(b)
}

// RequireSuccess adds futex(2), FUTEX_CMP_REQUEUE without anybody to wake or to
// requeue: of all calls it compares a word of memory. If the child's status is
// not 0 it fails with EAGAIN.
func (b *Batch) RequireSuccess(c *Child) *Batch {
	const cmpRequeue = 4
	b.add("futex", unix.SYS_FUTEX, Arg{Mem: c.status}, num(cmpRequeue), num(0), num(0), Arg{Mem: c.status}, num(0))
	return c.together(b)
}

// Getpid adds getpid(2): what the executing process calls itself.
func (b *Batch) Getpid() Handle { return b.add("getpid", unix.SYS_GETPID).Result }
