package setup

import (
	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/rootfs"
)

// attached is a mount whose path is to be looked up again.
type attached struct {
	field string
	place *rootfs.Place
	root  *kernel.Stat // of the mount
}

// attach puts the finished mount at its place and sets its propagation.
func (e *Env) attach(m *mount, place *rootfs.Place) {
	e.guardProc(m, place)
	if m.path == "/" {
		e.late = nil // what is below will be detached
	}
	if m.lock {
		l := late{m.field + ".options", m.h, m.path}
		if e.rootDetached() {
			e.lock(l) // what is attached to a detached tree cannot be changed
		} else {
			e.late = append(e.late, l)
		}
	}
	if e.rootDetached() {
		e.propagate(m) // the same
	}
	e.Root.Move(e.B, m.where, m.h, place)
	e.expect(m, place)
	if !e.rootDetached() {
		e.propagate(m) // last: what is attached to a shared mount becomes shared
	}
	if m.path == "/" {
		e.Root.Dir, e.onRoot = m.h, nil // the handle follows what is on top
		if m.opt.unfitForRoot() && !e.rootDetached() {
			e.onRoot = m
			e.B.MountSetattr(m.h, 0, kernel.MountAttr{Propagation: unix.MS_SLAVE}) // until shareRoot
		}
	}
}

// expect sees to it that the path is looked up again and leads to the mount:
// whoever moved a directory on the way has made it lead elsewhere. For most
// mounts that is done when the container's root is the process's (verifyMounts),
// by one call and as the program will see it; at once for a mount that will not
// be on top by then, or that a hook may cover. What is reached by a link may be
// covered by a mount on any path.
func (e *Env) expect(m *mount, place *rootfs.Place) {
	if m.path == "/" {
		return // a mount over the root is not seen from the handle below it
	}
	root := e.sources[m.index].root
	if root == nil {
		e.B.ForPath(m.where, "cannot look for the mount at", place.Path)
		root = e.B.Stat(m.h)
	}
	if e.unverified == nil {
		e.unverified = make([]attached, 0, len(e.mounts))
	}
	e.unverified = append(e.unverified, attached{m.where, place, root})
	if m.under || place.Link || place.Bent || e.hooksBeforePivot() {
		e.verifyNow()
	}
}

// verifyNow looks up the paths that have not been since their mounts were
// attached.
func (e *Env) verifyNow() {
	for _, a := range e.unverified {
		e.Root.Expect(e.B, a.field, a.place, a.root)
	}
	e.unverified = e.unverified[:0]
}

// verifyMounts is verifyNow for a process whose root directory is the
// container's.
func verifyMounts(e *Env) error {
	for _, a := range e.unverified {
		rootfs.ExpectInside(e.B, a.field, a.place.Path, a.root)
		if err := e.pass(); err != nil {
			return err
		}
	}
	e.unverified = nil
	if e.parts() {
		e.Meet()
	}
	return nil
}

// bent is called for a mount that is reached by a link: it may cover others, or
// the destinations of later ones, without their paths showing it. So what is
// attached is verified before, and what is known of their places is dropped.
func (e *Env) bent(m *mount) {
	e.verifyNow()
	e.anyBent = true
	for _, later := range e.mounts[m.index+1:] {
		later.place = nil
		later.sure = false
	}
}

// propagate sets the propagation, in the order of the options.
func (e *Env) propagate(m *mount) {
	for _, p := range m.opt.propagation {
		flags := uint(0)
		if p.recursive {
			flags = unix.AT_RECURSIVE
		}
		e.B.For(m.field+".options", "cannot set the propagation of "+m.path)
		e.B.MountSetattr(m.h, flags, kernel.MountAttr{Propagation: p.kind})
	}
}
