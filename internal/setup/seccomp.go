package setup

import (
	"golang.org/x/sys/unix"

	"tongs/internal/seccomp"
)

// compilation is the work on linux.seccomp that goes on beside all other.
type compilation struct {
	done   chan struct{}
	filter *seccomp.Filter
	err    error
}

// prepareSeccomp begins to compile linux.seccomp (runtime-spec 1.3, config-linux §
// Seccomp), and asks whether the container's process can have filters: when one is
// loaded in `start`, nobody is there to be told.
func prepareSeccomp(e *Env) error {
	if !e.filtered() {
		return nil
	}
	e.B.For("linux.seccomp", "cannot have a filter")
	e.B.SeccompAvailable(unix.SECCOMP_RET_KILL_THREAD)
	c := &compilation{done: make(chan struct{})}
	e.compilation = c
	profile := e.Spec.Linux.Seccomp
	go func() {
		defer close(c.done)
		c.filter, c.err = seccomp.Compile(profile)
	}()
	return nil
}

// compiled waits for the filter.
func (c *compilation) compiled() (*seccomp.Filter, error) {
	<-c.done
	return c.filter, c.err
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
	filter, err := e.compilation.compiled()
	if err != nil {
		return err
	}
	flags := filter.Flags
	if listen {
		flags |= filter.Listener
	}
	e.B.For("linux.seccomp", "cannot load the filter")
	e.B.Seccomp(flags, filter.Program)
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
