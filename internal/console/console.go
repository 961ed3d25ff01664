// Package console connects the terminal of a foreground `run` with the pty of
// the container.
//
// It deliberately does not
//   - create the pty: that is made inside the container, from its own devpts;
//   - follow signals: the caller calls Resize when SIGWINCH comes;
//   - look at what passes through.
package console

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// drainTimeout bounds the wait for the last output in Close. Processes that
// outlive the container's first one may keep the pty open for ever.
const drainTimeout = time.Second

// Session is a host terminal in raw mode, connected with a container's pty.
type Session struct {
	host     *os.File
	opened   bool // host is ours to close
	original unix.Termios
	master   *os.File
	drained  chan struct{}
	restore  sync.Once
}

// Attach looks for the caller's terminal, puts it into raw mode, gives its size
// to the pty and starts copying both ways: standard input to the pty, the pty
// to standard output. The master stays the caller's and must be open until
// Close has returned.
func Attach(master *os.File) (*Session, error) {
	s := &Session{master: master, drained: make(chan struct{})}
	if err := s.findHost(); err != nil {
		return nil, err
	}
	if err := clearONLCR(int(master.Fd())); err != nil {
		s.closeHost()
		return nil, fmt.Errorf("cannot set up the container's terminal: %v", err)
	}
	if err := s.makeRaw(); err != nil {
		s.closeHost()
		return nil, fmt.Errorf("cannot put terminal into raw mode: %v", err)
	}
	// A terminal without a size (a serial line) is fine.
	_ = s.Resize()
	go copyFile(master, os.Stdin)
	go func() {
		copyFile(os.Stdout, master)
		close(s.drained)
	}()
	return s, nil
}

// findHost takes the first of the standard streams that is a terminal, since
// any of them may be redirected, or else the controlling terminal.
func (s *Session) findHost() error {
	for _, f := range []*os.File{os.Stderr, os.Stdout, os.Stdin} {
		t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		if err == nil {
			s.host, s.original = f, *t
			return nil
		}
	}
	fd, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("process.terminal is set, but there is no terminal to connect: open /dev/tty: %v", err)
	}
	s.host, s.opened = os.NewFile(uintptr(fd), "/dev/tty"), true
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		s.closeHost()
		return fmt.Errorf("cannot read the terminal's settings: %v", err)
	}
	s.original = *t
	return nil
}

// makeRaw passes every key on to the container, as cfmakeraw(3), but keeps
// output processing on: the pty sends bare newlines (see clearONLCR) and this
// terminal turns them into what it needs.
func (s *Session) makeRaw() error {
	t := s.original
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(int(s.host.Fd()), unix.TCSETS, &t)
}

// clearONLCR stops the pty from turning "\n" into "\r\n", which is the default
// of a new one. The host's terminal does it already.
func clearONLCR(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Oflag &^= unix.ONLCR
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}

// Resize gives the size of the host's terminal to the pty. The kernel then
// sends SIGWINCH inside.
func (s *Session) Resize() error {
	size, err := unix.IoctlGetWinsize(int(s.host.Fd()), unix.TIOCGWINSZ)
	if err == nil {
		err = unix.IoctlSetWinsize(int(s.master.Fd()), unix.TIOCSWINSZ, size)
	}
	if err != nil {
		return fmt.Errorf("cannot resize the container's terminal: %v", err)
	}
	return nil
}

// Close waits for the rest of the output (bounded) and restores the host's
// terminal. A second call does nothing.
func (s *Session) Close() error {
	var err error
	s.restore.Do(func() {
		select {
		case <-s.drained:
		case <-time.After(drainTimeout):
		}
		err = unix.IoctlSetTermios(int(s.host.Fd()), unix.TCSETS, &s.original)
		s.closeHost()
	})
	if err != nil {
		return fmt.Errorf("cannot restore the terminal: %v", err)
	}
	return nil
}

func (s *Session) closeHost() {
	if s.opened {
		s.host.Close()
	}
}

// copyFile copies until the source ends or the destination is gone. A pty
// master reads EIO when the last slave is closed: that is its end of file.
func copyFile(dst, src *os.File) {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if _, werr := dst.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
