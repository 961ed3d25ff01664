package setup

import (
	"fmt"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/rootfs"
)

// Masked and read-only paths to which links of the image lead. Their spelling does
// not show which of them are the same, or lie one below another; what was opened
// shows the first, and the way to what is seen in the end the second.

// followPaths looks up the paths again that have a link on the way.
func (e *Env) followPaths() error {
	b := &kernel.Batch{}
	for _, list := range [][]*covered{e.masked, e.readonly} {
		for _, c := range list {
			if c.place.H.Errno() != unix.ELOOP {
				continue
			}
			e.linked = true
			b.For(c.field, "cannot look up "+c.place.Path)
			c.place.Through(b)
		}
	}
	if !e.linked {
		return nil
	}
	b.For("", "cannot look at the root directory")
	root := b.Stat(e.Root.Dir)
	if err := e.K.Run(b); err != nil {
		return err
	}
	for _, list := range [][]*covered{e.masked, e.readonly} {
		for _, c := range list {
			if err := e.Root.Settle(c.field, c.place); err != nil {
				return err
			}
			if c.place.Errno() == 0 && c.place.Stat.IsOneOf([]*kernel.Stat{root}) {
				return fmt.Errorf("%s: the root directory itself, to which %s leads, can be neither masked nor a read-only path; root.readonly makes it read-only", c.field, c.place.Path)
			}
		}
	}
	return nil
}

// again returns a function that reports whether it was called for the same place
// before. Two names of a file cannot be told from two paths to one.
func (e *Env) again() func(*covered) bool {
	type inode struct{ mount, dev, ino uint64 }
	seen := map[inode]bool{}
	return func(c *covered) bool {
		if !e.linked {
			return false
		}
		st := c.place.Stat
		id := inode{st.MountID(), st.Dev(), st.Ino()}
		before := seen[id]
		seen[id] = true
		return before
	}
}

// verifyLinked is verifyPaths for the case that links lead to some of the paths. Not
// each path has what was laid for it on top; but there must be a mask on it or above,
// or, for a read-only path, a read-only copy.
func (e *Env) verifyLinked() error {
	masks, copies := e.tops(e.masked), e.tops(e.readonly)
	lists := [][]*covered{e.masked, e.readonly}
	var found [2][]*kernel.Stat
	for i, list := range lists {
		for _, c := range list {
			e.B.ForPath(c.field, "cannot look for the mount at", c.place.Path)
			found[i] = append(found[i], e.B.StatPath(c.place.Path))
			e.B.Allow(unix.ENOENT) // it lies below a mask
		}
	}
	if err := e.Sync(); err != nil { // a mask that is not seen is laid again, with all rights
		return err
	}
	on := func(st *kernel.Stat, roots []*kernel.Stat) bool { return st.Errno() == 0 && st.IsOneOf(roots) }
	for i, c := range e.masked {
		if !on(found[0][i], masks) {
			again, err := e.maskAgain(c, masks, copies)
			if err != nil {
				return err
			}
			masks = append(masks, again...)
		}
	}
	for i, c := range e.readonly {
		if st := found[1][i]; !on(st, masks) && !on(st, copies) {
			if err := e.verifyLocked(c, masks, copies); err != nil {
				return err
			}
		}
	}
	e.closeCovers()
	return nil
}

// tops are the roots of what was laid.
func (e *Env) tops(list []*covered) []*kernel.Stat {
	var roots []*kernel.Stat
	for _, c := range list {
		if c.mount.Valid() {
			e.B.For(c.field, "cannot verify "+c.place.Path)
			roots = append(roots, e.B.Stat(c.mount))
		}
	}
	return roots
}

// maskAgain verifies a path that does not lead to a mask: it lies below one, or
// a read-only copy hides the mask, whose place was opened before. Then the path gets
// one on the copy, whose root is returned. Nothing else may be there.
func (e *Env) maskAgain(c *covered, masks, copies []*kernel.Stat) (again []*kernel.Stat, err error) {
	way, err := e.Root.Trace(c.field, c.place.Path)
	if err != nil {
		return nil, err
	}
	b := &kernel.Batch{}
	b.For(c.field, "cannot mask "+c.place.Path)
	switch {
	case way.Within(masks):
	case way.H.Valid() && way.Within(copies):
		mask := b.OpenTree(c.mount, "", unix.OPEN_TREE_CLONE)
		b.MoveMount(mask, way.H)
		again = append(again, b.Stat(mask))
		rootfs.ExpectInside(b, c.field, c.place.Path, again...)
		b.Close(mask)
	default:
		b.Check(func() error { return rootfs.Elsewhere(c.field, c.place.Path) })
	}
	if way.H.Valid() {
		b.Close(way.H)
	}
	return again, e.K.Run(b)
}

// verifyLocked verifies a read-only path that leads to the root of nothing that was
// laid: it lies below a mask or in a read-only copy.
func (e *Env) verifyLocked(c *covered, masks, copies []*kernel.Stat) error {
	way, err := e.Root.Trace(c.field, c.place.Path)
	if err != nil {
		return err
	}
	if !way.Within(masks) && !(way.Locked() && way.Within(copies)) {
		return rootfs.Elsewhere(c.field, c.place.Path)
	}
	if !way.H.Valid() {
		return nil
	}
	b := &kernel.Batch{}
	b.For(c.field, "cannot verify "+c.place.Path)
	b.Close(way.H)
	return e.K.Run(b)
}
