package setup

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/rootfs"
)

// covered is a masked or read-only path.
type covered struct {
	field string
	place *rootfs.Place
	mount kernel.Handle // what was laid on it, if anything was

	kernels bool // it lies in a proc or sysfs, whose links lead nowhere else
}

// lookUpPaths asks for all masked and read-only paths at once.
func lookUpPaths(e *Env) error {
	if e.Spec.Linux == nil {
		return nil
	}
	e.masked = e.lookUp("linux.maskedPaths", e.Spec.Linux.MaskedPaths)
	e.readonly = e.lookUp("linux.readonlyPaths", e.Spec.Linux.ReadonlyPaths)
	return nil
}

func (e *Env) lookUp(name string, paths []string) []*covered {
	list := make([]*covered, 0, len(paths))
	seen := make(map[string]bool, len(paths))
	for i, p := range paths {
		p = rootfs.Clean(p)
		if seen[p] {
			continue
		}
		seen[p] = true
		c := &covered{field: item(name, i)}
		e.B.For(c.field, "cannot look up "+p)
		if m, rel := e.mountOf(p); m != nil {
			c.place, c.kernels = e.Root.LookIn(e.B, m.h, rel, p), e.isKernels(m)
		} else {
			c.place = e.Root.Look(e.B, p)
		}
		list = append(list, c)
	}
	return list
}

// mountOf is the mount of the configuration in which a path lies, and the path below
// it. Its paths are looked up from there: whoever can exchange the directory that it
// is mounted on could make them seem to be missing, which would leave them uncovered.
// Once a mount is reached by a link, paths do not show in which they lie, but for
// proc and sysfs, whose place cannot be a link.
func (e *Env) mountOf(p string) (*mount, string) {
	for _, m := range slices.Backward(e.plan()) {
		if !below(p, m.path) {
			continue
		}
		if !m.h.Valid() || m.file || e.anyBent && !e.isKernels(m) {
			break
		}
		rel := strings.Trim(strings.TrimPrefix(p, m.path), "/")
		if rel == "" {
			rel = "."
		}
		return m, rel
	}
	return nil, ""
}

// isKernels reports whether a mount is of proc or sysfs.
func (e *Env) isKernels(m *mount) bool {
	return m.fstype == "proc" || m.fstype == "sysfs" || m.opt.bind && e.sources[m.index].proc
}

// there keeps the paths that exist. Only a path that is missing may be
// skipped: any other error would leave something uncovered.
func (e *Env) there(list []*covered) ([]*covered, error) {
	kept := list[:0]
	for _, c := range list {
		if err := e.Root.Settle(c.field, c.place); err != nil {
			return nil, err
		}
		switch {
		case c.place.Errno() == 0:
			kept = append(kept, c)
		case !c.place.Missing():
			n := c.place.Errno()
			return nil, fmt.Errorf("%s: cannot open %s: %s (%s)", c.field, c.place.Path, n.Error(), unix.ErrnoName(n))
		}
	}
	return kept, nil
}

// lockPaths lays a read-only copy of itself, and of all mounts below, over
// each read-only path (runtime-spec 1.3, config-linux § Readonly Paths).
func lockPaths(e *Env) error {
	err := e.followPaths()
	if err != nil {
		return err
	}
	if e.readonly, err = e.there(e.readonly); err != nil {
		return err
	}
	e.readonly = slices.DeleteFunc(slices.Clone(e.readonly), func(c *covered) bool { return !c.place.Bent && e.lockedAbove(c) != nil })
	again := e.again()
	for _, c := range e.readonly {
		e.B.For(c.field, "cannot make "+c.place.Path+" read-only")
		flags := uint(unix.OPEN_TREE_CLONE | unix.AT_RECURSIVE)
		if again(c) { // a copy with that of before in it would have this on top
			if c.place.IsDir() {
				e.B.Close(c.place.H)
				continue
			}
			flags = unix.OPEN_TREE_CLONE // it may be another name of the file
		}
		c.mount = e.B.OpenTree(c.place.H, "", flags)
		e.B.MountSetattr(c.mount, unix.AT_RECURSIVE, kernel.MountAttr{Set: unix.MOUNT_ATTR_RDONLY})
		e.B.MoveMount(c.mount, c.place.H)
		e.B.Close(c.place.H)
	}
	return nil
}

