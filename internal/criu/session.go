// Package criu speaks to CRIU, which saves the state of processes in files and
// makes processes of them again (criu.org), by its RPC protocol: tongs is the
// client of a `criu swrk` that works for it alone. It knows the directories with
// CRIU's images as well.
//
// It deliberately does not
//   - know containers: what to save, and what is external, its caller says;
//   - start a restoring CRIU: that must be the container's parent's child, in the
//     container's cgroup;
//   - read an image: that is CRIU's.
package criu

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Session is a connection to a CRIU.
type Session struct {
	fd   int
	idle time.Duration // how long it may do nothing
}

// A Notice is a notification: what CRIU has come to.
type Notice struct {
	Script string // pre-dump, post-dump, setup-namespaces, post-restore, …
	PID    int    // the process that it is about, if any
	FD     int    // that came with it, or -1; the receiver's
}

// Pair makes a connection. The second value is CRIU's end; close it when CRIU
// has it. CRIU finds descriptors in requests by the process that has called this.
func NewPair() (*Session, int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, -1, fmt.Errorf("cannot make a socket pair: %w", err)
	}
	return &Session{fd: pair[0], idle: idleLimit}, pair[1], nil
}

// Close closes the connection.
func (s *Session) Close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
}

// askTimeout bounds the wait for answers that need no work.
const askTimeout = time.Minute

// maxMessage is a size that no message of CRIU reaches.
const maxMessage = 64 << 10

var errEnded = errors.New("it ended without an answer")

func (s *Session) send(r *request) error {
	for {
		err := unix.Sendto(s.fd, r.encode(), unix.MSG_NOSIGNAL, nil)
		switch err {
		case unix.EINTR:
			continue
		case unix.EPIPE, unix.ECONNRESET:
			return errEnded
		}
		return err
	}
}

// receive takes one message, and the descriptor that comes with it.
func (s *Session) receive() (*response, int, error) {
	buf, control := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4*8))
	n, size, flags, _, err := unix.Recvmsg(s.fd, buf, control, unix.MSG_CMSG_CLOEXEC)
	for err == unix.EINTR {
		n, size, flags, _, err = unix.Recvmsg(s.fd, buf, control, unix.MSG_CMSG_CLOEXEC)
	}
	if err == unix.ECONNRESET || err == nil && n == 0 {
		return nil, -1, errEnded
	}
	if err != nil {
		return nil, -1, err
	}
	fd := takeFD(control[:size])
	r, err := decodeResponse(buf[:n])
	if flags&unix.MSG_TRUNC != 0 {
		err = errDamaged
	}
	if err != nil && fd >= 0 {
		unix.Close(fd)
		fd = -1
	}
	return r, fd, err
}

// poll waits for a message or the end of the connection; limit below 0: for ever.
func (s *Session) poll(limit time.Duration) (ready bool, err error) { return poll(s.fd, limit) }

func poll(fd int, limit time.Duration) (ready bool, err error) {
	end := time.Now().Add(limit)
	for {
		left := -1
		if limit >= 0 {
			left = int(max(time.Until(end), 0).Milliseconds())
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, left)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("poll: %w", err)
		}
		return n > 0, nil
	}
}

// takeFD is the first descriptor of a control message, or -1. There is never
// more than one; if there is, it is closed.
func takeFD(control []byte) int {
	fd := -1
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return fd
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, f := range fds {
			if fd >= 0 {
				unix.Close(f)
				continue
			}
			fd = f
		}
	}
	return fd
}

// Do sends a request, has each notification answered by notify, and returns the
// process that was restored. An error of notify makes CRIU undo what it can.
func (s *Session) Do(kind Kind, o *Options, notify func(Notice) error) (pid int, err error) {
	if err := s.send(&request{kind: kind, options: o}); err != nil {
		return 0, fmt.Errorf("criu %s: %w", kind, err)
	}
	var failed error
	for {
		r, fd, err := s.work(kind, o)
		if err == nil && r.kind == notification && r.success {
			if err := notify(Notice{Script: r.script, PID: r.subject, FD: fd}); err != nil && failed == nil {
				failed = err
			}
			err = s.send(&request{kind: notification, success: failed == nil})
			if err == nil {
				continue
			}
		} else if fd >= 0 {
			unix.Close(fd)
		}
		switch {
		case failed != nil:
			return 0, failed
		case err != nil:
			return 0, fmt.Errorf("criu %s: %w", kind, err)
		case !r.success:
			return 0, &FailedError{Kind: kind, Errno: unix.Errno(max(r.errno, 0)), Message: strings.TrimSpace(r.message)}
		case r.kind != kind:
			return 0, fmt.Errorf("criu %s: it has answered something else (%d)", kind, r.kind)
		}
		return r.pid, nil
	}
}

// work takes the next message of a CRIU that works. One that serves memory lazily
// waits for others, who may take as long as they like.
func (s *Session) work(kind Kind, o *Options) (*response, int, error) {
	var err error
	if kind == Dump && o.LazyPages {
		_, err = s.poll(-1)
	} else {
		err = s.watch(o)
	}
	if err != nil {
		return nil, -1, err
	}
	return s.receive()
}

// FailedError is a request that CRIU could not do. Its log has the reason.
type FailedError struct {
	Kind    Kind
	Errno   unix.Errno
	Message string // the first error of its log
}

func (e *FailedError) Error() string {
	if e.Errno != 0 {
		return fmt.Sprintf("criu %s failed: %s", e.Kind, e.Errno.Error())
	}
	return fmt.Sprintf("criu %s failed", e.Kind)
}

// ask sends a request that needs no work, after which others may follow.
func (s *Session) ask(r *request) (*response, error) {
	r.keepOpen = true
	err := s.send(r)
	if err != nil {
		return nil, fmt.Errorf("criu %s: %w", r.kind, err)
	}
	ready, err := s.poll(askTimeout)
	if err == nil && !ready {
		err = fmt.Errorf("it has not answered for %v", askTimeout)
	}
	if err != nil {
		return nil, fmt.Errorf("criu %s: %w", r.kind, err)
	}
	a, fd, err := s.receive()
	if fd >= 0 {
		unix.Close(fd)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("criu %s: %w", r.kind, err)
	case !a.success:
		return nil, fmt.Errorf("criu %s failed %s", r.kind, strings.TrimSpace(a.message))
	}
	return a, nil
}
