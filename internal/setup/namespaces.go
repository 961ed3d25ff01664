package setup

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// NamespaceFlag is the clone(2) flag of a namespace type of config.json.
func NamespaceFlag(t specs.LinuxNamespaceType) uint64 {
	switch t {
	case specs.PIDNamespace:
		return unix.CLONE_NEWPID
	case specs.NetworkNamespace:
		return unix.CLONE_NEWNET
	case specs.MountNamespace:
		return unix.CLONE_NEWNS
	case specs.IPCNamespace:
		return unix.CLONE_NEWIPC
	case specs.UTSNamespace:
		return unix.CLONE_NEWUTS
	case specs.UserNamespace:
		return unix.CLONE_NEWUSER
	case specs.CgroupNamespace:
		return unix.CLONE_NEWCGROUP
	case specs.TimeNamespace:
		return unix.CLONE_NEWTIME
	}
	return 0
}

func (e *Env) namespace(t specs.LinuxNamespaceType) (specs.LinuxNamespace, bool) {
	if e.Spec.Linux != nil {
		for _, n := range e.Spec.Linux.Namespaces {
			if n.Type == t {
				return n, true
			}
		}
	}
	return specs.LinuxNamespace{}, false
}

// hasNamespace reports whether the container has a namespace of that type
// that is not the host's, new or joined.
func (e *Env) hasNamespace(t specs.LinuxNamespaceType) bool {
	_, ok := e.namespace(t)
	return ok
}

// newNamespace reports whether the container gets a new namespace of a type.
func (e *Env) newNamespace(t specs.LinuxNamespaceType) bool {
	n, ok := e.namespace(t)
	return ok && n.Path == ""
}

// CloneFlags are the namespaces that the container's process is born into:
// that of process ids, which no process can enter later itself, unless it must
// be made later (forks).
func (e *Env) CloneFlags() uintptr {
	if e.forks() {
		return 0
	}
	return uintptr(e.newNamespaces() & unix.CLONE_NEWPID)
}

// forks reports whether the process gets into a namespace as a child of
// itself: a PID namespace that belongs to the container's user namespace or is
// joined, and a new time namespace.
func (e *Env) forks() bool {
	if e.Joined != nil {
		return e.Joined.Namespaces&unix.CLONE_NEWPID != 0
	}
	pid, ok := e.namespace(specs.PIDNamespace)
	return ok && (pid.Path != "" || e.hasNamespace(specs.UserNamespace) || e.treesInside) || e.newNamespace(specs.TimeNamespace)
}

func (e *Env) newNamespaces() (flags uint64) {
	if e.Spec.Linux != nil {
		for _, n := range e.Spec.Linux.Namespaces {
			if n.Path == "" {
				flags |= NamespaceFlag(n.Type)
			}
		}
	}
	return flags
}

// unshareNamespaces makes the other new namespaces. The process does that
// itself and not the clone, so that tongs goes on meanwhile. A cgroup namespace
// has the cgroup that the process is in as its root (cgroup_namespaces(7)), so it
// must be in it.
func unshareNamespaces(e *Env) error {
	flags := e.newNamespaces() &^ (unix.CLONE_NEWUSER | uint64(e.CloneFlags()))
	if e.NetNamespace { // begin
		flags &^= unix.CLONE_NEWNET
	}
	if flags != 0 {
		e.B.For("linux.namespaces", "cannot make new namespaces")
		e.B.Unshare(flags)
	}
	return nil
}

// begin lets the process make its namespaces, enter its root and look up the mount
// points, while tongs does what is its own (Env.Aside): enough for both to use a
// processor each. The network namespace is the last that is needed. Afterwards they
// take turns, and share one processor (Env.Meet).
func begin(e *Env) error {
	var net *kernel.Right
	if e.NetNamespace {
		e.B.For("linux.namespaces", "cannot receive the new network namespace")
		net = e.B.ReceiveFD(e.Line, "network namespace")
	}
	if err := e.Sync(); err != nil {
		return err
	}
	if e.parts() {
		e.Part()
	} else if e.Meet != nil {
		e.Meet()
	}
	if net == nil {
		return nil
	}
	e.B.For("linux.namespaces", "cannot make new namespaces")
	if h, ok := net.Handle(); ok {
		e.B.Setns(h, unix.CLONE_NEWNET)
		e.B.Close(h)
		return nil
	}
	e.NetNamespace = false
	e.B.Unshare(unix.CLONE_NEWNET) // has the error
	return nil
}

