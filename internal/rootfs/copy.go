package rootfs

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// Limits of a copy: how deep directories are copied (each takes two descriptors),
// how many files are under way at once, how much one call transfers (a wait for
// the container's process is bounded), the kernel's own of xattr(7), and what the
// names of most files' attributes fit in.
const (
	maxDepth  = 200
	atOnce    = 48
	transfer  = 16 << 20
	maxXattrs = 64 << 10
	fewXattrs = 1 << 10
	dirBuffer = 32 << 10
)

// reading is how a file to be copied is opened: whatever it has become since it
// was looked at, nothing is followed and nothing blocks.
const reading = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY

// oneStep is how a name in a directory is resolved: it leads to nothing else.
const oneStep = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

// Copy copies all that lies in directory from into the empty directory to:
// content with its holes, owners, modes, times, extended attributes of files and
// directories, names of one file as such; symbolic links, FIFOs, sockets and
// device nodes are made anew, without extended attributes. What disappears before
// it is opened is left out, and so is what is mounted below the directory.
//
// The source is the image's, and may be changed under way. It is walked through
// a detached copy of its mount that is read-only and on which no device can be
// opened; each name is used with the handle of its directory. Nobody else sees
// the target.
func Copy(k kernel.Kernel, field string, from, to kernel.Handle) error {
	c := &copier{k: k, field: field, names: map[inode]string{}}
	b := c.batch("/")
	tree := b.OpenTree(from, "", unix.OPEN_TREE_CLONE)
	b.MountSetattr(tree, 0, kernel.MountAttr{Set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSYMFOLLOW,
		Propagation: unix.MS_PRIVATE})
	b.MountSetattr(tree, 0, kernel.MountAttr{Set: unix.MOUNT_ATTR_NOATIME, Clear: unix.MOUNT_ATTR__ATIME})
	b.Allow(unix.EPERM) // a user namespace cannot change how access times are kept
	d := folder{from: b.Openat2(tree, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0, oneStep)}
	d.to = b.Openat2(to, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0, oneStep)
	if err := k.Run(b); err != nil {
		return err
	}
	c.top = d.to
	if err := c.directory(d); err != nil {
		return err
	}
	b = c.batch("/")
	b.Close(tree).Close(d.from).Close(d.to)
	return k.Run(b)
}

type inode struct{ dev, ino uint64 }

type copier struct {
	k     kernel.Kernel
	field string
	top   kernel.Handle
	names map[inode]string // files with several names: the first that was copied
}

// folder is a directory that is being copied; its path is for texts and for
// names of one file.
type folder struct {
	from, to kernel.Handle
	path     string // without a slash at its end
	depth    int
}

// item is one name in a directory.
type item struct {
	name  string
	h     kernel.Handle // the file itself, which cannot be read
	st    *kernel.Stat
	link  *kernel.Buffer // where a symbolic link leads
	src   kernel.Handle  // an ordinary file: opened
	dst   kernel.Handle
	sent  kernel.Handle
	attrs *kernel.Buffer // names of its extended attributes
}

func (c *copier) serve(b *kernel.Batch, path string) {
	b.For(c.field, "cannot copy "+path+" of the covered directory")
}

func (c *copier) batch(path string) *kernel.Batch {
	b := &kernel.Batch{}
	c.serve(b, path)
	return b
}

func (c *copier) directory(d folder) error {
	if d.depth > maxDepth {
		return fmt.Errorf("%s: cannot copy %s of the covered directory: it is more than %d directories deep", c.field, d.path, maxDepth)
	}
	for {
		b := c.batch(d.path + "/")
		list := b.Getdents(d.from, dirBuffer)
		if err := c.k.Run(b); err != nil {
			return err
		}
		if len(list.Bytes()) == 0 {
			return nil
		}
		for names := list.Names(); len(names) > 0; {
			n := min(len(names), atOnce)
			if err := c.some(d, names[:n]); err != nil {
				return err
			}
			names = names[n:]
		}
	}
}

// some copies some names of a directory, together as far as possible.
func (c *copier) some(d folder, names []string) error {
	items, err := c.look(d, names)
	if err != nil {
		return err
	}
	b := &kernel.Batch{}
	for i := range items {
		c.begin(b, d, &items[i])
	}
	if err := c.k.Run(b); err != nil {
		return err
	}
	b = &kernel.Batch{}
	for i := range items {
		if err := c.finish(b, d, &items[i]); err != nil {
			return err
		}
	}
	if err := c.k.Run(b); err != nil {
		return err
	}
	for i := range items {
		if it := &items[i]; it.st != nil && it.st.Type() == unix.S_IFDIR {
			if err := c.enter(d, it); err != nil {
				return err
			}
		}
	}
	return nil
}

// look finds out what the names are.
func (c *copier) look(d folder, names []string) ([]item, error) {
	b := &kernel.Batch{}
	items := make([]item, len(names))
	for i, name := range names {
		c.serve(b, d.path+"/"+name)
		it := &items[i]
		it.name = name
		it.h = b.Openat2(d.from, name, unix.O_PATH|unix.O_NOFOLLOW, 0, oneStep)
		b.Allow(unix.ENOENT)
		it.st = b.Stat(it.h)
		b.Allow()
	}
	if err := c.k.Run(b); err != nil {
		return nil, err
	}
	kept := items[:0]
	for _, it := range items {
		switch n := it.st.Errno(); {
		case it.h.Errno() != 0:
		case n != 0:
			return nil, fmt.Errorf("%s: cannot look at %s/%s of the covered directory: %s (%s)", c.field, d.path, it.name, n.Error(), unix.ErrnoName(n))
		default:
			kept = append(kept, it)
		}
	}
	return kept, nil
}

// begin makes the file, with the content if it is small.
func (c *copier) begin(b *kernel.Batch, d folder, it *item) {
	path := d.path + "/" + it.name
	c.serve(b, path)
	if it.st.Type() == unix.S_IFDIR {
		b.Mkdirat(d.to, it.name, 0o700)
		b.Close(it.h)
		return
	}
	if it.st.Links() > 1 {
		id := inode{it.st.Dev(), it.st.Ino()}
		if first, ok := c.names[id]; ok {
			b.Linkat(c.top, first, d.to, it.name)
			b.Close(it.h)
			it.st = nil // there is nothing left to do
			return
		}
		c.names[id] = strings.TrimPrefix(path, "/")
	}
	switch it.st.Type() {
	case unix.S_IFLNK:
		it.link = b.Readlinkat(it.h)
	case unix.S_IFREG:
		n := it.st.Size()
		if n > transfer || it.st.Stored() < n {
			n = 0 // in pieces, later
		}
		it.src = b.Openat2(d.from, it.name, reading, 0, oneStep)
		it.st = b.Stat(it.src) // what was opened counts
		it.dst = b.Openat2(d.to, it.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600, oneStep)
		it.sent = b.Sendfile(it.dst, it.src, int64(n))
		it.attrs = b.Flistxattr(it.src, fewXattrs)
		b.Allow(unix.EOPNOTSUPP, unix.ERANGE)
	default:
		major, minor := it.st.Rdev()
		b.Mknodat(d.to, it.name, it.st.Mode(), unix.Mkdev(major, minor))
	}
	b.Close(it.h)
}
