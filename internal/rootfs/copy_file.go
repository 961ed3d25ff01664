package rootfs

import (
	"fmt"
	"math"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// finish gives a file what it does not have yet: the rest of its content, its
// owner, mode, attributes and times, in this order: a change of the owner takes
// set-id bits and file capabilities away, writing changes the times.
func (c *copier) finish(b *kernel.Batch, d folder, it *item) error {
	if it.st == nil || it.st.Type() == unix.S_IFDIR {
		return nil
	}
	c.serve(b, d.path+"/"+it.name)
	if it.link != nil {
		b.Symlinkat(string(it.link.Bytes()), d.to, it.name)
		b.Fchownat(d.to, it.name, it.st.UID(), it.st.GID())
	} else {
		b.Fchownat(d.to, it.name, it.st.UID(), it.st.GID())
		b.Fchmodat(d.to, it.name, it.st.Mode()&0o7777)
	}
	if it.src.Valid() {
		if it.st.Type() != unix.S_IFREG {
			return fmt.Errorf("%s: cannot copy %s/%s of the covered directory: it is being replaced", c.field, d.path, it.name)
		}
		if err := c.content(d.path+"/"+it.name, it); err != nil {
			return err
		}
		b.Ftruncate(it.dst, it.st.Size()) // a hole at the end
		if err := c.xattrs(b, d.path+"/"+it.name, it.src, it.dst, it.attrs); err != nil {
			return err
		}
		b.Close(it.src).Close(it.dst)
	}
	b.Utimensat(d.to, it.name, it.st)
	return nil
}

// content copies what begin did not: from one hole to the next.
func (c *copier) content(path string, it *item) error {
	size := int(min(it.st.Size(), math.MaxInt64))
	for at := it.sent.Count(size); at < size; {
		b := c.batch(path)
		start := b.Lseek(it.src, kernel.N(uint64(at)), unix.SEEK_DATA)
		b.Allow(unix.ENXIO) // there is only a hole
		hole := b.Lseek(it.src, kernel.R(start), unix.SEEK_HOLE)
		b.Allow()
		if err := c.k.Run(b); err != nil {
			return err
		}
		from, end := start.Count(size), hole.Count(size)
		if start.Errno() != 0 || hole.Errno() != 0 || end <= from || from < at {
			return nil
		}
		if err := c.piece(path, it, from, end); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// piece copies the bytes from at up to end. A file that has become shorter
// meanwhile has no more.
func (c *copier) piece(path string, it *item, at, end int) error {
	for at < end {
		b := c.batch(path)
		b.Lseek(it.src, kernel.N(uint64(at)), unix.SEEK_SET)
		b.Lseek(it.dst, kernel.N(uint64(at)), unix.SEEK_SET)
		sent := b.Sendfile(it.dst, it.src, int64(min(end-at, transfer)))
		if err := c.k.Run(b); err != nil {
			return err
		}
		n := sent.Count(transfer)
		if n == 0 {
			return nil
		}
		at += n
	}
	return nil
}

// xattrs copies extended attributes. A kind that the target does not know is
// left out: tmpfs has those of users since 6.6.
func (c *copier) xattrs(b *kernel.Batch, path string, from, to kernel.Handle, list *kernel.Buffer) error {
	if list.Errno() == unix.ERANGE {
		again := c.batch(path)
		list = again.Flistxattr(from, maxXattrs)
		if err := c.k.Run(again); err != nil {
			return err
		}
	}
	if len(list.Bytes()) == 0 {
		return nil
	}
	names := strings.Split(strings.TrimSuffix(string(list.Bytes()), "\x00"), "\x00")
	for _, name := range names { // one at a time: each may be large
		one := c.batch(path)
		value := one.Fgetxattr(from, name, maxXattrs)
		one.Allow(unix.ENODATA)
		if err := c.k.Run(one); err != nil {
			return err
		}
		if value.Errno() == 0 {
			b.Fsetxattr(to, name, value.Bytes())
			b.Allow(unix.EOPNOTSUPP)
		}
	}
	return nil
}

// enter copies a directory that begin has made, with all that is in it.
func (c *copier) enter(d folder, it *item) error {
	sub := folder{path: d.path + "/" + it.name, depth: d.depth + 1}
	b := c.batch(sub.path)
	sub.from = b.Openat2(d.from, it.name, reading|unix.O_DIRECTORY, 0, oneStep)
	sub.to = b.Openat2(d.to, it.name, reading|unix.O_DIRECTORY, 0, oneStep)
	if err := c.k.Run(b); err != nil {
		return err
	}
	if err := c.directory(sub); err != nil {
		return err
	}
	b = c.batch(sub.path)
	st := b.Stat(sub.from)
	attrs := b.Flistxattr(sub.from, fewXattrs)
	b.Allow(unix.EOPNOTSUPP, unix.ERANGE)
	if err := c.k.Run(b); err != nil {
		return err
	}
	b = c.batch(sub.path)
	b.Fchownat(d.to, it.name, st.UID(), st.GID())
	b.Fchmodat(d.to, it.name, st.Mode()&0o7777)
	if err := c.xattrs(b, sub.path, sub.from, sub.to, attrs); err != nil {
		return err
	}
	b.Utimensat(d.to, it.name, st)
	b.Close(sub.from).Close(sub.to)
	return c.k.Run(b)
}
