package kernel

import (
	"bytes"
	"encoding/binary"
	"strconv"

	"golang.org/x/sys/unix"
)

// How a path is resolved below a directory (openat2(2), 5.6).
const (
	InRoot     = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	InRootReal = InRoot | unix.RESOLVE_NO_SYMLINKS // no link on the way
	Beneath    = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV
)

// Openat2 adds openat2(2): opens path below dir. O_CLOEXEC is added.
func (b *Batch) Openat2(dir Handle, path string, flags, mode, resolve uint64) Handle {
	var how [24]byte
	binary.NativeEndian.PutUint64(how[:], flags|unix.O_CLOEXEC)
	binary.NativeEndian.PutUint64(how[8:], mode)
	binary.NativeEndian.PutUint64(how[16:], resolve)
	if b.how == nil || !bytes.Equal(b.how.Bytes, how[:]) {
		b.how = &Mem{Bytes: bytes.Clone(how[:]), Note: openHow}
	}
	return b.open(path, "openat2", unix.SYS_OPENAT2, ref(dir), b.text(path), Arg{Mem: b.how}, num(len(how)))
}

// openHow prints struct open_how.
func openHow(mem []byte) string {
	word := func(i int) uint64 { return binary.NativeEndian.Uint64(mem[8*i:]) }
	return "{" + openFlags(word(0)) + ", 0" + strconv.FormatUint(word(1), 8) + ", " + resolveFlags(word(2)) + "}"
}

func openFlags(n uint64) string {
	s := flags(n&^unix.O_CLOEXEC&^unix.O_ACCMODE, func() []flag {
		return []flag{{unix.O_PATH, "O_PATH"}, {unix.O_DIRECTORY, "O_DIRECTORY"}, {unix.O_NOFOLLOW, "O_NOFOLLOW"},
			{unix.O_CREAT, "O_CREAT"}, {unix.O_EXCL, "O_EXCL"}, {unix.O_NONBLOCK, "O_NONBLOCK"}, {unix.O_NOCTTY, "O_NOCTTY"}}
	})
	access := []string{"O_RDONLY", "O_WRONLY", "O_RDWR", "3"}[n&unix.O_ACCMODE]
	if s == "0x0" {
		return access
	}
	if access == "O_RDONLY" && n&unix.O_PATH != 0 {
		return s
	}
	return access + "|" + s
}

func resolveFlags(n uint64) string {
	return flags(n, func() []flag {
		return []flag{{unix.RESOLVE_IN_ROOT, "IN_ROOT"}, {unix.RESOLVE_BENEATH, "BENEATH"}, {unix.RESOLVE_NO_MAGICLINKS, "NO_MAGICLINKS"},
			{unix.RESOLVE_NO_SYMLINKS, "NO_SYMLINKS"}, {unix.RESOLVE_NO_XDEV, "NO_XDEV"}}
	})
}

// Close adds close(2).
func (b *Batch) Close(h Handle) *Batch {
	if b.Hoard {
		b.omitted = true
		return b
	}
	b.add("close", unix.SYS_CLOSE, ref(h))
	return b
}

// Mkdirat adds mkdirat(2). name is one component.
func (b *Batch) Mkdirat(dir Handle, name string, mode uint32) *Batch {
	b.add("mkdirat", unix.SYS_MKDIRAT, ref(dir), b.text(name), num(mode))
	return b
}

// Mknodat adds mknodat(2). name is one component; mode has the type bits.
func (b *Batch) Mknodat(dir Handle, name string, mode uint32, dev uint64) *Batch {
	b.add("mknodat", unix.SYS_MKNODAT, ref(dir), b.text(name), num(mode), num(dev))
	return b
}

// Symlinkat adds symlinkat(2). name is one component.
func (b *Batch) Symlinkat(target string, dir Handle, name string) *Batch {
	b.add("symlinkat", unix.SYS_SYMLINKAT, b.text(target), ref(dir), b.text(name))
	return b
}