// maskPaths covers files with the host's null device and directories with an
// empty read-only tmpfs (runtime-spec 1.3, config-linux § Masked Paths): one
// of each, cloned for all, so that the number of superblocks does not grow. A
// copy can be made only of what is attached (before 6.15), so the first path
// gets the mount itself.
func maskPaths(e *Env) error {
	var err error
	if e.masked, err = e.there(e.masked); err != nil {
		return err
	}
	if err := e.lookAgain(); err != nil {
		return err
	}
	for _, c := range e.masked {
		if r := e.lockedAbove(c); r != nil && !e.linked { // what was opened lies under the read-only copy now
			e.B.For(c.field, "cannot mask "+c.place.Path)
			e.B.Close(c.place.H)
			c.place.H = e.B.Openat2(r.mount, c.place.Path[len(r.place.Path)+1:], unix.O_PATH, 0, kernel.InRootReal)
		}
	}
	var file, dir kernel.Handle
	for _, c := range e.masked { // only now: one may hide another
		e.B.For(c.field, "cannot mask "+c.place.Path)
		first := &file
		if c.place.IsDir() {
			first = &dir
		}
		switch {
		case first.Valid():
			c.mount = e.B.OpenTree(*first, "", unix.OPEN_TREE_CLONE)
		case c.place.IsDir():
			c.mount = e.emptyDir()
			*first = c.mount
		default:
			c.mount = e.null
			*first = c.mount
		}
		e.B.MoveMount(c.mount, c.place.H)
		e.B.Close(c.place.H)
	}
	return nil
}

func (e *Env) emptyDir() kernel.Handle {
	fs := e.B.Fsopen("tmpfs")
	fs.String("source", "tmpfs")
	fs.String("nr_blocks", "1")
	fs.String("nr_inodes", "1")
	fs.Create()
	return fs.Mount(unix.MOUNT_ATTR_RDONLY, "mask")
}

// verifyPaths looks up each masked and read-only path again: what was laid over
// it must be on top, or the container does not start.
func verifyPaths(e *Env) error {
	if e.linked {
		return e.verifyLinked()
	}
	for _, list := range [][]*covered{e.readonly, e.masked} {
		var tops []*kernel.Stat
		for _, c := range list {
			e.B.For(c.field, "cannot verify "+c.place.Path)
			tops = append(tops, e.B.Stat(c.mount))
		}
		for _, c := range list { // of two paths to the same place the last is on top
			if !e.coveredLater(c) {
				rootfs.ExpectInside(e.B, c.field, c.place.Path, tops...)
			}
		}
	}
	e.closeCovers()
	return nil
}

func (e *Env) closeCovers() {
	for _, list := range [][]*covered{e.readonly, e.masked} {
		for _, c := range list {
			if c.mount.Valid() {
				e.B.Close(c.mount)
			}
		}
	}
}

// lockedAbove is the read-only path that c lies below, nil if there is none: the copy
// that is laid over that one has c's mounts in it, read-only too.
func (e *Env) lockedAbove(c *covered) *covered {
	for _, r := range e.readonly {
		if r.place.Path != c.place.Path && below(c.place.Path, r.place.Path) {
			return r
		}
	}
	return nil
}

// coveredLater reports whether a masked path hides c, or lies on it: then the
// mask is what is seen there, and it is verified itself.
func (e *Env) coveredLater(c *covered) bool {
	for _, m := range e.masked {
		if m != c && below(c.place.Path, m.place.Path) {
			return true
		}
	}
	return false
}
