// Package socket hands descriptors to those who wait at an AF_UNIX stream
// socket: a terminal's master, a pidfd, the listener of a seccomp filter.
//
// It deliberately does not
//   - wait for ever: who does not accept, or does not read, is an error;
//   - expect an answer: none of these protocols has one.
package socket

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// maxPath is what fits into sockaddr_un with its final NUL (unix(7)).
const maxPath = 107

// timeout bounds the wait for a receiver, at each step.
const timeout = 10 * time.Second

var errUnread = errors.New("it was closed without reading the message")

// SendFD connects to the listener at path and sends it one message: the text,
// with the descriptor as SCM_RIGHTS. The descriptor stays the caller's.
func SendFD(path, text string, fd int) error {
	sock, err := send(path, text, fd)
	if err != nil {
		return err
	}
	unix.Close(sock)
	return nil
}

// Deliver is SendFD that returns when the receiver has taken all of the
// message. Until then the descriptor might be nobody's.
func Deliver(path, text string, fd int) error {
	sock, err := send(path, text, fd)
	if err != nil {
		return err
	}
	defer unix.Close(sock)
	if err := taken(sock, timeout); err != nil {
		return fmt.Errorf("socket %q: %w", path, err)
	}
	return nil
}

func send(path, text string, fd int) (int, error) {
	sock, err := connect(path)
	if err != nil {
		return -1, fmt.Errorf("cannot connect to socket %q: %w", path, err)
	}
	rights := unix.UnixRights(fd)
	for rest := []byte(text); len(rest) > 0; {
		n, err := unix.SendmsgN(sock, rest, rights, nil, unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			unix.Close(sock)
			if err == unix.EPIPE || err == unix.ECONNRESET { // before there was anything to read
				err = errUnread
			}
			return -1, fmt.Errorf("cannot send a descriptor to socket %q: sendmsg: %w", path, err)
		}
		rest, rights = rest[n:], nil
	}
	return sock, nil
}

// taken waits until the other side has read all that was sent: what it has not
// read counts as ours (SIOCOUTQ, unix(7)). There is no event for that.
func taken(sock int, limit time.Duration) error {
	pause := 0
	for end := time.Now().Add(limit); ; {
		n, err := unix.IoctlGetInt(sock, unix.SIOCOUTQ)
		if err != nil {
			return fmt.Errorf("cannot find out whether the message was read: ioctl(SIOCOUTQ): %w", err)
		}
		if n == 0 {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("nobody has read the message for %v", limit)
		}
		// Ends at once when the other side closes.
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(sock)}}, pause)
		pause = min(pause+1, 20)
	}
	// Whoever closes a socket with unread data resets the connection.
	code, err := unix.GetsockoptInt(sock, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		return errUnread
	}
	return err
}

func connect(path string) (int, error) {
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	// The time-out for sending also bounds connect (socket(7)).
	limit := unix.NsecToTimeval(int64(timeout))
	err = unix.SetsockoptTimeval(sock, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
	if err != nil {
		unix.Close(sock)
		return -1, fmt.Errorf("setsockopt(SO_SNDTIMEO): %w", err)
	}
	if len(path) > maxPath {
		// Paths of bundles are often longer than sockaddr_un. The descriptor's
		// magic link is short and means the same file.
		at, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			unix.Close(sock)
			return -1, err
		}
		defer unix.Close(at)
		path = "/proc/self/fd/" + strconv.Itoa(at)
	}
	for {
		err = unix.Connect(sock, &unix.SockaddrUnix{Name: path})
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		unix.Close(sock)
		return -1, err
	}
	return sock, nil
}

// Check reports what is at path if it cannot be connected to: it connects to
// nobody, since that could disturb who listens.
func Check(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return fmt.Errorf("cannot look at socket %q: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fmt.Errorf("%q is not a socket", path)
	}
	return nil
}
