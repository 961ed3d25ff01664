package cgroup

import (
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// socket is a connection whose reads and writes end at a deadline with errTime.
type socket struct {
	fd       int
	deadline time.Time
}

// dial connects to a socket by its path. Waiting for a place in the queue of a
// server that accepts nobody is bounded, too.
func dial(path string, deadline time.Time) (*socket, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	s := &socket{fd, deadline}
	left := unix.NsecToTimeval(int64(time.Until(deadline)))
	if err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &left); err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	if err != nil {
		s.close()
		return nil, expired(fmt.Errorf("connect %q: %w", path, err))
	}
	return s, nil
}

func (s *socket) close() { unix.Close(s.fd) }

// expired turns the kernel's word for a timeout into errTime.
func expired(err error) error {
	if errors.Is(err, unix.EAGAIN) {
		return errTime
	}
	return err
}

// limit sets a timeout to what is left.
func (s *socket) limit(option int) error {
	left := time.Until(s.deadline)
	if left < time.Microsecond { // 0 would be no limit
		return errTime
	}
	t := unix.NsecToTimeval(int64(left))
	return unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, option, &t)
}

// Read implements io.Reader.
func (s *socket) Read(p []byte) (int, error) {
	for {
		if err := s.limit(unix.SO_RCVTIMEO); err != nil {
			return 0, err
		}
		n, err := unix.Read(s.fd, p)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, expired(err)
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// Write implements io.Writer. A server that is gone is an error and no signal.
func (s *socket) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		if err := s.limit(unix.SO_SNDTIMEO); err != nil {
			return done, err
		}
		n, err := unix.SendmsgN(s.fd, p[done:], nil, nil, unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, expired(err)
		}
		done += n
	}
	return len(p), nil
}
