package console

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// maxSocketPath is what fits into sockaddr_un with its final NUL (unix(7)).
const maxSocketPath = 107

// sendTimeout bounds the wait for a receiver that does not accept.
const sendTimeout = 10 * time.Second

// Send hands the master side of a pty to the listener of the AF_UNIX stream
// socket at socketPath, as --console-socket asks for: one message with name as
// its text and the descriptor as SCM_RIGHTS. The file stays the caller's.
func Send(socketPath, name string, master *os.File) error {
	err := SendFD(socketPath, name, int(master.Fd()))
	runtime.KeepAlive(master)
	return err
}

// SendFD does the same with any descriptor. --pidfd-socket takes a pidfd with
// the text "standard".
func SendFD(socketPath, text string, fd int) error {
	sock, err := connect(socketPath)
	if err != nil {
		return fmt.Errorf("cannot connect to socket %q: %v", socketPath, err)
	}
	defer unix.Close(sock)
	rights := unix.UnixRights(fd)
	for {
		err := unix.Sendmsg(sock, []byte(text), rights, nil, unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot send a descriptor to socket %q: sendmsg: %v", socketPath, err)
		}
		return nil
	}
}

func connect(path string) (int, error) {
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %v", err)
	}
	// The time-out for sending also bounds connect (socket(7)).
	limit := unix.NsecToTimeval(int64(sendTimeout))
	err = unix.SetsockoptTimeval(sock, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
	if err != nil {
		unix.Close(sock)
		return -1, fmt.Errorf("setsockopt(SO_SNDTIMEO): %v", err)
	}
	if len(path) > maxSocketPath {
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
