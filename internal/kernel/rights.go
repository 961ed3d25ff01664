package kernel

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// SendFD adds sendmsg(2) of one byte with a descriptor (unix(7), SCM_RIGHTS).
// Its number lies inside of the message, so the call that opened it must have
// been executed before.
func (b *Batch) SendFD(socket, h Handle) *Batch {
	control := &Mem{Bytes: unix.UnixRights(int(h.r.n))}
	b.add("sendmsg", unix.SYS_SENDMSG, ref(socket), message(&Mem{Bytes: []byte{'f'}}, control), num(unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT))
	return b
}

// Right is a descriptor that was received.
type Right struct {
	control []byte
	label   string
	n       Handle
}

// ReceiveFD adds recvmsg(2) of one message that SendFD sent. label says what the
// descriptor is.
func (b *Batch) ReceiveFD(socket Handle, label string) *Right {
	r := &Right{control: make([]byte, unix.CmsgSpace(4)), label: label}
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
	return Arg{Mem: &Mem{Bytes: msg, Refs: []Pointer{{16, &Mem{Bytes: iov, Refs: []Pointer{{0, text}}}}, {32, control}},
		Note: func([]byte) string { return "{SCM_RIGHTS}" }}}
}

// Handle returns the descriptor, after the batch has run; ok is false if the
// message did not have just one. Its number comes from the process that received
// it: it is taken as a number and nothing else.
func (r *Right) Handle() (h Handle, ok bool) {
	length := binary.NativeEndian.Uint64(r.control)
	level, kind := binary.NativeEndian.Uint32(r.control[8:]), binary.NativeEndian.Uint32(r.control[12:])
	fd := int32(binary.NativeEndian.Uint32(r.control[unix.CmsgLen(0):]))
	if r.n.Errno() != 0 || length != uint64(unix.CmsgLen(4)) || level != unix.SOL_SOCKET || kind != unix.SCM_RIGHTS || fd < 0 {
		return Handle{}, false
	}
	return NewHandle(int64(fd), r.label), true
}
