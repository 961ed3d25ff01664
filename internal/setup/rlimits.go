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
	if len(e.Spec.Process.Rlimits) == 0 {
		return nil
	}
	self, b := kernel.NewHandle(0, "self"), e.B
	inUser := e.hasNamespace(specs.UserNamespace)
	if inUser { // only the host may raise them
		if err := e.run(); err != nil {
			return err
		}
		self, b = e.PID, &kernel.Batch{}
	}
	for i, r := range e.Spec.Process.Rlimits {
		n := rlimit(r.Type)
		if n < 0 {
			return fmt.Errorf("process.rlimits[%d].type: unknown rlimit %q", i, r.Type)
		}
		b.For(item("process.rlimits", i), "cannot set "+r.Type)
		b.Prlimit(self, n, r.Soft, r.Hard)
	}
	if inUser {
		return e.Host.Run(b)
	}
	return nil
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
