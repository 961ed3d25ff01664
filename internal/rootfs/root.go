// Package rootfs is the container's root directory as a handle. The directory
// is opened once; every path of the container is resolved below that handle
// by openat2(2), judged by what was opened, and used through the descriptor
// (rules R1 and R3: no name is used twice, and what was attached is looked
// for where it should be).
//
// What it deliberately does not do:
//   - It never uses a path of the host's, and never joins one with a path of
//     the container's.
//   - It does not protect against a mount that the configuration itself asks
//     for; it protects the configuration from the content of the root.
package rootfs

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// Root is the root directory of one container.
type Root struct {
	K   kernel.Kernel // executes in the container's namespaces
	Dir kernel.Handle // what is on top of the container's root now
}

// Place is a path of the container that has been opened.
type Place struct {
	Path string
	H    kernel.Handle
	Stat *kernel.Stat   // nil of LookHere
	FS   *kernel.Statfs // nil unless somebody has asked
	Top  bool           // of Make: links led to the root directory itself
	Bent bool           // of Make and Through: a link was followed, so the path does not show where it leads
	Made bool           // of Make: the place was missing
	Link bool           // a symbolic link at the end of the path, or mounted there, is meant itself

	// Refused says why, if it is set, when the kernel does not attach a mount here
	// (EINVAL): if one of them is a directory and the other is not.
	Refused func() error

	dir   kernel.Handle // what was opened below it, and how
	rel   string
	flags uint64
}

// Clean returns the path as an absolute one without dots or double slashes. A
// relative path counts from the root.
func Clean(p string) string {
	if !path.IsAbs(p) {
		p = "/" + p
	}
	return path.Clean(p)
}

// Look adds calls that open a path as it stands: no link may lie on the way,
// nothing is made. The Place tells, once the batch has run, what was there.
func (r *Root) Look(b *kernel.Batch, p string) *Place {
	return r.open(b, p, kernel.InRootReal)
}

// LookHere is Look for what lies in the root's own mount (EXDEV otherwise). What it
// is, is not asked.
func (r *Root) LookHere(b *kernel.Batch, p string) *Place {
	h := b.Openat2(r.Dir, p, unix.O_PATH, 0, kernel.InRootReal|unix.RESOLVE_NO_XDEV)
	b.Allow()
	return &Place{Path: p, H: h}
}

// Follow is Look that follows links, inside of the root. The kernel may have
// had to give up: Settle before the Place is judged.
func (r *Root) Follow(b *kernel.Batch, p string) *Place {
	return r.open(b, p, kernel.InRoot)
}

// LookIn is Look from a mount in which the path p is rel: it finds what lies
// there even if p leads elsewhere by now.
func (r *Root) LookIn(b *kernel.Batch, mount kernel.Handle, rel, p string) *Place {
	pl := open(b, mount, rel, unix.O_PATH, kernel.InRootReal)
	pl.Path = p
	return pl
}

// Through is Follow for a Place of Look or LookIn that has a link on its way (ELOOP).
func (p *Place) Through(b *kernel.Batch) {
	again := open(b, p.dir, p.rel, p.flags, kernel.InRoot)
	p.H, p.Stat, p.Bent = again.H, again.Stat, true
}

// Itself is Follow that does not follow a link at the end of the path.
func (r *Root) Itself(b *kernel.Batch, p string) *Place {
	return open(b, r.Dir, p, unix.O_PATH|unix.O_NOFOLLOW, kernel.InRoot)
}

func (r *Root) open(b *kernel.Batch, p string, resolve uint64) *Place {
	return open(b, r.Dir, p, unix.O_PATH, resolve)
}

func open(b *kernel.Batch, dir kernel.Handle, p string, flags, resolve uint64) *Place {
	h := b.Openat2(dir, p, flags, 0, resolve)
	b.Allow()
	st := b.Stat(h)
	b.Allow()
	return &Place{Path: p, H: h, Stat: st, dir: dir, rel: p, flags: flags}
}

// maxTries bounds how often a path is opened again.
const maxTries = 64

// Settle opens a Place of Follow again for as long as the kernel gave up: it
// does not follow ".." of a link while anything is renamed or mounted
// anywhere on the machine, since it could not tell whether that leads out of the
// root (EAGAIN, openat2(2)).
func (r *Root) Settle(field string, pl *Place) error {
	for try := 0; pl.H.Errno() == unix.EAGAIN && try < maxTries; try++ {
		b := &kernel.Batch{}
		b.For(field, "cannot look up "+pl.Path)
		again := open(b, pl.dir, pl.rel, pl.flags, kernel.InRoot)
		if err := r.K.Run(b); err != nil {
			return err
		}
		pl.H, pl.Stat = again.H, again.Stat
	}
	return nil
}