// Unlinkat adds unlinkat(2). name is one component.
func (b *Batch) Unlinkat(dir Handle, name string, flags int) *Batch {
	b.add("unlinkat", unix.SYS_UNLINKAT, ref(dir), b.text(name), num(flags))
	return b
}

// Fchown adds fchownat(2) on an open file.
func (b *Batch) Fchown(h Handle, uid, gid uint32) *Batch {
	b.add("fchownat", unix.SYS_FCHOWNAT, ref(h), b.text(""), num(int32(uid)), num(int32(gid)), num(unix.AT_EMPTY_PATH))
	return b
}

// Fchmodat adds fchmodat(2): it follows a symbolic link, so name must be one
// component that the caller has just made in a directory nobody else sees.
func (b *Batch) Fchmodat(dir Handle, name string, mode uint32) *Batch {
	b.add("fchmodat", unix.SYS_FCHMODAT, ref(dir), b.text(name), num(mode))
	return b
}

// Faccessat2 adds faccessat2(2) (5.8): may the caller's effective ids execute
// (X_OK) the file?
func (b *Batch) Faccessat2(dir Handle, path string, mode int, flags int) *Batch {
	b.add("faccessat2", unix.SYS_FACCESSAT2, ref(dir), b.text(path), num(mode), num(flags))
	return b
}

// Fchdir adds fchdir(2).
func (b *Batch) Fchdir(h Handle) *Batch {
	b.add("fchdir", unix.SYS_FCHDIR, ref(h))
	return b
}

// Chdir adds chdir(2).
func (b *Batch) Chdir(path string) *Batch {
	b.add("chdir", unix.SYS_CHDIR, b.text(path))
	return b
}

// ChrootCwd adds chroot(".").
func (b *Batch) ChrootCwd() *Batch {
	b.add("chroot", unix.SYS_CHROOT, b.text("."))
	return b
}

// Buffer is memory that a call filled.
type Buffer struct {
	mem []byte
	n   Handle
}

// Bytes returns what was read, nothing if the call failed.
func (f *Buffer) Bytes() []byte { return f.mem[:f.n.Count(len(f.mem))] }

// Errno returns the call's error, 0 if it succeeded.
func (f *Buffer) Errno() unix.Errno { return f.n.Errno() }

// Read adds read(2) of up to size bytes.
func (b *Batch) Read(h Handle, size int) *Buffer {
	f := &Buffer{mem: make([]byte, size)}
	f.n = b.add("read", unix.SYS_READ, ref(h), b.fill(f.mem), num(size)).Result
	return f
}

// Write adds write(2). Fewer bytes than given are an error where it matters:
// the files of /proc and pipes take short texts whole.
func (b *Batch) Write(h Handle, data string) *Batch {
	b.add("write", unix.SYS_WRITE, ref(h), b.text(data), num(len(data)))
	return b
}

// Readlinkat adds readlinkat(2) on an open symbolic link.
func (b *Batch) Readlinkat(h Handle) *Buffer {
	f := &Buffer{mem: make([]byte, unix.PathMax)}
	f.n = b.add("readlinkat", unix.SYS_READLINKAT, ref(h), b.text(""), b.fill(f.mem), num(len(f.mem))).Result
	return f
}

// Getcwd adds getcwd(2).
func (b *Batch) Getcwd() *Buffer {
	f := &Buffer{mem: make([]byte, unix.PathMax)}
	f.n = b.add("getcwd", unix.SYS_GETCWD, b.fill(f.mem), num(len(f.mem))).Result
	return f
}

// Stat is what statx(2) said of a file. Its methods are meaningful after the
// batch has run.
type Stat struct {
	mem [256]byte
	n   Handle
}

// Stat adds statx(2) (mount ids: 5.8) on an open file.
func (b *Batch) Stat(h Handle) *Stat { return b.statx(h, "", unix.AT_EMPTY_PATH) }

// StatAt adds statx(2) on one component of a directory, not following a link.
func (b *Batch) StatAt(dir Handle, name string) *Stat {
	return b.statx(dir, name, unix.AT_SYMLINK_NOFOLLOW)
}

