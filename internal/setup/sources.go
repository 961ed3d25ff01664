package setup

import (
	"fmt"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/rootfs"
)

// source is the source of one bind mount.
type source struct {
	h      kernel.Handle
	inside bool           // it lies below the root file system
	own    bool           // the copy is one of a mount in the container's mount namespace
	path   string         // on the host; below the root if inside
	below  string         // below the root, of one that lies there and is opened on the host all the same
	at     kernel.Handle  // which that was opened as
	proc   bool           // it is a proc file system
	root   *kernel.Stat   // of the copy
	locked *kernel.Statfs // has the flags that must stay, if options would take one back
	link   *kernel.Buffer // with copy-symlink: what a symbolic link leads to
}

// openSources sorts the sources of bind mounts and opens those of which more has
// to be known than what they are. The others are left to queueSources.
func openSources(e *Env) error {
	e.sources = make([]source, len(e.Spec.Mounts))
	outside, err := e.sortSources()
	if err != nil {
		return err
	}
	e.plain = outside[:0]
	for _, m := range outside {
		if !m.opt.copyLink && !m.idmapped() {
			e.plain = append(e.plain, m)
			continue
		}
		if err := e.openSource(m); err != nil {
			return err
		}
		if s := &e.sources[m.index]; s.h.Valid() { // others are links
			e.keepTree(&s.h)
		}
	}
	if e.treesInside {
		return e.queueSources()
	}
	return nil
}

// openPlainSources lets the container's process open the sources of bind mounts as
// detached copies, while it has tongs' rights and is in the host's namespaces: a
// source that the container's user cannot reach still works, and nothing is looked
// up twice. A source below the root file system can be one that an earlier mount
// provides: it is opened in its turn.
func openPlainSources(e *Env) error {
	if e.treesInside || e.sourcesWithRoot() {
		return nil
	}
	return e.queueSources()
}

// sourcesWithRoot reports whether the sources are opened in the container's own
// mount namespace (attachRoot), where they have the propagation that they need: the
// namespace is a copy of the host's, and the process has all rights of tongs in it.
func (e *Env) sourcesWithRoot() bool {
	return e.newNamespace(specs.MountNamespace) && !e.treesInside && !e.inUserNamespace() && len(e.joins) == 0 && e.Restore == nil && !e.sharesMounts()
}

func (e *Env) queueSources() error {
	if len(e.plain) == 0 {
		return nil
	}
	kinds := make([]*kernel.Statfs, len(e.plain))
	own := e.sourcesWithRoot()
	for i, m := range e.plain {
		e.sources[m.index].own = own
		if err := e.pass(); err != nil {
			return err
		}
		kinds[i] = e.copySource(e.B, m)
	}
	e.B.Check(func() error {
		for i, m := range e.plain {
			e.sources[m.index].judge(m, kinds[i])
		}
		return nil
	})
	return nil
}

// sortSources notes what the sources are and returns the mounts with those that
// lie outside of the root.
func (e *Env) sortSources() (outside []*mount, err error) {
	rootPath := path.Clean(e.hostPath(e.Spec.Root.Path))
	below := rootPath + "/" // nothing is inside of "/"
	own := e.hasNamespace("mount") && rootPath != "/"
	for _, m := range e.plan() {
		if !m.opt.bind {
			continue
		}
		s := &e.sources[m.index]
		if m.Source == "" {
			return nil, fmt.Errorf("%s.source: required for a bind mount", m.field)
		}
		s.path = e.hostPath(m.Source)
		if clean := path.Clean(s.path); own && strings.HasPrefix(clean, below) {
			if inRoot := strings.TrimPrefix(clean, rootPath); m.idmapped() {
				s.below = inRoot
			} else {
				s.inside, s.path = true, inRoot
				continue
			}
		}
		outside = append(outside, m)
	}
	return outside, nil
}

func (e *Env) openSource(m *mount) error {
	s := &e.sources[m.index]
	p := s.path
	if m.opt.copyLink {
		if err := e.openBelow(m, true); err != nil {
			return err
		}
		b := e.onHost()
		b.For(m.field+".source", "cannot look at "+p)
		h := s.at
		if !h.Valid() {
			h = b.Openat2(kernel.CWD(), p, unix.O_PATH|unix.O_NOFOLLOW, 0, 0)
		}
		if err := m.readLink(e.trees, b, s, h); err != nil || s.link != nil {
			return err
		}
	}
	if err := e.openBelow(m, m.opt.linkSource); err != nil {
		return err
	}
	b := e.onHost()
	fs := e.copySource(b, m)
	if err := e.trees.Run(b); err != nil {
		return err
	}
	s.judge(m, fs)
	if m.idmapped() {
		return e.mapIDs(m, s.h, p)
	}
	return nil
}

// openBelow opens the source of an idmapped mount that lies below the root file system
// before that is the container's: links there are the image's, and lead within the root.
func (e *Env) openBelow(m *mount, itself bool) error {
	s := &e.sources[m.index]
	if s.below == "" {
		return nil
	}
	p := e.hostPath(e.Spec.Root.Path)
	b := e.onHost()
	b.For("root.path", "cannot open "+p)
	root := &rootfs.Root{K: e.trees, Dir: b.Openat2(kernel.CWD(), p, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0, 0)}
	there := b.Stat(root.Dir)
	b.ForPath(m.field+".source", "cannot open", s.path)
	look := root.Follow
	if itself {
		look = root.Itself
	}
	src := look(b, s.below)
	if err := e.trees.Run(b); err != nil {
		return err
	}
	if !there.SameFile(e.rootDir) {
		return errRootMoved
	}
	if err := root.Settle(m.field+".source", src); err != nil {
		return err
	}
	if n := src.Errno(); n != 0 {
		return m.unopened(n)
	}
	s.at = src.H
	b = e.onHost()
	b.For("root.path", "cannot close "+p)
	b.Close(root.Dir)
	return e.trees.Run(b)
}

