package setup

import (
	"errors"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// firstUserNamespace is the inode of the user namespace that the kernel begins
// with (PROC_USER_INIT_INO, 3.8).
const firstUserNamespace = 0xEFFFFFFD

// lookAtHost finds out which user namespace tongs is in, and whether /dev/core
// has something to lead to.
func lookAtHost(e *Env) error {
	b := e.onHost()
	b.For("", "cannot look at the host's /proc")
	own := b.StatPath("/proc/self/ns/user")
	b.Allow()
	kcore := b.StatPath("/proc/kcore")
	b.Allow()
	err := e.Host.Run(b)
	e.nested = err == nil && own.Errno() == 0 && own.Ino() != firstUserNamespace
	e.hasKcore = err == nil && kcore.Errno() == 0
	return err
}

// limited reports whether tongs is anybody else than the host's root: an
// ordinary user, or root of a user namespace.
func (e *Env) limited() bool { return e.nested || e.UID != 0 }

// inUserNamespace reports whether the container's root is not the host's.
func (e *Env) inUserNamespace() bool { return e.nested || e.hasNamespace(specs.UserNamespace) }

// openTrees runs TreeOrder on the host. Who may not copy mounts of the own mount
// namespace (open_tree(2), EPERM at the first) leaves it to the container's
// process: openTreesInside.
func openTrees(e *Env) error {
	e.trees = e.Host
	kept := len(e.inherit)
	err := e.Queue(TreeOrder())
	var c *kernel.CallError
	if !errors.As(err, &c) || c.Errno != unix.EPERM || c.Name != "open_tree" {
		return err
	}
	switch {
	case !e.hasNamespace(specs.MountNamespace):
		c.Hint = "without privileges a container needs a mount namespace of its own"
		return err
	case !e.hasNamespace(specs.UserNamespace) && e.UID != 0:
		c.Hint = "without privileges a container needs a user namespace: see spec --rootless"
		return err
	}
	e.treesInside, e.inherit = true, e.inherit[:kept]
	return nil
}

// keepTree is keep for what TreeOrder opens.
func (e *Env) keepTree(h *kernel.Handle) {
	if !e.treesInside {
		e.keep(h)
	}
}

// openTreesInside is openTrees in the container's process. Names are looked up
// with the rights of the user who started tongs, whose ids it has until then:
// root of the user namespace may be another user of the host's.
func openTreesInside(e *Env) error {
	if !e.treesInside {
		return nil
	}
	if err := e.run(); err != nil {
		return err
	}
	e.trees = e.K
	err := e.Queue(TreeOrder())
	if err == nil && e.hasNamespace(specs.UserNamespace) {
		e.becomeRoot()
	}
	return err
}
