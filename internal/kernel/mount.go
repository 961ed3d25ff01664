package kernel

import (
	"encoding/binary"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// OpenTree adds open_tree(2) (5.2): with OPEN_TREE_CLONE a detached copy of
// the mount at path below dir, or of dir itself if path is empty.
func (b *Batch) OpenTree(dir Handle, path string, flags uint) Handle {
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	label := path
	if path == "" {
		label = dir.Label()
	}
	h := b.open(label, "open_tree", unix.SYS_OPEN_TREE, ref(dir), b.text(path), num(flags|unix.OPEN_TREE_CLOEXEC))
	h.r.tree = true
	return h
}

// MoveMount adds move_mount(2) (5.2): attaches the detached mount from at the
// place that to is open on. Neither is looked up by name.
func (b *Batch) MoveMount(from, to Handle) *Batch {
	b.add("move_mount", unix.SYS_MOVE_MOUNT, ref(from), b.text(""), ref(to), b.text(""),
		num(uint64(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)))
	return b
}

// MoveMountRoot attaches the detached mount from on top of the caller's "/".
func (b *Batch) MoveMountRoot(from Handle) *Batch {
	b.add("move_mount", unix.SYS_MOVE_MOUNT, ref(from), b.text(""), ref(CWD()), b.text("/"),
		num(uint64(unix.MOVE_MOUNT_F_EMPTY_PATH)))
	return b
}

// MountAttr is struct mount_attr of mount_setattr(2) (5.12).
type MountAttr struct {
	Set         uint64 // MOUNT_ATTR_ flags to set
	Clear       uint64 // MOUNT_ATTR_ flags to clear
	Propagation uint64 // MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE or 0
	UserNS      uint64
}

// MountSetattr adds mount_setattr(2) on the mount that h is the root of,
// recursively if flags has AT_RECURSIVE.
func (b *Batch) MountSetattr(h Handle, flags uint, a MountAttr) *Batch {
	return b.mountSetattr(h, "", flags|unix.AT_EMPTY_PATH, a)
}

// MountSetattrRoot adds mount_setattr(2) on the caller's "/".
func (b *Batch) MountSetattrRoot(flags uint, a MountAttr) *Batch {
	return b.mountSetattr(CWD(), "/", flags, a)
}

func (b *Batch) mountSetattr(h Handle, path string, flags uint, a MountAttr) *Batch {
	mem := make([]byte, 32)
	for i, v := range []uint64{a.Set, a.Clear, a.Propagation, a.UserNS} {
		binary.NativeEndian.PutUint64(mem[8*i:], v)
	}
	b.add("mount_setattr", unix.SYS_MOUNT_SETATTR, ref(h), b.text(path), num(flags), b.in(mem, mountAttr), num(len(mem)))
	return b
}

// MountIdmap adds mount_setattr(2) with MOUNT_ATTR_IDMAP (5.12): files of the
// detached mount h, and of those below it if flags has AT_RECURSIVE, have the
// owners that the user namespace maps theirs to. The namespace must have been
// opened by an earlier batch.
func (b *Batch) MountIdmap(h Handle, flags uint, userNS Handle) *Batch {
	n, _, _ := userNS.Number(nil)
	return b.MountSetattr(h, flags, MountAttr{Set: unix.MOUNT_ATTR_IDMAP, UserNS: uint64(n)})
}

// AttrNames are the names of mount attributes (mount_setattr(2)), for texts.
func AttrNames(attrs uint64) string { return flags(attrs, attrFlags) }

// mountAttr prints struct mount_attr: the attributes that are changed.
func mountAttr(mem []byte) string {
	word := func(i int) uint64 { return binary.NativeEndian.Uint64(mem[8*i:]) }
	a := MountAttr{Set: word(0), Clear: word(1), Propagation: word(2)}
	var parts []string
	if a.Set != 0 {
		parts = append(parts, "set="+flags(a.Set, attrFlags))
	}
	if a.Clear != 0 {
		parts = append(parts, "clear="+flags(a.Clear, attrFlags))
	}
	switch a.Propagation {
	case 0:
	case unix.MS_SLAVE:
		parts = append(parts, "propagation=MS_SLAVE")
	case unix.MS_PRIVATE:
		parts = append(parts, "propagation=MS_PRIVATE")
	case unix.MS_SHARED:
		parts = append(parts, "propagation=MS_SHARED")
	case unix.MS_UNBINDABLE:
		parts = append(parts, "propagation=MS_UNBINDABLE")
	default:
		parts = append(parts, "propagation=0x"+strconv.FormatUint(a.Propagation, 16))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// PivotRoot adds pivot_root(".", "."): the current directory, which must be
// the root of a mount, becomes the root; the old root lies on top of it.
func (b *Batch) PivotRoot() *Batch {
	b.add("pivot_root", unix.SYS_PIVOT_ROOT, b.text("."), b.text("."))
	return b
}

// UmountCwd adds umount2(".", MNT_DETACH).
func (b *Batch) UmountCwd() *Batch {
	b.add("umount2", unix.SYS_UMOUNT2, b.text("."), num(unix.MNT_DETACH))
	return b
}

// Umount adds umount2(2) on a path as the executing process sees it.
func (b *Batch) Umount(path string, flags int) *Batch {
	b.add("umount2", unix.SYS_UMOUNT2, b.text(path), num(flags))
	return b
}
