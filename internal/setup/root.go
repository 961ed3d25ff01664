package setup

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/rootfs"
)

var errRootMoved = errors.New("root.path: the directory is not the one that was opened first")

// openRoot opens root.path as a detached copy of its mount tree: the
// container's root, whatever happens to the name afterwards (runtime-spec
// 1.3, config § Root; open_tree(2), 5.2).
func openRoot(e *Env) error {
	p := e.hostPath(e.Spec.Root.Path)
	b := e.onHost()
	b.For("root.path", "cannot open "+p)
	e.root = b.OpenTree(kernel.CWD(), p, unix.OPEN_TREE_CLONE|unix.AT_RECURSIVE|unix.AT_SYMLINK_NOFOLLOW)
	e.rootDir, e.rootFS = b.Stat(e.root), b.Fstatfs(e.root)
	b.Check(func() error {
		switch e.rootDir.Type() {
		case unix.S_IFDIR:
			return nil
		case unix.S_IFLNK:
			return fmt.Errorf("root.path: %q is a symbolic link", p)
		}
		return fmt.Errorf("root.path: %q is not a directory", p)
	})
	e.keepTree(&e.root)
	return e.trees.Run(b)
}

// hint adds what the reader can do to an error with that errno.
func hint(err error, n unix.Errno, text string) error {
	var c *kernel.CallError
	if errors.As(err, &c) && c.Errno == n && c.Hint == "" {
		c.Hint = text
	}
	return err
}

// hostPath makes a path of config.json that is the host's absolute: relative
// ones count from the bundle.
func (e *Env) hostPath(p string) string {
	if strings.HasPrefix(p, "/") {
		return p
	}
	return path.Join(e.Bundle, p)
}

// propagation of linux.rootfsPropagation: what the old root gets while the
// container is set up, and what the new root gets at the end.
func (e *Env) propagation() (before, after uint64, recursive bool, err error) {
	recursive = true
	if e.Spec.Linux == nil {
		return unix.MS_SLAVE, 0, true, nil
	}
	switch p := e.Spec.Linux.RootfsPropagation; p {
	case "", "rslave":
		return unix.MS_SLAVE, 0, true, nil
	case "slave":
		return unix.MS_SLAVE, 0, true, nil
	case "private", "rprivate":
		return unix.MS_PRIVATE, 0, true, nil
	case "shared", "rshared":
		return unix.MS_SLAVE, unix.MS_SHARED, p == "rshared", nil
	case "unbindable", "runbindable":
		return unix.MS_SLAVE, unix.MS_UNBINDABLE, p == "runbindable", nil
	default:
		return 0, 0, false, fmt.Errorf("linux.rootfsPropagation: unknown value %q", p)
	}
}

// attachRoot stops propagation to the host and puts the root tree over "/".
func attachRoot(e *Env) error {
	before, _, _, err := e.propagation()
	if err != nil {
		return err
	}
	e.Root = &rootfs.Root{K: e.K, Dir: e.root}
	a := kernel.MountAttr{Propagation: before}
	e.B.For("linux.rootfsPropagation", "cannot keep the container's mounts from the host")
	e.B.MountSetattr(e.root, unix.AT_RECURSIVE, a)
	if !e.hasNamespace("mount") {
		return nil // the tree cannot be attached without changing the host: chroot into it as it is
	}
	e.B.MountSetattrRoot(unix.AT_RECURSIVE, a)
	if e.sourcesWithRoot() {
		if err := e.queueSources(); err != nil {
			return err
		}
	}
	if done, err := attachForHooks(e); done || err != nil {
		return err
	}
	e.B.For("root.path", "cannot attach the root file system")
	e.B.MoveMountRoot(e.root)
	return nil
}