func (b *Batch) statx(h Handle, name string, flags int) *Stat {
	s := slab(&b.stored().stats, max(b.Expect/8, 2))
	s.n = b.add("statx", unix.SYS_STATX, ref(h), b.text(name), num(flags|unix.AT_NO_AUTOMOUNT),
		num(unix.STATX_BASIC_STATS|unix.STATX_MNT_ID), b.out(s.mem[:])).Result
	return s
}

// Errno returns the call's error, 0 if it succeeded.
func (s *Stat) Errno() unix.Errno { return s.n.Errno() }

// Mode returns the file's type and permissions (inode(7)).
func (s *Stat) Mode() uint32 { return uint32(binary.NativeEndian.Uint16(s.mem[28:])) }

// Type returns the file's type bits.
func (s *Stat) Type() uint32 { return s.Mode() & unix.S_IFMT }

// Ino returns the inode number.
func (s *Stat) Ino() uint64 { return binary.NativeEndian.Uint64(s.mem[32:]) }

// Size returns the file's size in bytes.
func (s *Stat) Size() uint64 { return binary.NativeEndian.Uint64(s.mem[40:]) }

// Rdev returns the numbers of the device that the file is.
func (s *Stat) Rdev() (major, minor uint32) {
	return binary.NativeEndian.Uint32(s.mem[128:]), binary.NativeEndian.Uint32(s.mem[132:])
}

// Dev returns the number of the file system's device.
func (s *Stat) Dev() uint64 {
	return unix.Mkdev(binary.NativeEndian.Uint32(s.mem[136:]), binary.NativeEndian.Uint32(s.mem[140:]))
}

// MountID returns the id of the mount that the file was opened in.
func (s *Stat) MountID() uint64 { return binary.NativeEndian.Uint64(s.mem[144:]) }

// SameFile reports whether the file is the same as another, in whatever mount.
func (s *Stat) SameFile(other *Stat) bool { return s.Dev() == other.Dev() && s.Ino() == other.Ino() }

// IsOneOf reports whether the file is the same as another in the same mount.
func (s *Stat) IsOneOf(list []*Stat) bool {
	for _, other := range list {
		if s.MountID() == other.MountID() && s.Ino() == other.Ino() {
			return true
		}
	}
	return false
}

// Fake fills in what a recorder answers: mode and mount id.
func (s *Stat) Fake(mode uint16, mount uint64) {
	FakeStatx(s.mem[:], mode, mount)
}

// FakeStatx writes a struct statx of that mode and mount id. For recorders.
func FakeStatx(mem []byte, mode uint16, mount uint64) {
	binary.NativeEndian.PutUint16(mem[28:], mode)
	binary.NativeEndian.PutUint64(mem[144:], mount)
}

// Statfs is what fstatfs(2) said of a file system.
type Statfs struct {
	mem [120]byte
	n   Handle
}

// Fstatfs adds fstatfs(2).
func (b *Batch) Fstatfs(h Handle) *Statfs {
	s := &Statfs{}
	s.n = b.add("fstatfs", unix.SYS_FSTATFS, ref(h), b.out(s.mem[:])).Result
	return s
}

// Type returns the file system's magic number. f_type is the first word of
// struct statfs on every 64-bit architecture.
func (s *Statfs) Type() int64 { return int64(binary.NativeEndian.Uint64(s.mem[:])) }

// Flags returns ST_RDONLY and the like, of the mount and of the file system (f_flags,
// 2.6.36). Those that mount_setattr(2) knows bear the same numbers there.
func (s *Statfs) Flags() uint64 { return binary.NativeEndian.Uint64(s.mem[80:]) }

// UID returns the file's owner.
func (s *Stat) UID() uint32 { return binary.NativeEndian.Uint32(s.mem[20:]) }

// StatPath adds statx(2) on a path as the executing process sees it, following
// links.
func (b *Batch) StatPath(path string) *Stat { return b.statx(CWD(), path, 0) }
