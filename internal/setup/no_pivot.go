package setup

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// hideOldProc takes the proc and sysfs mounts of the old root away, which stays
// in the namespace below the new one without a pivot: a process that gets there
// would find them without the masks of the container's, and the kernel would
// allow new ones in a user namespace because these are fully visible. A mount
// that cannot be detached is covered.
func (e *Env) hideOldProc() error {
	e.B.For("root.path", "cannot look for proc file systems outside of the root (--no-pivot)")
	top := e.B.Stat(e.root)
	table := e.B.Openat2(kernel.CWD(), "/proc/self/mountinfo", unix.O_RDONLY, 0, 0)
	var text strings.Builder
	for {
		part := e.B.Read(table, 64<<10)
		if err := e.Sync(); err != nil {
			return err
		}
		if len(part.Bytes()) == 0 {
			break
		}
		text.Write(part.Bytes())
		e.B.For("root.path", "cannot look for proc file systems outside of the root (--no-pivot)")
	}
	points := outsideProc(text.String(), top.MountID())
	e.B.Close(table)
	detached := make([]kernel.Handle, len(points))
	for i, p := range points {
		e.B.For("root.path", "cannot detach "+p+" outside of the root (--no-pivot)")
		e.B.Umount(p, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		detached[i] = e.B.Allow(unix.EINVAL, unix.EPERM, unix.ENOENT).Last()
	}
	if err := e.Sync(); err != nil {
		return err
	}
	for i, p := range points {
		if n := detached[i].Errno(); n == unix.EINVAL || n == unix.EPERM {
			e.B.For("root.path", "cannot cover "+p+" outside of the root (--no-pivot)")
			at := e.B.Openat2(kernel.CWD(), p, unix.O_PATH|unix.O_DIRECTORY, 0, 0)
			e.B.MoveMount(e.emptyDir(), at).Close(at)
		}
	}
	return nil
}

// outsideProc lists the mount points of whole proc and sysfs file systems in
// proc_pid_mountinfo(5) text that do not lie in the mount top or below it, the
// deepest first.
func outsideProc(text string, top uint64) []string {
	parents := map[uint64]uint64{}
	points := map[uint64]string{}
	var order []uint64
	for _, m := range parseMounts(text) {
		parents[m.id] = m.parent
		if (m.fstype == "proc" || m.fstype == "sysfs") && m.root == "/" {
			points[m.id] = m.point
			order = append(order, m.id)
		}
	}
	var list []string
	for i := len(order) - 1; i >= 0; i-- {
		id := order[i]
		for steps := 0; id != 0 && id != top && steps < len(parents); steps++ {
			id = parents[id]
		}
		if id != top {
			list = append(list, points[order[i]])
		}
	}
	return list
}

// mountLine is a line of proc_pid_mountinfo(5).
type mountLine struct {
	id, parent          uint64
	root, point, fstype string
}

func parseMounts(text string) []mountLine {
	var list []mountLine
	for line := range strings.Lines(text) {
		left, right, ok := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 1 {
			continue
		}
		m := mountLine{root: l[3], point: unescape(l[4]), fstype: r[0]}
		m.id, _ = strconv.ParseUint(l[0], 10, 64)
		m.parent, _ = strconv.ParseUint(l[1], 10, 64)
		list = append(list, m)
	}
	return list
}

// unescape takes back the \ooo of white space and backslashes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
