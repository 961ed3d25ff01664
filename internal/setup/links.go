package setup

import (
	"fmt"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/rootfs"
)

// copyLink makes a source that is a symbolic link anew, in place of a bind (the
// option copy-symlink, which is crun's and Podman uses). done is false if the
// source is no link: then it is an ordinary bind. Only the same link may be
// there already.
func (e *Env) copyLink(m *mount) (done bool, err error) {
	s := &e.sources[m.index]
	if s.inside {
		if err := e.Sync(); err != nil {
			return false, err
		}
		b := e.onHost()
		b.For(m.field+".source", "cannot look at "+m.Source)
		if err := m.readLink(e.K, b, s, b.Openat2(e.Root.Dir, s.path, unix.O_PATH|unix.O_NOFOLLOW, 0, kernel.InRoot)); err != nil {
			return false, err
		}
	}
	if s.link == nil {
		return false, nil
	}
	if err := e.findWrong(m); err != nil {
		return false, err
	}
	if err := e.Sync(); err != nil {
		return false, err
	}
	e.anyMade = true
	field, target := m.where, string(s.link.Bytes())
	dir, name := rootfs.Parent(m.path)
	parent, err := e.Root.Make(field, dir, true)
	if err != nil {
		return false, err
	}
	b := e.B.For(field, "cannot make the symbolic link "+m.path)
	b.Symlinkat(target, parent.H, name)
	b.Allow(unix.EEXIST)
	h := b.Openat2(parent.H, name, unix.O_PATH|unix.O_NOFOLLOW, 0, kernel.InRoot)
	there := b.Readlinkat(h)
	b.Allow(unix.EINVAL, unix.ENOENT)
	b.Check(func() error {
		if there.Errno() != 0 || string(there.Bytes()) != target {
			return fmt.Errorf("%s: %s exists and is not a symbolic link to %q", field, m.path, target)
		}
		return nil
	})
	b.Close(h).Close(parent.H)
	e.bent(m)
	return true, nil
}

// lookAtLink opens the destination without following a link at its end (the
// option dest-nofollow, which is crun's).
func (e *Env) lookAtLink(m *mount) error {
	if err := e.Sync(); err != nil {
		return err
	}
	b := e.onHost()
	b.ForPath(m.where, "cannot look up", m.path)
	m.place = e.Root.Itself(b, m.path)
	return e.K.Run(b)
}