// Errno says why the path could not be opened or looked at, 0 if it was.
func (p *Place) Errno() unix.Errno {
	if n := p.H.Errno(); n != 0 || p.Stat == nil {
		return n
	}
	return p.Stat.Errno()
}

// Missing reports whether there was nothing at the path.
func (p *Place) Missing() bool { return p.Errno() == unix.ENOENT || p.Errno() == unix.ENOTDIR }

// IsDir reports whether the place is a directory.
func (p *Place) IsDir() bool { return p.Stat.Type() == unix.S_IFDIR }

// Attach adds calls that put the detached mount m at the place and, right
// behind it, look up the path again: whoever moved a directory on the way
// meanwhile has made the path lead elsewhere, and the batch fails.
func (r *Root) Attach(b *kernel.Batch, field string, m kernel.Handle, at *Place) {
	r.Move(b, field, m, at)
	b.For(field, "cannot look for the mount at "+at.Path)
	r.Expect(b, field, at, b.Stat(m))
}

// Move is Attach for who looks up the path himself (Expect, ExpectInside).
func (r *Root) Move(b *kernel.Batch, field string, m kernel.Handle, at *Place) {
	b.ForPath(field, "cannot attach the mount at", at.Path)
	b.MoveMount(m, at.H)
	if at.Refused != nil {
		moved := b.Allow(unix.EINVAL).Last()
		b.Check(func() error {
			if moved.Errno() == 0 {
				return nil
			}
			return at.Refused()
		})
	}
	b.Close(at.H)
}

// Expect adds calls that check that a path leads to the root of the mount whose
// root is given.
func (r *Root) Expect(b *kernel.Batch, field string, at *Place, root *kernel.Stat) {
	b.ForPath(field, "cannot look for the mount at", at.Path)
	pl := &Place{Path: at.Path, dir: r.Dir, rel: at.Path, flags: unix.O_PATH}
	if at.Link {
		pl.flags |= unix.O_NOFOLLOW
	}
	pl.H = b.Openat2(r.Dir, at.Path, pl.flags, 0, kernel.InRoot)
	b.Allow(unix.EAGAIN)
	pl.Stat = b.Stat(pl.H)
	b.Allow(unix.EBADF)
	b.Close(pl.H).Allow(unix.EBADF)
	b.Check(func() error {
		if pl.H.Errno() == unix.EAGAIN {
			if err := r.expectLater(field, pl); err != nil {
				return err
			}
		}
		return compare(field, at.Path, pl.Stat, []*kernel.Stat{root})
	})
}

// expectLater opens what the kernel could not tell in the batch, and closes it.
func (r *Root) expectLater(field string, pl *Place) error {
	if err := r.Settle(field, pl); err != nil {
		return err
	}
	if n := pl.Errno(); n != 0 {
		return fmt.Errorf("%s: cannot look for the mount at %s: %s (%s)", field, pl.Path, n.Error(), unix.ErrnoName(n))
	}
	b := &kernel.Batch{}
	b.For(field, "cannot look for the mount at "+pl.Path)
	b.Close(pl.H)
	return r.K.Run(b)
}

// OpenInside adds a call that opens an absolute path with the flags of open(2), in a
// process whose root directory the Root is. Other than with Follow the kernel never has
// to give up.
func OpenInside(b *kernel.Batch, p string, flags uint64) kernel.Handle {
	return b.Openat2(kernel.CWD(), p, flags, 0, unix.RESOLVE_NO_MAGICLINKS)
}

// ExpectInside adds calls that check that a path leads to the root of one of the
// mounts whose roots are given, in a process whose root directory the Root is:
// what its program will see.
func ExpectInside(b *kernel.Batch, field, p string, roots ...*kernel.Stat) {
	b.ForPath(field, "cannot look for the mount at", p)
	again := b.StatPath(p)
	b.Check(func() error { return compare(field, p, again, roots) })
}

func compare(field, p string, again *kernel.Stat, roots []*kernel.Stat) error {
	if again.IsOneOf(roots) {
		return nil
	}
	return Elsewhere(field, p)
}

// Elsewhere is the error for a path that does not lead to what was attached there.
func Elsewhere(field, p string) error {
	return fmt.Errorf("%s: the path %s leads elsewhere than to the mount that was just attached there: the root file system is being changed", field, p)
}

// Parent splits a clean path into its directory and its last component.
func Parent(p string) (dir, name string) {
	i := strings.LastIndexByte(p, '/')
	return p[:max(i, 1)], p[i+1:]
}
