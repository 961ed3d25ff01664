package setup

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/rootfs"
)

// copyUp fills a new tmpfs with what the directory has that it will cover (the
// option tmpcopyup, which other runtimes have), and gives it that directory's
// owner, unless its options name one. It is not attached yet, so that nobody
// sees or changes what is being made. Its size bounds the copy.
func (e *Env) copyUp(m *mount, place *rootfs.Place) error {
	if !m.opt.copyUp {
		return nil
	}
	if err := e.Sync(); err != nil {
		return err
	}
	if place.Stat.Errno() != 0 { // asked for in a batch that has run now
		return fmt.Errorf("%s: cannot look at %s: %s", m.where, m.path, place.Stat.Errno().Error())
	}
	err := rootfs.Copy(e.K, m.field+".options", place.H, m.h)
	if err = hint(err, unix.ENOSPC, "what "+m.path+" has does not fit into the tmpfs: see its options size and nr_inodes"); err != nil {
		return err
	}
	uid, gid := place.Stat.UID(), place.Stat.GID()
	for _, o := range m.opt.super {
		switch key, _, _ := strings.Cut(o, "="); key { // -1 leaves what the option says
		case "uid":
			uid = ^uint32(0)
		case "gid":
			gid = ^uint32(0)
		}
	}
	e.B.For(m.field+".options", "cannot set the owner of the tmpfs for "+m.path)
	e.B.Fchown(m.h, uid, gid)
	return nil
}
