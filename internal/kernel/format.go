package kernel

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// formats says how the arguments of each call are printed, one letter an
// argument: h descriptor, d decimal, x hexadecimal, o octal, p memory, and
// the flag sets O (openat2), T (open_tree), M (move_mount), A (AT_ flags),
// m (mount attributes), c (fsconfig command), g (fcntl command), n (namespaces).
// The recorder's conformance test refuses a call that is missing here.
func format(name string) (string, bool) {
	switch name {
	case "capset", "rt_sigprocmask", "getcwd":
		return "pppd", true
	case "chdir", "chroot":
		return "p", true
	case "clone":
		return "xdpdd", true
	case "close":
		return "h", true
	case "close_range":
		return "ddx", true
	case "dup3":
		return "hhx", true
	case "execve":
		return "ppp", true
	case "exit_group", "umask", "setsid", "getpid", "getppid", "getuid":
		return "o", true
	case "faccessat2":
		return "hpdx", true
	case "fchdir":
		return "h", true
	case "fchmodat2", "fchmodat":
		return "hpoA", true
	case "fchownat":
		return "hpddA", true
	case "fcntl":
		return "hg", true
	case "fsconfig":
		return "hcpph", true
	case "fsmount":
		return "hxm", true
	case "fsopen":
		return "px", true
	case "fstatfs":
		return "hp", true
	case "futex":
		return "pdddpd", true
	case "ftruncate":
		return "hd", true
	case "fgetxattr":
		return "hppd", true
	case "flistxattr", "getdents64":
		return "hpd", true
	case "fsetxattr":
		return "hppdx", true
	case "ioctl":
		return "hxp", true
	case "ioprio_set":
		return "dhx", true
	case "keyctl":
		return "dppdd", true
	case "linkat":
		return "hphpA", true
	case "lseek":
		return "hdd", true
	case "mkdirat":
		return "hpo", true
	case "mknodat":
		return "hpox", true
	case "mount_setattr":
		return "hpApd", true
	case "move_mount":
		return "hphpM", true
	case "open_tree":
		return "hpT", true
	case "openat2":
		return "hppd", true
	case "personality":
		return "x", true
	case "pivot_root":
		return "pp", true
	case "ppoll":
		return "pdpdd", true
	case "prctl":
		return "dxxxx", true
	case "prlimit64":
		return "hdpp", true
	case "read", "write":
		return "hpd", true
	case "readlinkat":
		return "hppd", true
	case "sched_setaffinity":
		return "ddp", true
	case "sched_setattr":
		return "hpx", true
	case "seccomp":
		return "dxp", true
	case "sendfile":
		return "hhpd", true
	case "sendmsg", "recvmsg":
		return "hpx", true
	case "set_mempolicy":
		return "xpd", true
	case "setgroups":
		return "dp", true
	case "sethostname", "setdomainname":
		return "pd", true
	case "setns":
		return "hn", true
	case "setresuid", "setresgid":
		return "ddd", true
	case "socket":
		return "ddd", true
	case "socketpair":
		return "dxdp", true
	case "statx":
		return "hpAxp", true
	case "symlinkat":
		return "php", true
	case "umount2":
		return "px", true
	case "unlinkat":
		return "hpA", true
	case "wait4":
		return "hpxp", true
	case "unshare":
		return "n", true
	case "utimensat":
		return "hppA", true
	}
	return "xxxxxx", false
}

// Known reports whether the call has an argument format.
func Known(name string) bool {
	_, ok := format(name)
	return ok
}

// String prints the call as strace does, with labels in place of numbers for
// descriptors.
func (c *Call) String() string {
	kinds, _ := format(c.Name)
	last := -1
	for i, a := range c.Args {
		if a.Kind() != Int || a.N != 0 {
			last = i
		}
	}
	last = max(last, len(kinds)-1)
	if n := arity(c.Name); n >= 0 {
		last = n - 1
	}
	var s strings.Builder
	s.WriteString(c.Name + "(")
	for i := 0; i <= last; i++ {
		if i > 0 {
			s.WriteString(", ")
		}
		kind := byte('x')
		if i < len(kinds) {
			kind = kinds[i]
		}
		s.WriteString(c.Args[i].format(kind))
	}
	s.WriteString(")")
	return s.String()
}

// arity is the number of arguments of calls whose format string has more.
func arity(name string) int {
	switch name {
	case "setsid", "getpid", "getppid", "getuid":
		return 0
	case "capset", "getcwd":
		return 2
	}
	return -1
}

func (a Arg) format(kind byte) string {
	switch a.Kind() {
	case Ref:
		return "<" + a.H.Label() + ">"
	case Memory:
		return a.Mem.String()
	}
	switch kind {
	case 'p':
		if a.N == 0 {
			return "NULL"
		}
		return "0x" + strconv.FormatUint(a.N, 16)
	case 'o':
		return "0" + strconv.FormatUint(a.N, 8)
	case 'd', 'h':
		return strconv.FormatInt(int64(int32(a.N)), 10)
	case 'T':
		return flags(a.N, treeFlags)
	case 'M':
		return flags(a.N, moveFlags)
	case 'A':
		return flags(a.N, atFlags)
	case 'm':
		return flags(a.N, attrFlags)
	case 'n':
		return flags(a.N, namespaceFlags)
	case 'c':
		return fsconfigCommand(a.N)
	case 'g':
		return fcntlCommand(a.N)
	}
	return "0x" + strconv.FormatUint(a.N, 16)
}

