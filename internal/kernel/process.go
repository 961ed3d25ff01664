package kernel

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"golang.org/x/sys/unix"
)

// Prctl adds prctl(2).
func (b *Batch) Prctl(option int, args ...uint64) *Batch {
	list := []Arg{num(option), {}, {}, {}, {}}
	for i, a := range args {
		list[i+1] = num(a)
	}
	b.add("prctl", unix.SYS_PRCTL, list...)
	return b
}

// Setsid adds setsid(2).
func (b *Batch) Setsid() *Batch {
	b.add("setsid", unix.SYS_SETSID)
	return b
}

// Umask adds umask(2).
func (b *Batch) Umask(mask uint32) *Batch {
	b.add("umask", unix.SYS_UMASK, num(mask))
	return b
}

// Setgroups adds setgroups(2).
func (b *Batch) Setgroups(gids []uint32) *Batch {
	mem := make([]byte, 4*len(gids))
	for i, g := range gids {
		binary.NativeEndian.PutUint32(mem[4*i:], g)
	}
	list := Arg{}
	if len(gids) > 0 {
		list = b.in(mem, nil)
	}
	b.add("setgroups", unix.SYS_SETGROUPS, num(len(gids)), list)
	return b
}

// Setresuid adds setresuid(2) with one id for all three.
func (b *Batch) Setresuid(uid uint32) *Batch {
	b.add("setresuid", unix.SYS_SETRESUID, num(uid), num(uid), num(uid))
	return b
}

// Setresgid adds setresgid(2) with one id for all three.
func (b *Batch) Setresgid(gid uint32) *Batch {
	b.add("setresgid", unix.SYS_SETRESGID, num(gid), num(gid), num(gid))
	return b
}

// Capset adds capset(2), version 3: bit masks of the effective, permitted and
// inheritable sets of the caller.
func (b *Batch) Capset(effective, permitted, inheritable uint64) *Batch {
	header := make([]byte, 8)
	binary.NativeEndian.PutUint32(header, unix.LINUX_CAPABILITY_VERSION_3)
	data := make([]byte, 24)
	for i, set := range []uint64{effective, permitted, inheritable} {
		binary.NativeEndian.PutUint32(data[4*i:], uint32(set))
		binary.NativeEndian.PutUint32(data[12+4*i:], uint32(set>>32))
	}
	b.add("capset", unix.SYS_CAPSET, b.in(header, nil), b.in(data, nil))
	return b
}

// Prlimit adds prlimit64(2) for another process: sets limit res of pid.
func (b *Batch) Prlimit(pid Handle, res int, soft, hard uint64) *Batch {
	mem := make([]byte, 16)
	binary.NativeEndian.PutUint64(mem, soft)
	binary.NativeEndian.PutUint64(mem[8:], hard)
	b.add("prlimit64", unix.SYS_PRLIMIT64, ref(pid), num(res), b.in(mem, nil), Arg{})
	return b
}

// Limit is what prlimit64(2) said of a limit.
type Limit struct{ mem [16]byte }

// Values returns the limit. It is meaningful after the batch has run.
func (l *Limit) Values() (soft, hard uint64) {
	return binary.NativeEndian.Uint64(l.mem[:]), binary.NativeEndian.Uint64(l.mem[8:])
}

// PrlimitOf adds prlimit64(2) that asks for limit res of pid.
func (b *Batch) PrlimitOf(pid Handle, res int) *Limit {
	l := &Limit{}
	b.add("prlimit64", unix.SYS_PRLIMIT64, ref(pid), num(res), Arg{}, b.out(l.mem[:]))
	return l
}

// SchedSetaffinity adds sched_setaffinity(2) for the caller: mask has a bit for
// each processor. Processors that do not exist, or are not in the caller's
// cpuset, are ignored.
func (b *Batch) SchedSetaffinity(mask []byte) *Batch {
	b.add("sched_setaffinity", unix.SYS_SCHED_SETAFFINITY, num(0), num(len(mask)), b.in(mask, noteMask))
	return b
}

