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
			if c.kernels {
				c.place.Through(b)
				continue
			}
			c.place = e.Root.Follow(b, c.place.Path)
			c.place.Bent = true
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

// lookAgain looks the masked paths up by their names when the read-only copies are
// laid and no mask is yet. Where a path leads to another place then, a copy hides the
// one that was opened before, and both get a mask.
func (e *Env) lookAgain() error {
	if !e.linked || len(e.readonly) == 0 || len(e.masked) == 0 {
		return nil
	}
	var again []*covered
	for _, c := range e.masked {
		e.B.For(c.field, "cannot look up "+c.place.Path)
		again = append(again, &covered{field: c.field, place: e.Root.Follow(e.B, c.place.Path)})
	}
	if err := e.Sync(); err != nil {
		return err
	}
	for i, c := range e.masked {
		now := again[i]
		if err := e.Root.Settle(now.field, now.place); err != nil {
			return err
		}
		if now.place.Errno() != 0 {
			return rootfs.Elsewhere(now.field, now.place.Path)
		}
		if now.place.Stat.IsOneOf([]*kernel.Stat{c.place.Stat}) {
			e.B.Close(now.place.H)
		} else {
			e.masked = append(e.masked, now)
		}
	}
	return nil
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
	if err := e.Sync(); err != nil { // the ways are walked with all rights
		return err
	}
	on := func(st *kernel.Stat, roots []*kernel.Stat) bool { return st.Errno() == 0 && st.IsOneOf(roots) }
	for i, c := range e.masked {
		if !on(found[0][i], masks) {
			if err := e.verifyWay(c, masks, nil); err != nil {
				return err
			}
		}
	}
	for i, c := range e.readonly {
		if st := found[1][i]; !on(st, masks) && !on(st, copies) {
			if err := e.verifyWay(c, masks, copies); err != nil {
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

// verifyWay verifies a path that leads to the root of nothing that was laid: it lies
// below a mask or, if it is to be read-only, in a read-only copy.
func (e *Env) verifyWay(c *covered, masks, copies []*kernel.Stat) error {
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
