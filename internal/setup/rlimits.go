package setup

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// setRlimits sets process.rlimits by prlimit(2): raising one needs
// CAP_SYS_RESOURCE in the host's user namespace, so it comes before the
// capabilities are dropped, and when the process opens nothing more, since a
// small RLIMIT_NOFILE would stop it.
func setRlimits(e *Env) error {
	self, b := kernel.NewHandle(0, "self"), e.B
	if e.files != nil {
		soft, hard := e.files.Values()
		b.For("process.rlimits", "cannot set the limit of descriptors back")
		b.Prlimit(self, unix.RLIMIT_NOFILE, soft, hard)
	}
	if len(e.Spec.Process.Rlimits) == 0 {
		return nil
	}
	inUser := e.hasNamespace(specs.UserNamespace)
	for i, r := range e.Spec.Process.Rlimits {
		n := rlimit(r.Type)
		if n < 0 {
			return fmt.Errorf("process.rlimits[%d].type: unknown rlimit %q", i, r.Type)
		}
		b.For(item("process.rlimits", i), "cannot set "+r.Type)
		b.Prlimit(self, n, r.Soft, r.Hard)
		if inUser {
			e.raiseLater(i, n)
		}
	}
	return nil
}

// raiseLater sets a limit from the host, if the call that was added last was not
// allowed to: to raise one takes rights in the host's user namespace.
func (e *Env) raiseLater(i, n int) {
	r, tried := e.Spec.Process.Rlimits[i], e.B.Allow(unix.EPERM).Last()
	e.B.Check(func() error {
		if tried.Errno() == 0 {
			return nil
		}
		b := &kernel.Batch{}
		b.For(item("process.rlimits", i), "cannot set "+r.Type)
		b.Prlimit(e.PID, n, r.Soft, r.Hard)
		return e.Host.Run(b)
	})
}

// usualFiles is how many descriptors a caller leaves a container's process at least,
// and copyFiles how many a copy takes (rootfs.Copy).
const (
	usualFiles = 256
	copyFiles  = 640
)

// raiseFiles lifts the soft limit of descriptors to the hard one, if there are
// many mounts: each takes some until all are in place. setRlimits takes it back.
func raiseFiles(e *Env) error {
	needed := 64 + 2*len(e.inherit) + 2*len(e.mounts)
	for _, m := range e.mounts {
		if m.opt.copyUp {
			needed += copyFiles
			break
		}
	}
	if needed <= usualFiles {
		return nil
	}
	b := &kernel.Batch{}
	b.For("process.rlimits", "cannot ask for the limit of descriptors")
	e.files = b.PrlimitOf(e.PID, unix.RLIMIT_NOFILE)
	if err := e.Host.Run(b); err != nil {
		return err
	}
	_, hard := e.files.Values()
	b = &kernel.Batch{}
	b.For("process.rlimits", "cannot raise the limit of descriptors")
	b.Prlimit(e.PID, unix.RLIMIT_NOFILE, hard, hard)
	return e.Host.Run(b)
}

// rlimit is the number of a limit of getrlimit(2).
func rlimit(name string) int {
	switch name {
	case "RLIMIT_AS":
		return unix.RLIMIT_AS
	case "RLIMIT_CORE":
		return unix.RLIMIT_CORE
	case "RLIMIT_CPU":
		return unix.RLIMIT_CPU
	case "RLIMIT_DATA":
		return unix.RLIMIT_DATA
	case "RLIMIT_FSIZE":
		return unix.RLIMIT_FSIZE
	case "RLIMIT_LOCKS":
		return unix.RLIMIT_LOCKS
	case "RLIMIT_MEMLOCK":
		return unix.RLIMIT_MEMLOCK
	case "RLIMIT_MSGQUEUE":
		return unix.RLIMIT_MSGQUEUE
	case "RLIMIT_NICE":
		return unix.RLIMIT_NICE
	case "RLIMIT_NOFILE":
		return unix.RLIMIT_NOFILE
	case "RLIMIT_NPROC":
		return unix.RLIMIT_NPROC
	case "RLIMIT_RSS":
		return unix.RLIMIT_RSS
	case "RLIMIT_RTPRIO":
		return unix.RLIMIT_RTPRIO
	case "RLIMIT_RTTIME":
		return unix.RLIMIT_RTTIME
	case "RLIMIT_SIGPENDING":
		return unix.RLIMIT_SIGPENDING
	case "RLIMIT_STACK":
		return unix.RLIMIT_STACK
	}
	return -1
}
