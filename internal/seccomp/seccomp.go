// Package seccomp compiles the profile of linux.seccomp (runtime-spec 1.3,
// config-linux § Seccomp) to the program that seccomp(2) takes: a search tree
// over the numbers of the system calls. A verdict is the one that libseccomp
// gives, with the exceptions of docs/differences.md; a test with libseccomp
// proves it.
//
// What it deliberately does not do:
//   - It does not check the form of a profile; bundle.Check has done that, and
//     names all that is wrong. What it cannot compile is an error here.
//   - It does not load the program, and makes no system call.
//   - It does not compile for big-endian architectures, which tongs does not
//     run on and whose programs could not be mixed with others.
package seccomp

//go:generate go run ./gen -o table_gen.go

import (
	"fmt"
	"runtime"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxInstructions is the kernel's BPF_MAXINSNS.
const maxInstructions = 4096

// badArch is what a call of an architecture that the profile does not list
// gets: libseccomp's default, SCMP_ACT_KILL.
const badArch = unix.SECCOMP_RET_KILL_THREAD

// Filter is what seccomp(2) takes.
type Filter struct {
	Program []unix.SockFilter
	Flags   uint // SECCOMP_FILTER_FLAG_…
	// Listener is what else is needed to get the listener that an agent answers
	// by; 0 if no rule asks for one.
	Listener uint
}

// Wanted reports whether a profile asks for a filter: runc takes an object
// without action and rules for "none".
func Wanted(s *specs.LinuxSeccomp) bool {
	return s != nil && (s.DefaultAction != "" || len(s.Syscalls) > 0)
}

// Notifies reports whether a rule asks for an agent.
func Notifies(s *specs.LinuxSeccomp) bool {
	return s != nil && slices.ContainsFunc(s.Syscalls, func(r specs.LinuxSyscall) bool { return r.Action == specs.ActNotify })
}

// Compile makes the filter of a profile for the system that tongs is built
// for.
func Compile(s *specs.LinuxSeccomp) (*Filter, error) {
	program, err := compile(s, native(runtime.GOARCH))
	if err != nil {
		return nil, err
	}
	if len(program) > maxInstructions {
		return nil, fmt.Errorf("linux.seccomp.syscalls: the rules need %d instructions, more than the %d that the kernel takes", len(program), maxInstructions)
	}
	return &Filter{Program: program, Flags: flags(s), Listener: listenerFlags(s)}, nil
}

// flags is linux.seccomp.flags. Without the field there is SPEC_ALLOW, as with
// runc (1.1.2): the mitigation that it leaves out (spec_store_bypass) costs
// more than it gives. A list, even an empty one, is taken as it is. TSYNC has
// no meaning for a process with one thread.
func flags(s *specs.LinuxSeccomp) uint {
	if s.Flags == nil {
		return unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	}
	var f uint
	for _, name := range s.Flags {
		switch name {
		case specs.LinuxSeccompFlagLog:
			f |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			f |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		}
	}
	return f
}

// listenerFlags asks for the listener. WAIT_KILLABLE_RECV (5.19) is refused by
// the kernel without one, so it has no effect where no rule needs one.
func listenerFlags(s *specs.LinuxSeccomp) uint {
	if !Notifies(s) {
		return 0
	}
	f := uint(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER)
	if slices.Contains(s.Flags, specs.LinuxSeccompFlagWaitKillableRecv) {
		f |= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	}
	return f
}

func compile(s *specs.LinuxSeccomp, native specs.Arch) ([]unix.SockFilter, error) {
	p, err := newProfile(s)
	if err != nil {
		return nil, err
	}
	list, err := architectures(s, native)
	if err != nil {
		return nil, err
	}
	return p.assemble(list), nil
}

// assemble puts the architectures one after the other, as listed. It goes from
// the end of the program to its beginning.
func (p *profile) assemble(list []arch) []unix.SockFilter {
	c := newCode(p)
	next := c.ret(badArch)
	for i := len(list) - 1; i >= 0; i-- {
		a := &list[i]
		if a.name == x32 {
			continue // in the same part as x86-64
		}
		spans := p.spans(a)
		if a.name == x86_64 {
			spans = p.x32Spans(spans, list)
		}
		next = c.jump(unix.BPF_JEQ, a.token, c.load(offsetNumber, c.search(spans, a.wide)), next)
	}
	c.load(offsetArch, next)
	return c.program()
}