// String prints memory as the recorder shows it.
func (m *Mem) String() string {
	switch {
	case m.Note != nil:
		return m.Note(m.Bytes)
	case m.Out:
		return "[out " + strconv.Itoa(len(m.Bytes)) + "]"
	case m.Text:
		return quote(m.Bytes[:len(m.Bytes)-1])
	case len(m.Refs) > 0:
		parts := make([]string, len(m.Refs))
		for i, r := range m.Refs {
			parts[i] = r.To.String()
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return "[in " + strconv.Itoa(len(m.Bytes)) + "]"
}

type flag struct {
	bit  uint64
	name string
}

func flags(n uint64, set func() []flag) string {
	var parts []string
	for _, f := range set() {
		if n&f.bit != 0 {
			parts = append(parts, f.name)
			n &^= f.bit
		}
	}
	if n != 0 || len(parts) == 0 {
		parts = append(parts, "0x"+strconv.FormatUint(n, 16))
	}
	return strings.Join(parts, "|")
}

func treeFlags() []flag {
	return append([]flag{{unix.OPEN_TREE_CLONE, "OPEN_TREE_CLONE"}, {unix.OPEN_TREE_CLOEXEC, "OPEN_TREE_CLOEXEC"}}, atFlags()...)
}

func atFlags() []flag {
	return []flag{{unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"}, {unix.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"},
		{unix.AT_RECURSIVE, "AT_RECURSIVE"}, {unix.AT_REMOVEDIR, "AT_REMOVEDIR"}, {unix.AT_NO_AUTOMOUNT, "AT_NO_AUTOMOUNT"}}
}

func moveFlags() []flag {
	return []flag{{unix.MOVE_MOUNT_F_EMPTY_PATH, "MOVE_MOUNT_F_EMPTY_PATH"}, {unix.MOVE_MOUNT_T_EMPTY_PATH, "MOVE_MOUNT_T_EMPTY_PATH"}}
}

func attrFlags() []flag {
	return []flag{{unix.MOUNT_ATTR_RDONLY, "MOUNT_ATTR_RDONLY"}, {unix.MOUNT_ATTR_NOSUID, "MOUNT_ATTR_NOSUID"},
		{unix.MOUNT_ATTR_NODEV, "MOUNT_ATTR_NODEV"}, {unix.MOUNT_ATTR_NOEXEC, "MOUNT_ATTR_NOEXEC"},
		{unix.MOUNT_ATTR_NOATIME, "MOUNT_ATTR_NOATIME"}, {unix.MOUNT_ATTR_STRICTATIME, "MOUNT_ATTR_STRICTATIME"},
		{unix.MOUNT_ATTR_NODIRATIME, "MOUNT_ATTR_NODIRATIME"}, {unix.MOUNT_ATTR_IDMAP, "MOUNT_ATTR_IDMAP"},
		{unix.MOUNT_ATTR_NOSYMFOLLOW, "MOUNT_ATTR_NOSYMFOLLOW"}}
}

func namespaceFlags() []flag {
	return []flag{{unix.CLONE_NEWNS, "CLONE_NEWNS"}, {unix.CLONE_NEWCGROUP, "CLONE_NEWCGROUP"}, {unix.CLONE_NEWUTS, "CLONE_NEWUTS"},
		{unix.CLONE_NEWIPC, "CLONE_NEWIPC"}, {unix.CLONE_NEWUSER, "CLONE_NEWUSER"}, {unix.CLONE_NEWPID, "CLONE_NEWPID"},
		{unix.CLONE_NEWNET, "CLONE_NEWNET"}, {unix.CLONE_NEWTIME, "CLONE_NEWTIME"}}
}

func fsconfigCommand(n uint64) string {
	switch n {
	case unix.FSCONFIG_SET_FLAG:
		return "FSCONFIG_SET_FLAG"
	case unix.FSCONFIG_SET_STRING:
		return "FSCONFIG_SET_STRING"
	case unix.FSCONFIG_SET_FD:
		return "FSCONFIG_SET_FD"
	case unix.FSCONFIG_CMD_CREATE:
		return "FSCONFIG_CMD_CREATE"
	}
	return strconv.FormatUint(n, 10)
}

func fcntlCommand(n uint64) string {
	switch n {
	case unix.F_GETFD:
		return "F_GETFD"
	case unix.F_SETFD:
		return "F_SETFD"
	}
	return strconv.FormatUint(n, 10)
}

// maxText bounds how much of a text is printed, which can be a file's content.
const maxText = 256

func quote(text []byte) string {
	if len(text) > maxText {
		return strconv.Quote(string(text[:maxText])) + "…"
	}
	return strconv.Quote(string(text))
}
