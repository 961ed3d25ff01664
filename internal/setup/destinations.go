package setup

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/rootfs"
)

// lookUpMountPoints asks for all destinations that no earlier mount covers,
// in one round trip.
func lookUpMountPoints(e *Env) error {
	for _, m := range e.plan() {
		if err := e.pass(); err != nil {
			return err
		}
		if m.above != nil {
			continue
		}
		e.B.ForPath(m.where, "cannot look up", m.path)
		if m.kindAlone() {
			m.place = e.Root.LookHere(e.B, m.path)
			m.place.FS = e.rootFS
		} else {
			m.place = e.Root.Look(e.B, m.path)
		}
	}
	return nil
}

// kindAlone reports whether of the destination nothing matters but whether it is a
// directory, which the kernel compares with the source when it attaches the mount.
func (m *mount) kindAlone() bool {
	return m.opt.bind && !m.opt.copyLink && !m.opt.linkSource && !m.opt.linkDestination && m.path != "/"
}

// lookElsewhere looks up destinations in other mounts of the root file system.
func lookElsewhere(e *Env) error {
	again := false
	for _, m := range e.plan() {
		if m.place != nil && m.place.Stat == nil && m.place.Errno() == unix.EXDEV {
			e.B.ForPath(m.where, "cannot look up", m.path)
			m.place, again = e.Root.Look(e.B, m.path), true
		}
	}
	if !again {
		return nil
	}
	return e.Sync()
}

// unlike is the error for a destination below dir on which the kernel does not
// attach m.
func (e *Env) unlike(m *mount, dir kernel.Handle) error {
	b := &kernel.Batch{}
	b.ForPath(m.where, "cannot look up", m.path)
	at := (&rootfs.Root{K: e.K, Dir: dir}).Look(b, m.path)
	if err := e.K.Run(b); err != nil {
		return err
	}
	if at.Errno() == 0 && m.file == at.IsDir() {
		return m.otherKind(at.IsDir())
	}
	return fmt.Errorf("%s: cannot attach the mount at %s: %s (EINVAL)", m.where, m.path, unix.EINVAL.Error())
}

func (m *mount) otherKind(dir bool) error {
	if !m.opt.bind {
		return fmt.Errorf("%s: %s is not a directory: a file system of type %s cannot be mounted on it", m.where, m.path, m.fstype)
	}
	return fmt.Errorf("%s: %s is %s, but the source is %s", m.where, m.path, directory(dir), directory(!m.file))
}

// findDestination finds out what is at the destination, and makes nothing. Where the early
// look-up holds, or what is above is a tmpfs or sysfs of ours, no round trip is needed.
func (e *Env) findDestination(m *mount) error {
	if m.sure {
		e.B.ForPath(m.where, "cannot open", m.path)
		h := e.B.Openat2(e.Root.Dir, m.path, unix.O_PATH, 0, kernel.InRootReal)
		m.place = &rootfs.Place{Path: m.path, H: h, Stat: e.B.Stat(h), FS: e.B.Fstatfs(h), Link: m.opt.linkSource}
		return nil
	}
	if m.place == nil || e.anyMade && m.place.Errno() == unix.ENOENT {
		e.B.ForPath(m.where, "cannot look up", m.path)
		m.place = e.Root.Look(e.B, m.path)
		var above *kernel.Stat
		if m.made {
			above = e.B.Stat(m.above.h)
		}
		if err := e.Sync(); err != nil {
			return err
		}
		m.made = m.made && m.place.Errno() == 0 && m.place.Stat.MountID() == above.MountID()
	}
	if m.opt.linkDestination {
		if err := e.lookAtLink(m); err != nil {
			return err
		}
	}
	m.place.Link = m.opt.linkDestination || m.opt.linkSource
	if err := e.ordinary(m); err != nil {
		return err
	}
	return e.sameKind(m)
}

// sameKind refuses a destination that is there and of another kind than the mount.
func (e *Env) sameKind(m *mount) error {
	if m.place.Stat == nil || m.place.Errno() != 0 || m.file != m.place.IsDir() {
		return nil
	}
	return m.otherKind(m.place.IsDir())
}