func noteMask(mask []byte) string {
	if bytes.Count(mask, []byte{0xff}) == len(mask) {
		return "all"
	}
	return hex.EncodeToString(mask)
}

// SchedSetattr adds sched_setattr(2) for a process: attr is struct sched_attr.
func (b *Batch) SchedSetattr(pid Handle, attr []byte) *Batch {
	b.add("sched_setattr", unix.SYS_SCHED_SETATTR, ref(pid), b.in(attr, nil), num(0))
	return b
}

// IoprioSet adds ioprio_set(2) for a process.
func (b *Batch) IoprioSet(pid Handle, priority uint64) *Batch {
	const whoProcess = 1 // IOPRIO_WHO_PROCESS
	b.add("ioprio_set", unix.SYS_IOPRIO_SET, num(whoProcess), ref(pid), num(priority))
	return b
}

// Personality adds personality(2).
func (b *Batch) Personality(domain uint64) *Batch {
	b.add("personality", unix.SYS_PERSONALITY, num(domain))
	return b
}

// SetMempolicy adds set_mempolicy(2). The kernel counts the bits of the mask
// from 1 on: it takes one less than the number that it is given.
func (b *Batch) SetMempolicy(mode uint64, nodes []byte) *Batch {
	if len(nodes) == 0 {
		b.add("set_mempolicy", unix.SYS_SET_MEMPOLICY, num(mode), Arg{}, num(0))
		return b
	}
	b.add("set_mempolicy", unix.SYS_SET_MEMPOLICY, num(mode), b.in(nodes, noteNodes), num(8*len(nodes)+1))
	return b
}

// noteNodes prints a mask without the zeros behind its last bit.
func noteNodes(mask []byte) string { return "0x" + hex.EncodeToString(bytes.TrimRight(mask, "\x00")) }

// Keyctl adds keyctl(2) with a string argument and numbers.
func (b *Batch) Keyctl(op int, name string) *Batch {
	b.add("keyctl", unix.SYS_KEYCTL, num(op), b.text(name), Arg{}, Arg{}, Arg{})
	return b
}

// KeyctlKey adds keyctl(2) on a key.
func (b *Batch) KeyctlKey(op int, key Handle, arg uint64) *Batch {
	b.add("keyctl", unix.SYS_KEYCTL, num(op), ref(key), num(arg), Arg{}, Arg{})
	return b
}

// CloseRange adds close_range(2) (5.9; CLOSE_RANGE_CLOEXEC 5.11) from first to
// the last descriptor.
func (b *Batch) CloseRange(first uint, flags uint) *Batch {
	b.add("close_range", unix.SYS_CLOSE_RANGE, num(first), num(^uint32(0)), num(flags))
	return b
}

// Dup3 adds dup3(2): h becomes also descriptor n, flags is 0 or O_CLOEXEC.
func (b *Batch) Dup3(h Handle, n int, flags int) Handle {
	return b.open(h.Label(), "dup3", unix.SYS_DUP3, ref(h), num(n), num(flags))
}

// Execve adds execve(2). It does not return if it succeeds.
func (b *Batch) Execve(path string, args, env []string) *Batch {
	b.add("execve", unix.SYS_EXECVE, b.text(path), b.vector(args), b.vector(env)).NoReturn = true
	return b
}

// ExitGroup adds exit_group(2).
func (b *Batch) ExitGroup(status int) *Batch {
	b.add("exit_group", unix.SYS_EXIT_GROUP, num(status)).NoReturn = true
	return b
}

// Seccomp adds seccomp(2) with SECCOMP_SET_MODE_FILTER: every later call of the
// process goes through the program.
func (b *Batch) Seccomp(flags uint, program []unix.SockFilter) *Batch {
	code := make([]byte, 0, 8*len(program))
	for _, in := range program {
		code = binary.NativeEndian.AppendUint16(code, in.Code)
		code = append(code, in.Jt, in.Jf)
		code = binary.NativeEndian.AppendUint32(code, in.K)
	}
	head := make([]byte, 16) // struct sock_fprog of 64-bit systems
	binary.NativeEndian.PutUint16(head, uint16(len(program)))
	m := Mem{Bytes: head, Refs: []Pointer{{8, &Mem{Bytes: code}}}, Note: func(head []byte) string {
		return "{" + strconv.Itoa(int(binary.NativeEndian.Uint16(head))) + " instructions}"
	}}
	b.add("seccomp", unix.SYS_SECCOMP, num(unix.SECCOMP_SET_MODE_FILTER), num(flags), b.mem(m))
	return b
}

