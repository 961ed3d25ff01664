package setup

import (
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// The kernel locks the flags of mounts, and what mounts below them cover, when it
// copies a mount namespace for a user namespace (mount_namespaces(7)): a program that
// is root there cannot take back what the host has set. Copies that are made with the
// host's rights and attached inside are not locked. So the process, while it has all
// rights, attaches them in a mount namespace of its own, and takes its copies of them
// from the one that it makes in the user namespace.

// tree is a copy of the host's that is to be locked.
type tree struct {
	field string
	h     *kernel.Handle
	root  **kernel.Stat // to be asked anew: the copy is another mount
	flags uint          // of open_tree(2)
	file  bool
}

// Locks reports whether the container's mounts are to be locked and are not anyway.
func (e *Env) Locks() bool {
	return e.hasNamespace(specs.UserNamespace) && e.newNamespace(specs.MountNamespace) && !e.treesInside && e.Restore == nil
}

// lockedTrees are the copies of the host's with flags that matter.
func (e *Env) lockedTrees() []tree {
	const all = unix.OPEN_TREE_CLONE | unix.AT_RECURSIVE
	list := []tree{{"root.path", &e.root, &e.rootDir, all, false}}
	for _, m := range e.plan() {
		s := &e.sources[m.index]
		switch {
		case m.opt.bind && s.h.Valid():
			list = append(list, tree{m.field + ".source", &s.h, &s.root, m.treeFlags(), m.file})
		case e.bindsCgroup2(m):
			list = append(list, tree{m.field, &m.h, nil, all, false})
		}
		for i := range m.cgroups {
			list = append(list, tree{m.field, &m.cgroups[i], nil, all, false})
		}
	}
	return list
}

// holdTrees attaches the trees where the new mount namespace will have its copies.
func holdTrees(e *Env) error {
	if !e.Locks() {
		return nil
	}
	if err := e.run(); err != nil { // which of them are files
		return err
	}
	e.B.For("linux.namespaces", "cannot hold the container's mounts")
	e.B.Unshare(unix.CLONE_NEWNS)
	e.B.MountSetattrRoot(unix.AT_RECURSIVE, kernel.MountAttr{Propagation: unix.MS_SLAVE})
	fs := e.B.Fsopen("tmpfs")
	fs.Option("mode=755")
	fs.Create()
	holder := fs.Mount(0, "holder")
	at := e.B.Openat2(kernel.CWD(), e.Scratch, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0, 0)
	e.B.MoveMount(holder, at)
	e.B.Close(at)
	for i, t := range e.lockedTrees() {
		if err := e.pass(); err != nil {
			return err
		}
		name := strconv.Itoa(i)
		e.B.For(t.field, "cannot hold the mount")
		if t.file {
			e.B.Mknodat(holder, name, unix.S_IFREG|0o644, 0)
		} else {
			e.B.Mkdirat(holder, name, 0o755)
		}
		at := e.B.Openat2(holder, name, unix.O_PATH, 0, kernel.Beneath)
		e.B.MoveMount(*t.h, at)
		e.B.Close(at).Close(*t.h)
	}
	e.B.For("linux.namespaces", "cannot enter what holds the container's mounts")
	e.B.Fchdir(holder) // unshare(2) goes on in the copy
	e.B.Close(holder)
	return nil
}

// copyLocked takes the copies, which are locked now.
func copyLocked(e *Env) error {
	if !e.Locks() {
		return nil
	}
	for i, t := range e.lockedTrees() {
		if err := e.pass(); err != nil {
			return err
		}
		e.B.For(t.field, "cannot copy the mount in the container's user namespace")
		*t.h = e.B.OpenTree(kernel.CWD(), strconv.Itoa(i), t.flags|unix.AT_SYMLINK_NOFOLLOW).As(*t.h)
		if t.root != nil {
			*t.root = e.B.Stat(*t.h)
		}
	}
	e.B.For("linux.namespaces", "cannot leave what holds the container's mounts")
	e.B.Chdir("/")
	return nil
}