// destination is the place of the mount, which is looked up and built. It is made if
// it is missing: what is wrong with the mounts should have been seen before that.
func (e *Env) destination(m *mount) (*rootfs.Place, error) {
	place := m.place
	if m.sure {
		return place, nil
	}
	if place.Errno() != 0 {
		if err := e.findWrong(m); err != nil {
			return nil, err
		}
		if err := e.Sync(); err != nil {
			return nil, err
		}
		e.anyMade = true
		var err error
		if place, err = e.Root.Make(m.where, m.path, !m.file); err != nil {
			return nil, err
		}
		if place.Top { // only a mount on "/" becomes the root: one on top of it unnoticed would leave the handle below
			return nil, fmt.Errorf("%s: %s leads to the root directory", m.where, m.path)
		}
		place.Link = m.place.Link
		if place.Bent {
			e.bent(m)
		}
		if m.file == place.IsDir() {
			return nil, m.otherKind(place.IsDir())
		}
	}
	if place.Stat == nil {
		dir := e.Root.Dir // a later mount on "/" changes it
		place.Refused = func() error { return e.unlike(m, dir) }
	}
	return place, nil
}

// findWrong finds what is wrong with the mounts behind m, as far as that can be seen
// while the root is as it was: it is about to be changed for m.
func (e *Env) findWrong(m *mount) error {
	if m.index < e.judged {
		return nil
	}
	if err := e.judgeDestinations(m); err != nil || e.anyMade {
		return err
	}
	for _, later := range e.mounts[m.index+1:] {
		if err := e.refuse(later); err != nil {
			return err
		}
		if !e.aheadOfTurn(later) {
			continue
		}
		if later.index < e.judged && later.place != nil {
			later.takeMode()
		}
		if err := e.build(later); err != nil {
			return err
		}
		if err := e.pass(); err != nil {
			return err
		}
	}
	return nil
}

// aheadOfTurn reports whether building a mount needs nothing of what comes before it.
// Layers of an overlay in the root file system may be what an earlier mount makes.
func (e *Env) aheadOfTurn(m *mount) bool {
	switch {
	case m.opt.bind:
		return e.openedEarly(m)
	case m.fstype == "cgroup":
		return false
	}
	root := strings.TrimSuffix(path.Clean(e.hostPath(e.Spec.Root.Path)), "/") + "/"
	return !slices.ContainsFunc(m.opt.super, func(o string) bool { return strings.Contains(o, root) })
}

// judgeDestinations judges the early look-ups of the destinations behind m. They hold
// as long as no mount is, or may be, reached by a link.
func (e *Env) judgeDestinations(m *mount) error {
	from := m.index + 1
	e.judged = from
	if m.place != nil && m.place.Errno() == unix.ELOOP {
		return nil
	}
	for _, later := range e.mounts[from:] {
		if at := later.place; at == nil && !later.inFresh() {
			break
		} else if at != nil && at.Stat == nil && at.Errno() == 0 {
			e.B.ForPath(later.where, "cannot look at", later.path)
			at.Stat = e.B.Stat(at.H)
		}
		if err := e.pass(); err != nil {
			return err
		}
		if e.judged++; later.place != nil && later.place.Errno() == unix.ELOOP {
			break
		}
	}
	if err := e.Sync(); err != nil {
		return err
	}
	for _, later := range e.mounts[from:e.judged] {
		if later.place == nil {
			continue
		}
		if err := e.reachable(later); err != nil {
			return err
		}
	}
	return nil
}

// inFresh reports whether the mount point lies right in a mount with nothing but what
// tongs puts there: no link of the image is on the way.
func (m *mount) inFresh() bool {
	if m.sure {
		return true
	}
	dir, _ := rootfs.Parent(m.path)
	return m.above != nil && m.above.fresh() && m.above.path == dir && m.path != dir
}

// reachable refuses what an early look-up has shown of a destination.
func (e *Env) reachable(m *mount) error {
	if err := e.ordinary(m); err != nil {
		return err
	}
	switch m.place.Errno() {
	case 0:
		if m.opt.bind && !e.openedEarly(m) {
			return nil
		}
		return e.sameKind(m)
	case unix.ENOENT, unix.ELOOP:
		return nil
	}
	_, err := e.Root.Trace(m.where, m.path) // says what it is
	return err
}

// openedEarly reports whether the source of a bind mount is open before its turn.
func (e *Env) openedEarly(m *mount) bool {
	return !e.sources[m.index].inside && !m.opt.copyLink
}

func directory(yes bool) string {
	if yes {
		return "a directory"
	}
	return "not a directory"
}
