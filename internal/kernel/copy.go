package kernel

import (
	"encoding/binary"
	"strconv"

	"golang.org/x/sys/unix"
)

// Getdents adds getdents64(2) of up to size bytes.
func (b *Batch) Getdents(h Handle, size int) *Buffer {
	f := &Buffer{mem: make([]byte, size)}
	f.n = b.add("getdents64", unix.SYS_GETDENTS64, ref(h), b.fill(f.mem), num(size)).Result
	return f
}

// Names returns the names in what getdents64(2) gave, without the directory
// itself and its parent. Only what a directory can have is returned.
func (f *Buffer) Names() []string {
	const header = 19 // inode, offset, length, type; then the name and a NUL
	var list []string
	for mem := f.Bytes(); len(mem) > header; {
		size := int(binary.NativeEndian.Uint16(mem[16:]))
		if size <= header || size > len(mem) {
			break
		}
		name := unix.ByteSliceToString(mem[header:size])
		if name != "." && name != ".." && isName(name) {
			list = append(list, name)
		}
		mem = mem[size:]
	}
	return list
}

func isName(s string) bool {
	for i := range len(s) {
		if s[i] == '/' {
			return false
		}
	}
	return s != ""
}

// Lseek adds lseek(2). From is an offset, or the result of an earlier call.
func (b *Batch) Lseek(h Handle, from Arg, whence int) Handle {
	return b.add("lseek", unix.SYS_LSEEK, ref(h), from, num(whence)).Result
}

// Sendfile adds sendfile(2) of up to n bytes from where from is to where to is.
func (b *Batch) Sendfile(to, from Handle, n int64) Handle {
	return b.add("sendfile", unix.SYS_SENDFILE, ref(to), ref(from), Arg{}, num(n)).Result
}

// Ftruncate adds ftruncate(2).
func (b *Batch) Ftruncate(h Handle, size uint64) *Batch {
	b.add("ftruncate", unix.SYS_FTRUNCATE, ref(h), num(size))
	return b
}

// Flistxattr adds flistxattr(2) of up to size bytes: names, each ended by a NUL.
func (b *Batch) Flistxattr(h Handle, size int) *Buffer {
	f := &Buffer{mem: make([]byte, size)}
	f.n = b.add("flistxattr", unix.SYS_FLISTXATTR, ref(h), b.fill(f.mem), num(size)).Result
	return f
}

// Fgetxattr adds fgetxattr(2) of up to size bytes.
func (b *Batch) Fgetxattr(h Handle, name string, size int) *Buffer {
	f := &Buffer{mem: make([]byte, size)}
	f.n = b.add("fgetxattr", unix.SYS_FGETXATTR, ref(h), b.text(name), b.fill(f.mem), num(size)).Result
	return f
}

// Fsetxattr adds fsetxattr(2).
func (b *Batch) Fsetxattr(h Handle, name string, value []byte) *Batch {
	mem := Arg{}
	if len(value) > 0 {
		mem = b.in(value, nil)
	}
	b.add("fsetxattr", unix.SYS_FSETXATTR, ref(h), b.text(name), mem, num(len(value)), Arg{})
	return b
}

// Linkat adds linkat(2): name, one component of dir, becomes one more name of
// the file at path below from. No link is followed at its end.
func (b *Batch) Linkat(from Handle, path string, dir Handle, name string) *Batch {
	b.add("linkat", unix.SYS_LINKAT, ref(from), b.text(path), ref(dir), b.text(name), Arg{})
	return b
}

// Fchownat adds fchownat(2) on one component of a directory, not following a
// link.
func (b *Batch) Fchownat(dir Handle, name string, uid, gid uint32) *Batch {
	b.add("fchownat", unix.SYS_FCHOWNAT, ref(dir), b.text(name), num(int32(uid)), num(int32(gid)), num(unix.AT_SYMLINK_NOFOLLOW))
	return b
}

// Utimensat adds utimensat(2) on one component of a directory, not following a
// link: access and modification time become those of s.
func (b *Batch) Utimensat(dir Handle, name string, s *Stat) *Batch {
	mem := make([]byte, 32) // two struct timespec of 64-bit systems
	for i, at := range []int{64, 112} {
		copy(mem[16*i:], s.mem[at:at+8])
		copy(mem[16*i+8:], s.mem[at+8:at+12])
	}
	b.add("utimensat", unix.SYS_UTIMENSAT, ref(dir), b.text(name), b.in(mem, noteTimes), num(unix.AT_SYMLINK_NOFOLLOW))
	return b
}

func noteTimes(mem []byte) string {
	return "{mtime " + strconv.FormatUint(binary.NativeEndian.Uint64(mem[16:]), 10) + "}"
}

// GID returns the file's group.
func (s *Stat) GID() uint32 { return binary.NativeEndian.Uint32(s.mem[24:]) }

// Links returns how many names the file has.
func (s *Stat) Links() uint32 { return binary.NativeEndian.Uint32(s.mem[16:]) }

// Stored returns how many bytes of the file are stored: fewer than its size if
// it has holes.
func (s *Stat) Stored() uint64 { return 512 * binary.NativeEndian.Uint64(s.mem[48:]) }
