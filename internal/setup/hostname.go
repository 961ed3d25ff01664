package setup

import (
	"golang.org/x/sys/unix"
)

// setHostname: runtime-spec 1.3, config § Hostname; sethostname(2).
func setHostname(e *Env) error {
	if e.Spec.Hostname != "" {
		e.B.For("hostname", "cannot set the host name")
		e.B.Sethostname(e.Spec.Hostname)
	}
	return nil
}

// setDomainname: runtime-spec 1.1, config § Domainname; setdomainname(2).
func setDomainname(e *Env) error {
	if e.Spec.Domainname != "" {
		e.B.For("domainname", "cannot set the domain name")
		e.B.Setdomainname(e.Spec.Domainname)
	}
	return nil
}

// newSession makes the process the leader of a session without a terminal:
// the caller's terminal cannot be fed with input (TIOCSTI) from inside.
func newSession(e *Env) error {
	e.B.For("", "cannot make a new session")
	e.B.Setsid()
	return nil
}

// newChildSession is newSession for a process that has forked into its
// namespaces: it is in its parent's session and does not lead it, without which
// it can have no controlling terminal.
func newChildSession(e *Env) error {
	if !e.forks() {
		return nil
	}
	return newSession(e)
}

// joinKeyring gives the container a session keyring of its own, so that it
// does not see the caller's keys (keyrings(7)). A kernel without keyrings is
// the only accepted failure: a full quota would leave the caller's in place.
func joinKeyring(e *Env) error {
	if e.NoNewKeyring || e.Joined != nil && !e.Joined.Keyring {
		return nil
	}
	// What possessors may do is as the kernel sets it; the user may also
	// search it, which is how `exec` finds it.
	const permissions = 0x3f0b0000
	e.labelKeys(e.Spec.Process.SelinuxLabel)
	const want = "cannot join a new session keyring (--no-new-keyring leaves it out)"
	e.B.For("", want)
	e.B.Keyctl(unix.KEYCTL_JOIN_SESSION_KEYRING, "_ses."+e.ID)
	key := e.B.Allow(unix.ENOSYS).Last()
	e.labelKeys("\n")
	if e.Joined != nil {
		return nil // it is the container's, and set
	}
	e.B.For("", want)
	e.B.KeyctlKey(unix.KEYCTL_SETPERM, key, permissions)
	e.B.Allow(unix.ENOSYS)
	return nil
}
