// Package netdev moves network devices into a container's network namespace,
// with their addresses (runtime-spec 1.3, config-linux § Network Devices), by
// rtnetlink(7).
//
// What it deliberately does not do:
//   - It makes no device, no address that was not there before, and no route.
//   - It enters no namespace but for the moment in which it opens a socket there.
//   - It does not take a device back at the container's end: the specification
//     leaves that to the kernel.
package netdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// conn is a socket of rtnetlink(7), in the network namespace where it was opened.
type conn struct {
	fd  int
	seq uint32
}

// dial opens a socket in our network namespace.
func dial() (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err == nil {
		// A kernel that does not answer must not hang us.
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	return &conn{fd: fd}, nil
}

// dialIn opens a socket in the network namespace of a process, which this thread
// enters for that and leaves again.
func dialIn(pidfd int) (c *conn, err error) {
	runtime.LockOSThread()
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("cannot open the host's network namespace: %w", err)
	}
	defer unix.Close(own)
	if err := unix.Setns(pidfd, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("cannot enter the container's network namespace: %w", err)
	}
	c, err = dial()
	if back := unix.Setns(own, unix.CLONE_NEWNET); back != nil {
		// The thread stays locked: nothing else may run there.
		return nil, errors.Join(err, fmt.Errorf("cannot leave the container's network namespace: %w", back))
	}
	runtime.UnlockOSThread()
	return c, err
}

func (c *conn) close() { unix.Close(c.fd) }

// message is one of an answer, without its header.
type message struct {
	kind uint16
	body []byte
}

// ask sends a request and takes the answer, up to its end or acknowledgement.
func (c *conn) ask(kind, flags uint16, body []byte) ([]message, error) {
	c.seq++
	b := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(body))
	b = append(b, body...)
	native := binary.NativeEndian
	native.PutUint32(b, uint32(len(b)))
	native.PutUint16(b[4:], kind)
	native.PutUint16(b[6:], flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	native.PutUint32(b[8:], c.seq)
	if err := unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	var list []message
	buf := make([]byte, 64<<10)
	for {
		n, from, err := unix.Recvfrom(c.fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if k, ok := from.(*unix.SockaddrNetlink); !ok || k.Pid != 0 {
			continue // not the kernel's
		}
		done, err := c.parse(buf[:n], &list)
		if done || err != nil {
			return list, err
		}
	}
}

// parse takes the messages of a datagram; done is that of the last.
func (c *conn) parse(b []byte, list *[]message) (done bool, err error) {
	native := binary.NativeEndian
	for len(b) >= unix.NLMSG_HDRLEN {
		size := int(native.Uint32(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return false, errors.New("netlink: a message has a wrong length")
		}
		kind, seq, body := native.Uint16(b[4:]), native.Uint32(b[8:]), b[unix.NLMSG_HDRLEN:size]
		b = b[min(align(size), len(b)):]
		switch {
		case seq != c.seq: // of an earlier question
		case kind == unix.NLMSG_ERROR && len(body) >= 4:
			if n := int32(native.Uint32(body)); n != 0 {
				return true, unix.Errno(-n)
			}
			return true, nil
		case kind == unix.NLMSG_DONE:
			return true, nil
		default:
			*list = append(*list, message{kind, append([]byte(nil), body...)})
		}
	}
	return false, nil
}

func align(n int) int { return (n + 3) &^ 3 }

// attr appends an attribute (struct rtattr).
func attr(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, align(len(value))-len(value))...)
}

func number(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

func text(s string) []byte { return append([]byte(s), 0) }

// attrs splits what lies behind the fixed part of a message.
func attrs(b []byte) map[uint16][]byte {
	m := map[uint16][]byte{}
	for len(b) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return m
		}
		m[binary.NativeEndian.Uint16(b[2:])&^unix.NLA_F_NESTED] = b[unix.SizeofRtAttr:size]
		b = b[min(align(size), len(b)):]
	}
	return m
}
