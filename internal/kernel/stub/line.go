package stub

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// release lets the stub go on behind its wait. One that has ended will not report: the
// records tell why.
func (s *Stub) release() error {
	for {
		_, err := unix.SendmsgN(s.line, []byte{0}, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		switch err {
		case unix.EINTR:
			continue
		case unix.EPIPE, unix.ECONNRESET:
			s.cut = true
			return nil
		case nil:
			return nil
		default: // EAGAIN: somebody answers without taking what was sent
			return fmt.Errorf("cannot be given work: %w", err)
		}
	}
}

// report waits for the stub's byte; gone means end of file in its place. Nothing
// here blocks longer than the timeout, whatever the other side does with the line:
// no call waits, poll does.
func (s *Stub) report() (gone bool, err error) {
	if s.cut {
		return true, nil
	}
	end := time.Now().Add(s.timeout) // what tongs itself does meanwhile has its own bounds
	for s.owed++; s.owed > 0; s.owed-- {
		if gone, err = s.wait(end); gone || err != nil {
			break
		}
	}
	return gone, err
}

// SendFD sends a byte to the stub for a call that receives it, with a descriptor
// unless that is negative.
func (s *Stub) SendFD(fd int) error {
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	_, err := unix.SendmsgN(s.line, []byte{0}, rights, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	if err != nil && err != unix.EPIPE && err != unix.ECONNRESET { // of an end, Run tells
		return fmt.Errorf("cannot send to the container's process: %w", err)
	}
	return nil
}

// wait reads one byte from the stub, at the latest at end.
func (s *Stub) wait(end time.Time) (gone bool, err error) {
	for {
		ready, err := poll(s.line, end)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("cannot be waited for: %w", err)
		}
		if !ready {
			return false, fmt.Errorf("did not answer within %s", s.timeout)
		}
		gone, more := s.receive()
		if !more {
			return gone, nil
		}
	}
}

// poll waits until fd can be read, at the latest at end.
func poll(fd int, end time.Time) (ready bool, err error) {
	left := time.Until(end)
	if left <= 0 {
		return false, nil
	}
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(left.Milliseconds())+1)
	return n > 0, err
}

// receive takes one byte, and the descriptors that may come with it, of which
// it keeps the first. more means that it was not the stub's report: a
// descriptor, or nothing yet (poll also reports urgent data, MSG_OOB, for
// which recvmsg would wait).
func (s *Stub) receive() (gone, more bool) {
	var one [1]byte
	var control [32]byte // no honest stub sends more than one descriptor
	n, size, _, _, err := unix.Recvmsg(s.line, one[:], control[:], unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err == unix.EINTR || err == unix.EAGAIN {
		return false, true
	}
	if err != nil || n == 0 {
		return true, false
	}
	messages, err := unix.ParseSocketControlMessage(control[:size])
	if err != nil || len(messages) == 0 {
		return false, false
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	for _, fd := range fds {
		if err != nil || s.received >= 0 {
			unix.Close(fd)
			continue
		}
		s.received = fd
	}
	return false, true
}

// TakeFD returns the descriptor that the stub has sent, -1 if none. It is the
// caller's from then on.
func (s *Stub) TakeFD() int {
	fd := s.received
	s.received = -1
	return fd
}
