package setup

import (
	"fmt"

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
	return fmt.Errorf("%s: %s is %s, but the source is %s", m.where, m.path, directory(dir), directory(!m.file))
}

// destination opens the place of the mount. Where the early look-up holds, or
// what is above is a tmpfs or sysfs of ours, no round trip is needed.
func (e *Env) destination(m *mount) (*rootfs.Place, error) {
	if m.sure {
		e.B.ForPath(m.where, "cannot open", m.path)
		h := e.B.Openat2(e.Root.Dir, m.path, unix.O_PATH, 0, kernel.InRootReal)
		return &rootfs.Place{Path: m.path, H: h, Stat: e.B.Stat(h), FS: e.B.Fstatfs(h), Link: m.opt.linkSource}, nil
	}
	if m.place == nil {
		e.B.ForPath(m.where, "cannot look up", m.path)
		m.place = e.Root.Look(e.B, m.path)
		var above *kernel.Stat
		if m.made {
			above = e.B.Stat(m.above.h)
		}
		if err := e.Sync(); err != nil {
			return nil, err
		}
		m.made = m.made && m.place.Errno() == 0 && m.place.Stat.MountID() == above.MountID()
	}
	if m.opt.linkDestination {
		if err := e.lookAtLink(m); err != nil {
			return nil, err
		}
	}
	if err := e.ordinary(m); err != nil {
		return nil, err
	}
	place := m.place
	place.Link = m.opt.linkDestination || m.opt.linkSource
	if place.Errno() != 0 {
		if err := e.Sync(); err != nil {
			return nil, err
		}
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
	}
	if place.Stat == nil {
		dir := e.Root.Dir // a later mount on "/" changes it
		place.Refused = func() error { return e.unlike(m, dir) }
	} else if m.file == place.IsDir() {
		return nil, m.otherKind(place.IsDir())
	}
	return place, nil
}

func directory(yes bool) string {
	if yes {
		return "a directory"
	}
	return "not a directory"
}