// SeccompAvailable adds seccomp(2) with SECCOMP_GET_ACTION_AVAIL (4.14), which
// fails where the kernel has no filters or not this action of theirs.
func (b *Batch) SeccompAvailable(action uint32) *Batch {
	b.add("seccomp", unix.SYS_SECCOMP, num(unix.SECCOMP_GET_ACTION_AVAIL), num(0), b.in(binary.NativeEndian.AppendUint32(nil, action), nil))
	return b
}

// Ioctl adds ioctl(2) with memory that the call reads, and returns its result.
func (b *Batch) Ioctl(h Handle, request uint, data []byte) Handle {
	return b.add("ioctl", unix.SYS_IOCTL, ref(h), num(request), b.in(data, nil)).Result
}

// IoctlInt adds ioctl(2) with a plain argument; a success is a descriptor
// where the request makes one.
func (b *Batch) IoctlInt(h Handle, request uint, arg uint64) Handle {
	return b.open("ioctl "+h.Label(), "ioctl", unix.SYS_IOCTL, ref(h), num(request), num(arg))
}

// Socket adds socket(2).
func (b *Batch) Socket(domain, kind, protocol int) Handle {
	return b.open("socket", "socket", unix.SYS_SOCKET, num(domain), num(kind|unix.SOCK_CLOEXEC), num(protocol))
}

// Unshare adds unshare(2).
func (b *Batch) Unshare(flags uint64) *Batch {
	b.add("unshare", unix.SYS_UNSHARE, num(flags))
	return b
}

// ForkSibling adds clone(2) with CLONE_PARENT: the caller ends where it
// succeeds, and its child, whose parent is that of the caller, executes what
// follows. It is how a process gets into the PID and time namespaces that it
// can only give to its children. The result is the child's number in the
// caller's PID namespace.
func (b *Batch) ForkSibling() *Tid {
	t := &Tid{}
	c := b.add("clone", unix.SYS_CLONE, num(unix.CLONE_PARENT|unix.CLONE_PARENT_SETTID), Arg{}, b.out(t.mem[:]), Arg{}, Arg{})
	c.ExitPositive = true
	return t
}

// Tid is a process number that a call writes to memory.
type Tid struct{ mem [4]byte }

// PID returns the number, once the batch has run.
func (t *Tid) PID() int { return int(int32(binary.NativeEndian.Uint32(t.mem[:]))) }

// Child returns the number that ForkSibling, as which c was added, has
// written. For kernels.
func (c *Call) Child() int { return (&Tid{[4]byte(c.Args[2].Mem.Bytes)}).PID() }

// Setns adds setns(2): joins the namespace that h is open on.
func (b *Batch) Setns(h Handle, kind uint64) *Batch {
	b.add("setns", unix.SYS_SETNS, ref(h), num(kind))
	return b
}

// Sethostname adds sethostname(2).
func (b *Batch) Sethostname(name string) *Batch {
	b.add("sethostname", unix.SYS_SETHOSTNAME, b.text(name), num(len(name)))
	return b
}

// Setdomainname adds setdomainname(2).
func (b *Batch) Setdomainname(name string) *Batch {
	b.add("setdomainname", unix.SYS_SETDOMAINNAME, b.text(name), num(len(name)))
	return b
}

// KeepOpen adds fcntl(2), F_SETFD: the descriptor stays open in the program that
// is executed.
func (b *Batch) KeepOpen(h Handle) *Batch {
	b.add("fcntl", unix.SYS_FCNTL, ref(h), num(unix.F_SETFD), Arg{})
	return b
}
