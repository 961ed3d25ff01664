// Package notify passes on that a container's program is ready: from a socket
// that the container sees to the service manager that started us (sd_notify(3)).
//
// What it deliberately does not do:
//   - It does not pass on anything else: not other variables, not descriptors,
//     not the process that the container names as its main one.
//   - It does not make the container see the socket.
package notify

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// DirName is the directory of the socket in the container's state directory, and
// Inside is where the container sees it. Both names are runc's.
const (
	DirName = "notify"
	Inside  = "/run/notify"
	name    = "notify.sock"
)

// barrierTimeout bounds the wait for the service manager's acknowledgement.
const barrierTimeout = 30 * time.Second

// Env is what the container's program finds in its environment.
func Env() string { return "NOTIFY_SOCKET=" + Inside + "/" + name }

// MakeDir makes the directory of the socket in the state directory that stateFD
// is open on.
func MakeDir(stateFD int) error {
	err := unix.Mkdirat(stateFD, DirName, 0o755)
	if err == nil {
		err = unix.Fchmodat(stateFD, DirName, 0o755, 0) // whatever the umask
	}
	if err != nil && err != unix.EEXIST {
		return fmt.Errorf("NOTIFY_SOCKET: cannot make the directory of the container's socket: %w", err)
	}
	return nil
}

// HasDir reports whether the container was created with that directory.
func HasDir(stateFD int) bool {
	return unix.Faccessat(stateFD, DirName, unix.F_OK, 0) == nil
}

// Socket is what the container's program writes to.
type Socket struct{ fd int }

// Listen makes the socket in the state directory. ok is false if there is no
// directory for it: the container was created without one.
func Listen(stateFD int) (s *Socket, ok bool, err error) {
	dir, err := unix.Openat(stateFD, DirName, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("NOTIFY_SOCKET: cannot open the directory of the container's socket: %w", err)
	}
	defer unix.Close(dir)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, false, fmt.Errorf("NOTIFY_SOCKET: cannot make a socket: %w", err)
	}
	if err := unix.Unlinkat(dir, name, 0); err != nil && err != unix.ENOENT { // of a start that was killed
		unix.Close(fd)
		return nil, false, fmt.Errorf("NOTIFY_SOCKET: cannot remove an old socket: %w", err)
	}
	// By the descriptor: the path may be longer than an address can be.
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(dir) + "/" + name})
	if err == nil {
		err = unix.Fchmodat(dir, name, 0o777, 0) // the container's user may be anybody
	}
	if err != nil {
		unix.Close(fd)
		return nil, false, fmt.Errorf("NOTIFY_SOCKET: cannot bind the container's socket: %w", err)
	}
	return &Socket{fd}, true, nil
}

// Close removes nothing: the state directory goes as a whole.
func (s *Socket) Close() { unix.Close(s.fd) }

// Forward waits until the container's program is ready and tells the service
// manager at the address, or until the process of pidfd has ended.
func (s *Socket) Forward(address string, mainPID, pidfd int) error {
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}, {Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return fmt.Errorf("NOTIFY_SOCKET: cannot wait for the container: %w", err)
		}
		switch {
		case fds[0].Revents != 0:
			if s.ready() {
				return tell(address, mainPID)
			}
		case fds[1].Revents != 0:
			return nil
		}
	}
}

// ready takes a datagram. Descriptors in it are closed by the kernel, since
// there is no room for them.
func (s *Socket) ready() bool {
	var buf [4096]byte
	n, err := unix.Read(s.fd, buf[:])
	if err != nil {
		return false
	}
	for line := range strings.SplitSeq(string(buf[:n]), "\n") {
		if line == "READY=1" {
			return true
		}
	}
	return false
}

// tell tells the service manager, and waits until it has read that.
func tell(address string, mainPID int) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: cannot make a socket: %w", err)
	}
	defer unix.Close(fd)
	if !strings.HasPrefix(address, "/") && !strings.HasPrefix(address, "@") {
		return fmt.Errorf("NOTIFY_SOCKET: %q is neither a path nor an abstract address", address)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: address}); err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: cannot connect to %q: %w", address, err)
	}
	for _, line := range []string{"READY=1\n", "MAINPID=" + strconv.Itoa(mainPID) + "\n"} {
		if err := unix.Send(fd, []byte(line), unix.MSG_NOSIGNAL); err != nil {
			return fmt.Errorf("NOTIFY_SOCKET: cannot write to %q: %w", address, err)
		}
	}
	return barrier(fd)
}

// barrier sends one end of a pipe, which the service manager closes once it has
// taken what came before (sd_notify_barrier(3)).
func barrier(fd int) error {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: cannot make a pipe: %w", err)
	}
	defer unix.Close(pipe[0])
	err := unix.Sendmsg(fd, []byte("BARRIER=1"), unix.UnixRights(pipe[1]), nil, unix.MSG_NOSIGNAL)
	unix.Close(pipe[1])
	if err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: cannot send a barrier: %w", err)
	}
	fds := []unix.PollFd{{Fd: int32(pipe[0])}}
	for end := time.Now().Add(barrierTimeout); ; {
		left := time.Until(end).Milliseconds()
		if left <= 0 {
			return errors.New("NOTIFY_SOCKET: the service manager has not answered a barrier for " + barrierTimeout.String())
		}
		n, err := unix.Poll(fds, int(left)+1)
		if n > 0 || err != nil && err != unix.EINTR {
			return err
		}
	}
}
