package rootfs

import (
	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// Trail is the way to where a path leads, with links resolved.
type Trail struct {
	H     kernel.Handle  // what is at the end; of a path that is missing or leads to the root, not valid
	Stats []*kernel.Stat // of the directories below the root that it lies in, down to itself if it is there
	FS    *kernel.Statfs // that it lies in
}

// Trace finds out where a path leads and which directories are above it: what is
// mounted on one of them hides what was there, whatever paths lead to it. The walk
// is that of Make, and makes nothing.
func (r *Root) Trace(field, p string) (*Trail, error) {
	w := walk{root: r, field: field, path: p, rest: split(p)}
	h, err := w.run(true)
	if err != nil {
		w.refuse(err)
		return nil, err
	}
	b := &kernel.Batch{}
	b.For(field, "cannot look at "+p)
	t := &Trail{Stats: w.stats, FS: b.Fstatfs(h)}
	if w.gone || h == r.Dir {
		h = kernel.Handle{}
	} else {
		t.H = h
	}
	w.closeOthers(b, h)
	return t, r.K.Run(b)
}

// Within reports whether the end of the way is the root of a mount or lies below it,
// given the roots of mounts.
func (t *Trail) Within(roots []*kernel.Stat) bool {
	for _, dir := range t.Stats {
		if dir.IsOneOf(roots) {
			return true
		}
	}
	return false
}

// Locked reports whether what is at the end lies on a read-only mount.
func (t *Trail) Locked() bool { return t.H.Valid() && t.FS.Flags()&unix.ST_RDONLY != 0 }