func (m *mount) unopened(n unix.Errno) error {
	return fmt.Errorf("%s.source: cannot open %s: %s (%s)", m.field, m.Source, n.Error(), unix.ErrnoName(n))
}

// copySource adds the calls that open the source of a mount. The result is nil if
// its file system does not matter.
func (e *Env) copySource(b *kernel.Batch, m *mount) *kernel.Statfs {
	s := &e.sources[m.index]
	b.ForPath(m.field+".source", "cannot open", s.path)
	flags := m.treeFlags()
	if e.Locks() {
		flags |= unix.AT_RECURSIVE // what mounts below cover, copyLocked refuses to show
	}
	if s.at.Valid() {
		s.h = b.OpenTree(s.at, "", flags)
		b.Close(s.at)
	} else {
		s.h = b.OpenTree(kernel.CWD(), s.path, flags)
	}
	s.root = b.Stat(s.h)
	if (m.opt.clear|m.opt.recClear)&lockable != 0 && e.hasNamespace(specs.UserNamespace) && !e.treesInside {
		s.locked = b.Fstatfs(s.h)
	}
	if m.path == "/proc" || e.hasCovered(m.path) {
		return b.Fstatfs(s.h)
	}
	return nil
}

// lockable are flags that the kernel locks on the mounts of a mount namespace which
// is copied for a user namespace (mount_namespaces(7)): to take one back fails then.
const lockable = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC

// keepLocked leaves out of the flags to be taken back those that the source of m has
// and a user namespace must not take back.
func (e *Env) keepLocked(m *mount, clear uint64) uint64 {
	s := &e.sources[m.index]
	if s.locked == nil {
		return clear
	}
	kept := clear & lockable & s.locked.Flags()
	if kept != 0 {
		e.Warn(fmt.Sprintf("%s.options: the flags %s of the host's mount at %s stay: the container has a user namespace", m.field, kernel.AttrNames(kept), s.path))
	}
	return clear &^ kept
}

// judge notes what was opened.
func (s *source) judge(m *mount, fs *kernel.Statfs) {
	m.file = s.root.Type() != unix.S_IFDIR
	s.proc = fs != nil && fs.Type() == unix.PROC_SUPER_MAGIC
}

// hasCovered reports whether masked or read-only paths lie in a directory.
func (e *Env) hasCovered(dir string) bool {
	if l := e.Spec.Linux; e.toCover == nil && l != nil {
		e.toCover = make([]string, 0, len(l.MaskedPaths)+len(l.ReadonlyPaths))
		for _, p := range l.MaskedPaths {
			e.toCover = append(e.toCover, rootfs.Clean(p))
		}
		for _, p := range l.ReadonlyPaths {
			e.toCover = append(e.toCover, rootfs.Clean(p))
		}
	}
	return slices.ContainsFunc(e.toCover, func(p string) bool { return below(p, dir) })
}

// treeFlags are those of open_tree(2) for the source of a bind.
func (m *mount) treeFlags() uint {
	flags := uint(unix.OPEN_TREE_CLONE)
	if m.opt.recursive {
		flags |= unix.AT_RECURSIVE
	}
	if m.opt.linkSource {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	return flags
}

// readLink asks where the source leads, if it is a symbolic link.
func (m *mount) readLink(k kernel.Kernel, b *kernel.Batch, s *source, h kernel.Handle) error {
	st, link := b.Stat(h), b.Readlinkat(h)
	b.Allow(unix.EINVAL, unix.ENOENT) // it is none
	b.Close(h)
	if err := k.Run(b); err != nil {
		return err
	}
	if st.Type() == unix.S_IFLNK {
		s.link, m.file = link, true
	}
	return nil
}

// openNull opens the host's /dev/null, which masks files, as a detached copy
// and checks what it is: the container's own is never used for that
// (CVE-2025-31133).
func openNull(e *Env) error {
	if e.Spec.Linux == nil || len(e.Spec.Linux.MaskedPaths) == 0 {
		return nil
	}
	b := e.onHost()
	b.For("linux.maskedPaths", "cannot open /dev/null of the host")
	e.null = b.OpenTree(kernel.CWD(), "/dev/null", unix.OPEN_TREE_CLONE)
	// A peer of a shared /dev would carry what the container mounts over the
	// mask to the host's /dev/null.
	b.MountSetattr(e.null, 0, kernel.MountAttr{Propagation: unix.MS_PRIVATE})
	st := b.Stat(e.null)
	b.Check(func() error {
		if major, minor := st.Rdev(); st.Type() != unix.S_IFCHR || major != 1 || minor != 3 {
			return fmt.Errorf("linux.maskedPaths: /dev/null of the host is not the null device")
		}
		return nil
	})
	e.keepTree(&e.null)
	return e.trees.Run(b)
}