// enterRoot makes the root handle the process's root. By pivot_root(2) the
// old root, which lies under the new one, is detached with all its mounts.
// With --no-pivot (the root lies on the initial ramdisk, which pivot_root
// refuses) it stays below, without proc and sysfs, and only chroot(2) hides it.
func enterRoot(e *Env) error {
	if e.NoPivot && e.hasNamespace("mount") {
		if err := e.hideOldProc(); err != nil {
			return err
		}
		if e.atName { // whoever joins the namespace begins in what lies over its root
			e.B.For("root.path", "cannot move the root file system over the old root")
			e.B.MoveMountRoot(e.root)
		}
	}
	e.B.For("root.path", "cannot make the root file system the root directory")
	e.B.Fchdir(e.Root.Dir)
	if e.NoPivot || !e.hasNamespace("mount") {
		e.B.ChrootCwd().Chdir("/")
		return nil
	}
	e.B.PivotRoot().UmountCwd().Chdir("/")
	e.detachRest()
	return nil
}

// detachRest detaches what is still mounted over the new root. The call above
// takes the topmost mount only, and the old root has others on it if the host or
// a mount on "/" has put them there. Whatever stayed would be the container's:
// "/.." leads to what lies over the root directory, and so does setns(2).
func (e *Env) detachRest() {
	own := e.rootDir
	if e.Root.Dir != e.root {
		own = e.B.Stat(e.Root.Dir)
	}
	const text = "cannot detach what is mounted over the root directory"
	e.B.For("root.path", text)
	top := e.B.StatPath("/..")
	e.B.Check(func() error {
		for range maxOverRoot {
			if top.MountID() == own.MountID() {
				return nil
			}
			b := &kernel.Batch{}
			b.For("root.path", text)
			b.UmountCwd()
			top = b.StatPath("/..")
			if err := e.K.Run(b); err != nil {
				return err
			}
		}
		return errOverRoot
	})
}

// maxOverRoot bounds the mounts that lie over the old root.
const maxOverRoot = 1000

var errOverRoot = errors.New("root.path: something is mounted over the root directory")

// shareRoot applies a propagation that the root may have only in the end: the
// pivot refuses a shared root, and masks and read-only paths are copies, which
// an unbindable one forbids. That of linux.rootfsPropagation comes after what the
// options of a mount on "/" say of this mount itself, and wins.
func shareRoot(e *Env) error {
	if e.onRoot != nil {
		for _, p := range e.onRoot.opt.propagation {
			e.B.For(e.onRoot.field+".options", "cannot set the propagation of /")
			e.B.MountSetattr(e.Root.Dir, 0, kernel.MountAttr{Propagation: p.kind})
		}
	}
	_, after, recursive, err := e.propagation()
	if err != nil || after == 0 || !e.hasNamespace("mount") {
		return err
	}
	flags := uint(0)
	if recursive {
		flags = unix.AT_RECURSIVE
	}
	e.B.For("linux.rootfsPropagation", "cannot set the propagation of the root")
	e.B.MountSetattr(e.Root.Dir, flags, kernel.MountAttr{Propagation: after})
	return nil
}

// lockRoot makes the root's mount read-only; mounts below it are not touched
// (runtime-spec 1.3, config § Root).
func lockRoot(e *Env) error {
	if e.Spec.Root.Readonly && e.hasNamespace("mount") {
		e.B.For("root.readonly", "cannot make the root read-only")
		e.B.MountSetattr(e.Root.Dir, 0, kernel.MountAttr{Set: unix.MOUNT_ATTR_RDONLY})
	}
	return nil
}

// lockLate makes mounts read-only that had to be filled first.
func lockLate(e *Env) error {
	for _, l := range e.late {
		e.lock(l)
	}
	return nil
}

func (e *Env) lock(l late) {
	e.B.For(l.field, "cannot make "+l.path+" read-only")
	e.B.MountSetattr(l.h, 0, kernel.MountAttr{Set: unix.MOUNT_ATTR_RDONLY})
}

// rootDetached reports whether the root tree is never attached: without a
// mount namespace of its own, the container's mounts are attached to the
// detached tree (6.15), which the host does not see.
func (e *Env) rootDetached() bool { return !e.hasNamespace("mount") }
