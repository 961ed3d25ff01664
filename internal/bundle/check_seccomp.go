package bundle

import (
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// checkSeccomp: config-linux § Seccomp and seccomp(2). Unknown names of system
// calls are accepted: profiles are written for many kernels.
func checkSeccomp(c *checker, s *specs.LinuxSeccomp) {
	const path = "linux.seccomp"
	switch s.DefaultAction {
	case "":
		// runc takes an object without action and rules for "no seccomp".
		if len(s.Syscalls) > 0 {
			c.Addf(path+".defaultAction", "required")
		}
	case specs.ActNotify:
		// The agent would have to answer for the runtime's own calls, among
		// them those that tell the agent.
		c.Addf(path+".defaultAction", "SCMP_ACT_NOTIFY is not possible for every system call")
	default:
		checkAction(c, path+".defaultAction", s.DefaultAction)
	}
	checkErrno(c, path+".defaultErrnoRet", s.DefaultAction, s.DefaultErrnoRet)
	for i, arch := range s.Architectures {
		switch {
		case !isArch(arch):
			c.Addf(at(path, "architectures", i), "unknown architecture %s", quote(string(arch)))
		case !hasTable(arch):
			// Package seccomp says so as well, when there is more to undo.
			c.Addf(at(path, "architectures", i), "there is no table of the system calls of %s", arch)
		}
	}
	for i, flag := range s.Flags {
		switch flag {
		case "SECCOMP_FILTER_FLAG_TSYNC", specs.LinuxSeccompFlagLog,
			specs.LinuxSeccompFlagSpecAllow, specs.LinuxSeccompFlagWaitKillableRecv:
		default:
			c.Addf(at(path, "flags", i), "unknown flag %s", quote(string(flag)))
		}
	}
	checkListener(c, s)
	for i := range s.Syscalls {
		checkRule(c, i, &s.Syscalls[i])
	}
}

func checkListener(c *checker, s *specs.LinuxSeccomp) {
	const path = "linux.seccomp.listenerPath"
	if s.ListenerPath == "" {
		if s.ListenerMetadata != "" { // a MUST NOT
			c.Addf("linux.seccomp.listenerMetadata", "not without listenerPath")
		}
		for i := range s.Syscalls {
			if s.Syscalls[i].Action == specs.ActNotify {
				// Without an agent every such call would fail with ENOSYS.
				c.Addf(path, "required for SCMP_ACT_NOTIFY in syscalls[%d]", i)
				break
			}
		}
		return
	}
	checkNUL(c, path, s.ListenerPath)
	if len(s.ListenerPath) > 107 { // unix(7): sun_path, with its NUL
		c.Addf(path, "%d bytes, more than the 107 of a socket's address", len(s.ListenerPath))
	}
}

func checkRule(c *checker, i int, rule *specs.LinuxSyscall) {
	const path = "linux.seccomp.syscalls"
	if len(rule.Names) == 0 { // a MUST
		c.Addf(at(path, i, "names"), "required")
	}
	for j, name := range rule.Names {
		switch {
		case name == "":
			c.Addf(at(path, i, "names", j), "the name is empty")
		case name == "write" && rule.Action == specs.ActNotify:
			// The runtime's call that hands over the listener would wait for
			// the agent that does not have it yet.
			c.Addf(at(path, i, "names", j), "SCMP_ACT_NOTIFY is not possible for write")
		}
	}
	if rule.Action == "" {
		c.Addf(at(path, i, "action"), "required")
	} else if !isAction(rule.Action) {
		checkAction(c, at(path, i, "action"), rule.Action)
	}
	if rule.ErrnoRet != nil {
		checkErrno(c, at(path, i, "errnoRet"), rule.Action, rule.ErrnoRet)
	}
	for j := range rule.Args {
		arg := &rule.Args[j]
		if arg.Index > 5 {
			c.Addf(at(path, i, "args", j, "index"), "%d is outside 0 to 5: a system call has six arguments", arg.Index)
		}
		switch arg.Op {
		case specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo,
			specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual:
		case "":
			c.Addf(at(path, i, "args", j, "op"), "required")
		default:
			c.Addf(at(path, i, "args", j, "op"), "unknown operator %s", quote(string(arg.Op)))
		}
	}
}

func checkAction(c *checker, path string, action specs.LinuxSeccompAction) {
	if !isAction(action) {
		c.Addf(path, "unknown action %s", quote(string(action)))
	}
}

// checkErrno: an action that has no use for the number MUST be refused with
// one. SCMP_ACT_NOTIFY takes it too, since runc does. The kernel cuts what
// SECCOMP_RET_ERRNO returns to MAX_ERRNO, and the data of any action to 16 bits.
func checkErrno(c *checker, path string, action specs.LinuxSeccompAction, errno *uint) {
	if errno == nil {
		return
	}
	limit := uint(65535)
	switch action {
	case specs.ActErrno:
		limit = 4095
	case specs.ActTrace, specs.ActNotify:
	default:
		if isAction(action) { // else the action itself is reported
			c.Addf(path, "not possible with %s; it is for SCMP_ACT_ERRNO and SCMP_ACT_TRACE", action)
		}
		return
	}
	if *errno > limit {
		c.Addf(path, "%d is more than %d", *errno, limit)
	}
}

func isAction(action specs.LinuxSeccompAction) bool {
	switch action {
	case specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap,
		specs.ActErrno, specs.ActTrace, specs.ActAllow, specs.ActLog, specs.ActNotify:
		return true
	}
	return false
}

// hasTable reports whether package seccomp can compile for the architecture: for
// those that tongs runs on, and what they can execute.
func hasTable(arch specs.Arch) bool {
	switch arch {
	case specs.ArchX86_64, specs.ArchX86, specs.ArchX32, specs.ArchAARCH64, specs.ArchARM, specs.ArchRISCV64, specs.ArchLOONGARCH64:
		return true
	}
	return false
}

// isArch knows the names that the specification takes from libseccomp 2.6.
func isArch(arch specs.Arch) bool {
	switch strings.TrimPrefix(string(arch), "SCMP_ARCH_") {
	case "X86", "X86_64", "X32", "ARM", "AARCH64", "MIPS", "MIPS64", "MIPS64N32",
		"MIPSEL", "MIPSEL64", "MIPSEL64N32", "PPC", "PPC64", "PPC64LE", "S390",
		"S390X", "PARISC", "PARISC64", "RISCV64", "LOONGARCH64", "M68K", "SH", "SHEB":
		return strings.HasPrefix(string(arch), "SCMP_ARCH_")
	}
	return false
}
