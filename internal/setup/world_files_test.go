package setup

import (
	"encoding/binary"
	"hash/fnv"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

func (w *world) openat2(c *kernel.Call) int64 {
	how := c.Args[2].Mem.Bytes
	flags, resolve := binary.NativeEndian.Uint64(how), binary.NativeEndian.Uint64(how[16:])
	dir := w.handle(c, 0)
	if dir == nil {
		return -int64(unix.EBADF)
	}
	p, e := w.walk(dir.path, text(c), flags&unix.O_NOFOLLOW == 0, resolve&unix.RESOLVE_NO_SYMLINKS == 0)
	if e != 0 {
		return -int64(e)
	}
	if resolve&unix.RESOLVE_NO_XDEV != 0 && w.files[p].fs != 0 { // a mount of the root file system's own
		return -int64(unix.EXDEV)
	}
	return w.add(w.at(p))
}

func (w *world) resolve(dir, p string, follow bool) (string, unix.Errno) {
	return w.walk(dir, p, follow, true)
}

// walk resolves p below dir: last says whether a link at the end is followed,
// links whether any may be met.
func (w *world) walk(dir, p string, last, links bool) (string, unix.Errno) {
	if p == "" {
		return dir, 0
	}
	if strings.HasPrefix(p, "/") {
		dir = dir[:strings.IndexByte(dir, '/')+1]
	}
	rest, met := strings.Split(p, "/"), 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == "" || name == "." {
			continue
		}
		before := dir
		dir = under(dir, name)
		switch f := w.at(dir); {
		case f.missing:
			return "", unix.ENOENT
		case f.mode&unix.S_IFMT == unix.S_IFLNK && (last || len(rest) > 0):
			if met++; !links || met > 40 {
				return "", unix.ELOOP
			}
			dir = before
			if f.target[0] == '/' {
				dir = dir[:strings.IndexByte(dir, '/')+1]
			}
			rest = append(strings.Split(f.target, "/"), rest...)
		case len(rest) > 0 && f.mode&unix.S_IFMT != unix.S_IFDIR:
			return "", unix.ENOTDIR
		}
	}
	return dir, 0
}

func under(dir, name string) string {
	i := strings.IndexByte(dir, '/')
	return dir[:i] + path.Join(dir[i:], name)
}

// at is what lies at a path.
func (w *world) at(p string) file {
	f, ok := w.files[p]
	if !ok {
		f.mode = unix.S_IFDIR | 0o755
		if name := path.Base(p); strings.Contains(p, "/bin/") || name == "passwd" {
			f.mode = unix.S_IFREG | 0o755
		}
	}
	f.path, f.base = p, w.base(p)
	for dir := p; ; dir = dir[:max(1, strings.LastIndexByte(dir, '/'))] {
		if h, ok := w.mounted[dir]; ok {
			m := w.open[h]
			f.mount = m.mount
			if f.fs == 0 {
				f.fs = m.fs
			}
			if dir == p && !m.missing {
				f.mode, f.major, f.minor, f.ino = m.mode, m.major, m.minor, m.ino
			} else if f.ino == 0 { // a new file system's root has 0
				hash := fnv.New64a()
				hash.Write([]byte(p))
				f.ino = hash.Sum64()
			}
			return f
		}
		if dir == "/" || !strings.HasPrefix(dir, "/") {
			return f
		}
	}
}

// base is the mount in which the directory of a path lies.
func (w *world) base(p string) uint64 {
	for dir := p; dir != "/" && strings.HasPrefix(dir, "/"); {
		dir = dir[:max(1, strings.LastIndexByte(dir, '/'))]
		if h, ok := w.mounted[dir]; ok {
			return w.open[h].mount
		}
	}
	return 0
}

func (w *world) mountsBelow(dir string) map[string]int64 {
	m := map[string]int64{}
	for p, h := range w.mounted {
		if p != dir && below(p, dir) {
			m[p[len(strings.TrimSuffix(dir, "/")):]] = h
		}
	}
	return m
}

// ofContainer is a path as the container has it: its names begin where its root is
// attached, once it is the root.
func ofContainer(p string) string {
	if p == "/bundle/rootfs" || p == "/run/tongs/root" {
		return "/"
	}
	return p
}

// moveMount makes what is attached visible at the path, and the handle lead
// there. It hides what was mounted below. What is attached to a place that
// something else has been mounted over meanwhile is not seen itself. Whether both are
// directories is compared for who leaves that to the kernel; others may mean files
// that the world takes for directories.
func (w *world) moveMount(c *kernel.Call) int64 {
	from, _, _ := c.Args[0].H.Number(nil)
	to := "/"
	if text(c) == "" {
		place := w.handle(c, 2)
		if to = place.path; place.base != w.base(to) {
			return 0
		}
		if f := w.open[from]; f != nil && c.Tolerates(unix.EINVAL) && (f.mode&unix.S_IFMT == unix.S_IFDIR) != (place.mode&unix.S_IFMT == unix.S_IFDIR) {
			return -int64(unix.EINVAL)
		}
		to = ofContainer(to)
	}
	f := w.open[from]
	if f == nil {
		return 0
	}
	for p := range w.mountsBelow(to) {
		delete(w.mounted, strings.TrimSuffix(to, "/")+p)
	}
	f.path = to
	w.mounted[to] = from
	for p, h := range f.below { // copies, so mounts of their own
		copied := *w.open[h]
		copied.path = strings.TrimSuffix(to, "/") + p
		w.next++
		copied.mount = uint64(w.next)
		w.mounted[copied.path] = w.add(copied)
	}
	return 0
}

func (w *world) put(c *kernel.Call, mode uint16, dev uint64) {
	if mode&unix.S_IFMT == 0 {
		mode |= unix.S_IFREG
	}
	w.files[under(w.handle(c, 0).path, text(c))] = file{mode: mode, major: unix.Major(dev), minor: unix.Minor(dev)}
}

func (w *world) statx(c *kernel.Call) int64 {
	f := w.handle(c, 0)
	if f == nil {
		return -int64(unix.EBADF)
	}
	if t := text(c); t != "" {
		p, e := w.resolve(f.path, t, true)
		if e != 0 {
			return -int64(e)
		}
		found := w.at(ofContainer(p))
		f = &found
	}
	mem := c.Args[4].Mem.Bytes
	kernel.FakeStatx(mem, f.mode, f.mount)
	binary.NativeEndian.PutUint32(mem[20:], f.uid)
	binary.NativeEndian.PutUint64(mem[32:], f.ino)
	binary.NativeEndian.PutUint32(mem[128:], f.major)
	binary.NativeEndian.PutUint32(mem[132:], f.minor)
	binary.NativeEndian.PutUint32(mem[140:], uint32(f.fs)) // each type has one instance
	return 0
}
