package kernel

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// MaxRights is how many descriptors one message can carry (unix(7)).
const MaxRights = 253

// SendFD adds sendmsg(2) of one byte with a descriptor (unix(7), SCM_RIGHTS).
// Its number lies inside of the message, so the call that opened it must have
// been executed before.
func (b *Batch) SendFD(socket, h Handle) *Batch { return b.SendFDs(socket, []Handle{h}) }

// SendFDs is SendFD for several, at most MaxRights. A socket that has no room
// for them is an error.
func (b *Batch) SendFDs(socket Handle, list []Handle) *Batch {
	fds := make([]int, len(list))
	for i, h := range list {
		fds[i] = int(h.r.n)
	}
	control := &Mem{Bytes: unix.UnixRights(fds...)}
	b.add("sendmsg", unix.SYS_SENDMSG, ref(socket), message(&Mem{Bytes: []byte{'f'}}, control), num(unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT))
	return b
}

// Rights are descriptors that were received.
type Rights struct {
	control []byte
	labels  []string
	n       Handle
}

// ReceiveFDs adds recvmsg(2) of one message that SendFDs sent with as many
// descriptors as there are labels, which say what they are.
func (b *Batch) ReceiveFDs(socket Handle, labels []string) *Rights {
	r := &Rights{control: make([]byte, unix.CmsgSpace(4*len(labels))), labels: labels}
	text := &Mem{Bytes: make([]byte, 1), Out: true}
	r.n = b.add("recvmsg", unix.SYS_RECVMSG, ref(socket), message(text, &Mem{Bytes: r.control, Out: true}), num(unix.MSG_CMSG_CLOEXEC)).Result
	return r
}

// message is struct msghdr of 64-bit systems (recvmsg(2)) with one buffer.
func message(text, control *Mem) Arg {
	iov := make([]byte, 16)
	binary.NativeEndian.PutUint64(iov[8:], uint64(len(text.Bytes)))
	msg := make([]byte, 56)
	binary.NativeEndian.PutUint64(msg[24:], 1)
	binary.NativeEndian.PutUint64(msg[40:], uint64(len(control.Bytes)))
	return Arg{Kind: Memory, Mem: &Mem{Bytes: msg, Refs: []Pointer{{16, &Mem{Bytes: iov, Refs: []Pointer{{0, text}}}}, {32, control}},
		Note: func([]byte) string { return "{SCM_RIGHTS}" }}}
}

// Handles returns the descriptors, after the batch has run; nil if the message
// did not have just as many as were expected. Their numbers come from the
// process that received them: they are taken as numbers and nothing else.
func (r *Rights) Handles() []Handle {
	header := unix.CmsgLen(0)
	length := binary.NativeEndian.Uint64(r.control)
	level, kind := binary.NativeEndian.Uint32(r.control[8:]), binary.NativeEndian.Uint32(r.control[12:])
	if r.n.Errno() != 0 || length != uint64(header+4*len(r.labels)) || level != unix.SOL_SOCKET || kind != unix.SCM_RIGHTS {
		return nil
	}
	list := make([]Handle, len(r.labels))
	for i, label := range r.labels {
		fd := int32(binary.NativeEndian.Uint32(r.control[header+4*i:]))
		if fd < 0 {
			return nil
		}
		list[i] = NewHandle(int64(fd), label)
	}
	return list
}

// Pair is a pair of connected sockets.
type Pair struct {
	fds []byte
	n   Handle
}

// Socketpair adds socketpair(2) of local sockets that keep messages apart.
func (b *Batch) Socketpair() *Pair {
	p := &Pair{fds: make([]byte, 8)}
	p.n = b.add("socketpair", unix.SYS_SOCKETPAIR, num(unix.AF_UNIX), num(unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC), num(0), b.out(p.fds)).Result
	return p
}

// Handles returns both ends, after the batch has run.
func (p *Pair) Handles() (one, other Handle) {
	return NewHandle(int64(binary.NativeEndian.Uint32(p.fds)), "freight"), NewHandle(int64(binary.NativeEndian.Uint32(p.fds[4:])), "freight")
}