// manyMounts is how many mounts make two processors worth while until they are
// complete: the container's process attaches some while tongs queues others.
const manyMounts = 40

// parts reports whether there are so many.
func (e *Env) parts() bool { return e.Part != nil && len(e.plan()) >= manyMounts }

// fork lets a child go on that is in the namespaces which the process can give
// only to its children (pid_namespaces(7), time_namespaces(7)).
func fork(e *Env) error {
	if !e.forks() {
		return nil
	}
	if err := e.writeTimeOffsets(); err != nil {
		return err
	}
	e.B.For("linux.namespaces", "cannot fork into the new namespaces")
	child := e.B.ForkSibling()
	if err := e.run(); err != nil {
		return err
	}
	e.PID = kernel.NewHandle(int64(child.PID()), "container")
	return nil
}

type join struct {
	field  string
	kind   uint64
	h      kernel.Handle
	result kernel.Handle // of the first attempt
}

// openNamespaces opens the namespaces that are given by path and checks that
// each is a namespace of its type (ioctl_ns(2), NS_GET_NSTYPE).
func openNamespaces(e *Env) error {
	if e.Spec.Linux == nil {
		return nil
	}
	var list []specs.LinuxNamespace
	for i, n := range e.Spec.Linux.Namespaces {
		if n.Path == "" {
			continue
		}
		list = append(list, n)
		e.joins = append(e.joins, join{field: item("linux.namespaces", i) + ".path", kind: NamespaceFlag(n.Type)})
	}
	for i := range e.joins {
		j, n := &e.joins[i], list[i]
		b := e.onHost()
		b.For(j.field, "cannot open the namespace")
		j.h = b.Openat2(kernel.CWD(), n.Path, unix.O_RDONLY|unix.O_NONBLOCK, 0, 0)
		fs := b.Fstatfs(j.h)
		b.Check(func() error {
			if fs.Type() != unix.NSFS_MAGIC {
				return fmt.Errorf("%s: %q is not a namespace", j.field, n.Path)
			}
			return nil
		})
		if err := e.Host.Run(b); err != nil {
			return err
		}
		b = e.onHost()
		b.For(j.field, "cannot ask for the namespace's type")
		kind := b.IoctlInt(j.h, unix.NS_GET_NSTYPE, 0)
		if err := e.Host.Run(b); err != nil {
			return err
		}
		if uint64(kind.Count(1<<31)) != j.kind {
			return fmt.Errorf("%s: %q is not a namespace of type %s", j.field, n.Path, n.Type)
		}
		if err := e.refuseHostSysctl(j, n); err != nil {
			return err
		}
		e.keep(&j.h)
	}
	return nil
}

// joinNamespaces joins what is given by path, with tongs' rights. Who is not the
// host's root may have them only as root of the container's user namespace.
func joinNamespaces(e *Env) error {
	later := e.limited() && e.hasNamespace(specs.UserNamespace)
	for i := range e.joins {
		j := &e.joins[i]
		if j.kind == unix.CLONE_NEWUSER {
			continue // enterUserNamespace
		}
		e.B.For(j.field, "cannot join the namespace")
		e.B.Setns(j.h, j.kind)
		if !later {
			e.B.Close(j.h)
			continue
		}
		j.result = e.B.Allow(unix.EPERM).Last()
	}
	return nil
}

// joinDenied joins what joinNamespaces was not allowed to.
func joinDenied(e *Env) error {
	if !e.limited() || !e.hasNamespace(specs.UserNamespace) || len(e.joins) == 0 {
		return nil
	}
	if err := e.run(); err != nil {
		return err
	}
	for _, j := range e.joins {
		if j.kind == unix.CLONE_NEWUSER {
			continue
		}
		e.B.For(j.field, "cannot join the namespace")
		if j.result.Errno() != 0 {
			e.B.Setns(j.h, j.kind)
		}
		e.B.Close(j.h)
	}
	return nil
}

// raiseLoopback brings lo up in a new network namespace, as every runtime does.
func raiseLoopback(e *Env) error {
	if e.newNamespace(specs.NetworkNamespace) && !e.NetNamespace {
		request := make([]byte, 40) // struct ifreq (netdevice(7)): name, then flags
		copy(request, "lo")
		request[unix.IFNAMSIZ] = unix.IFF_UP
		e.B.For("linux.namespaces", "cannot bring the loopback device up")
		s := e.B.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		e.B.Ioctl(s, unix.SIOCSIFFLAGS, request)
		e.B.Close(s)
	}
	return nil
}
