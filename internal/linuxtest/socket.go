package linuxtest

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Socket is a listening AF_UNIX socket that takes one descriptor, as the callers
// of --console-socket and --pidfd-socket do.
type Socket struct {
	Path string

	h  *Host
	fd int
}

// Listen makes a Socket. It goes with the test.
func (h *Host) Listen(name string) *Socket {
	h.t.Helper()
	s := &Socket{Path: filepath.Join(h.Dir, name), h: h}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: s.Path})
	}
	if err == nil {
		err = unix.Listen(fd, 1)
	}
	if err != nil {
		h.t.Fatalf("cannot listen: %v", err)
	}
	s.fd = fd
	h.t.Cleanup(func() { unix.Close(fd) })
	return s
}

// Receive takes the connection that a runtime has made, and gives the message's
// text and the descriptor.
func (s *Socket) Receive() (text string, file *os.File) {
	s.h.t.Helper()
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, int(timeLimit.Milliseconds())); n != 1 {
		s.h.t.Fatalf("nobody has connected to the socket: %v", err)
	}
	conn, _, err := unix.Accept4(s.fd, unix.SOCK_CLOEXEC)
	if err != nil {
		s.h.t.Fatal(err)
	}
	defer unix.Close(conn)
	data, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(16*4))
	n, oobn, _, _, err := unix.Recvmsg(conn, data, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		s.h.t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		s.h.t.Fatalf("%d control messages, want 1: %v", len(messages), err)
	}
	rights, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(rights) != 1 {
		s.h.t.Fatalf("%d descriptors, want 1: %v", len(rights), err)
	}
	return string(data[:n]), os.NewFile(uintptr(rights[0]), "received")
}

// Terminal opens a pair of a new pseudo terminal: master, and the side for a
// process.
func (h *Host) Terminal() (master, side *os.File) {
	h.t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		side, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		h.t.Fatalf("cannot open a terminal: %v", err)
	}
	h.t.Cleanup(func() { side.Close() })
	return master, side
}

// ReadUntil reads a terminal's master until the text has come or nobody has the
// other side open.
func ReadUntil(t *testing.T, master *os.File, text string) string {
	t.Helper()
	var all bytes.Buffer
	buf := make([]byte, 4096)
	for end := time.Now().Add(patience(10 * time.Second)); time.Now().Before(end); {
		fds := []unix.PollFd{{Fd: int32(master.Fd()), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 100); n == 0 || err != nil {
			continue
		}
		n, err := unix.Read(int(master.Fd()), buf)
		all.Write(buf[:max(n, 0)])
		if text != "" && strings.Contains(all.String(), text) || err != nil {
			return all.String()
		}
	}
	if text != "" {
		t.Errorf("%q has not come, only %q", text, all.String())
	}
	return all.String()
}
