package setup

import (
	"golang.org/x/sys/unix"

	"tongs/internal/seccomp"
)

// prepareSeccomp compiles linux.seccomp (runtime-spec 1.3, config-linux §
// Seccomp) while the container's process is at work. That asks whether filters
// can be: when one is loaded in `start`, nobody is there to be told.
func prepareSeccomp(e *Env) error {
	if e.filtered() {
		e.B.For("linux.seccomp", "cannot have a filter")
		e.B.SeccompAvailable(unix.SECCOMP_RET_KILL_THREAD)
		e.Aside = append(e.Aside, e.compileSeccomp)
	}
	return nil
}

func (e *Env) compileSeccomp() (err error) {
	if e.filter == nil {
		e.filter, err = seccomp.Compile(e.Spec.Linux.Seccomp)
	}
	return err
}

// loadSeccomp loads the filter. Whatever the process does afterwards goes
// through it, so that only execve(2) is left: it alone has to be allowed, with
// process.noNewPrivileges and without. Where there is an agent, the process is
// held at the return of this call until the agent has the listener.
func loadSeccomp(e *Env) error { return e.queueFilter(true) }

// loadSeccompOfHook loads the filter into a hook that the container's process
// executes. The agent is not told: what it would decide fails with ENOSYS.
func loadSeccompOfHook(e *Env) error { return e.queueFilter(false) }

func (e *Env) queueFilter(listen bool) error {
	if !e.filtered() {
		return nil
	}
	if err := e.compileSeccomp(); err != nil { // if there were few round trips
		return err
	}
	flags := e.filter.Flags
	if listen {
		flags |= e.filter.Listener
	}
	e.B.For("linux.seccomp", "cannot load the filter")
	e.B.Seccomp(flags, e.filter.Program)
	return nil
}

func (e *Env) filtered() bool {
	return e.Spec.Linux != nil && seccomp.Wanted(e.Spec.Linux.Seccomp)
}

// keptForSeccomp is what loading the filter needs beside what the
// configuration grants: CAP_SYS_ADMIN, if new privileges are not forbidden
// (seccomp(2)). The process keeps it until it executes the program, whose
// permitted and effective capabilities execve(2) makes anew of the other three
// sets (capabilities(7)): the program does not get it.
func (e *Env) keptForSeccomp() uint64 {
	if e.filtered() && !e.Spec.Process.NoNewPrivileges {
		return 1 << unix.CAP_SYS_ADMIN
	}
	return 0
}
