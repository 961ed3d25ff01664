package seccomp

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// profile is a profile with its names and actions as numbers.
type profile struct {
	rules    []rule
	fallback uint32    // the default action
	enosys   bool      // what is newer than the profile does not exist
	verdicts []verdict // those that depend on arguments, of all architectures
}

// rule is an element of linux.seccomp.syscalls.
type rule struct {
	rows         []int
	action       uint32
	redundant    bool          // the default action: counts as a mention only
	alternatives [][]condition // one of them must hold; none: unconditional
}

// condition compares an argument: argument & mask, op, value.
type condition struct {
	index       uint
	op          specs.LinuxSeccompOperator
	mask, value uint64
}

// verdict is what decides a call whose arguments matter: the first clause whose
// conditions all hold, or the default action.
type verdict struct{ clauses []clause }

type clause struct {
	action     uint32
	conditions []condition
	whole      bool // of an unconditional rule for a call behind a shared one
}

func newProfile(s *specs.LinuxSeccomp) (*profile, error) {
	fallback, err := action(s.DefaultAction, s.DefaultErrnoRet)
	if err != nil {
		return nil, fmt.Errorf("linux.seccomp.defaultAction: %w", err)
	}
	if s.DefaultAction == specs.ActNotify {
		return nil, fmt.Errorf("linux.seccomp.defaultAction: SCMP_ACT_NOTIFY is not possible for every system call")
	}
	p := &profile{fallback: fallback, enosys: hides(s.DefaultAction), rules: make([]rule, 0, len(s.Syscalls))}
	names := 0
	for i := range s.Syscalls {
		names += len(s.Syscalls[i].Names)
	}
	rows := make([]int, 0, names)
	for i := range s.Syscalls {
		from := &s.Syscalls[i]
		r := rule{}
		if r.action, err = action(from.Action, from.ErrnoRet); err != nil {
			return nil, fmt.Errorf("linux.seccomp.syscalls[%d].action: %w", i, err)
		}
		r.redundant = r.action == fallback
		if r.alternatives, err = alternatives(from.Args); err != nil {
			return nil, fmt.Errorf("linux.seccomp.syscalls[%d].%w", i, err)
		}
		start := len(rows)
		for _, name := range from.Names {
			if n := row(name); n >= 0 { // profiles are written for many kernels
				rows = append(rows, n)
			}
		}
		r.rows = rows[start:len(rows):len(rows)]
		p.rules = append(p.rules, r)
	}
	return p, nil
}

// hides reports whether a default action makes a call that exists look broken
// instead of missing. Then what is newer than the newest call that the profile
// names fails with ENOSYS, so that a C library falls back to older calls (runc,
// opencontainers/runc#2750). A tracer can do that itself.
func hides(a specs.LinuxSeccompAction) bool {
	return a != specs.ActAllow && a != specs.ActLog && a != specs.ActTrace
}

// action is the value that a program returns (seccomp(2)). Without errnoRet it
// is EPERM.
func action(a specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	data := uint32(unix.EPERM)
	if errno != nil {
		data = uint32(*errno) & unix.SECCOMP_RET_DATA
	}
	switch a {
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActErrno:
		return unix.SECCOMP_RET_ERRNO | data, nil
	case specs.ActTrace:
		return unix.SECCOMP_RET_TRACE | data, nil
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	case specs.ActNotify:
		return unix.SECCOMP_RET_USER_NOTIF, nil
	}
	return 0, fmt.Errorf("unknown action %q", a)
}

// alternatives are the conditions of a rule: all must hold. Where two are for
// the same argument each condition is an alternative of its own, as with runc
// and crun, which profiles count on.
func alternatives(args []specs.LinuxSeccompArg) ([][]condition, error) {
	if len(args) == 0 {
		return nil, nil
	}
	var used [6]bool
	list, repeated := make([]condition, len(args)), false
	for i, a := range args {
		if a.Index > 5 {
			return nil, fmt.Errorf("args[%d].index: %d is outside 0 to 5: a system call has six arguments", i, a.Index)
		}
		repeated = repeated || used[a.Index]
		used[a.Index] = true
		list[i] = condition{index: a.Index, op: a.Op, mask: ^uint64(0), value: a.Value}
		switch a.Op {
		case specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo, specs.OpGreaterEqual, specs.OpGreaterThan:
		case specs.OpMaskedEqual:
			list[i].mask, list[i].value = a.Value, a.ValueTwo&a.Value
		default:
			return nil, fmt.Errorf("args[%d].op: unknown operator %q", i, a.Op)
		}
	}
	if !repeated {
		return [][]condition{list}, nil
	}
	var each [][]condition
	for i := range list {
		each = append(each, list[i:i+1:i+1])
	}
	return each, nil
}
