package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel/stub"
	"tongs/internal/socket"
)

// handover is what a new process of create, run or exec and its caller pass to
// each other.
type handover struct {
	terminal, detach       bool
	consoleSocket          string
	pidfdSocket, pidfdName string // the name goes with the pidfd
	pidFile                string
	listenFDs, preserveFDs int
}

// check refuses combinations that cannot work. The first two texts are
// runc's, which callers know.
func (h *handover) check() error {
	switch {
	case h.terminal && h.detach && h.consoleSocket == "":
		return errors.New("cannot allocate tty if tongs will detach without setting console socket")
	case (!h.terminal || !h.detach) && h.consoleSocket != "":
		return errors.New("cannot use console socket if tongs will not detach or allocate tty")
	case h.preserveFDs < 0:
		return fmt.Errorf("--preserve-fds: %d is negative", h.preserveFDs)
	}
	// What this program opened itself is close-on-exec; what the caller passed is not.
	passed := func(fd int) bool {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		return err == nil && flags&unix.FD_CLOEXEC == 0
	}
	for fd := 3; fd < 3+h.listenFDs; fd++ {
		if !passed(fd) {
			return fmt.Errorf("LISTEN_FDS: descriptor %d (of %d) is not open", fd, h.listenFDs)
		}
	}
	base := 3 + h.listenFDs
	for fd := base; fd < base+h.preserveFDs; fd++ {
		if !passed(fd) {
			return fmt.Errorf("--preserve-fds: please check that the preserved-fd %d (of %d) is present", fd-base, h.preserveFDs)
		}
	}
	return nil
}

// take is the terminal's master that a new process has sent, nil if none.
func take(s *stub.Stub) *os.File {
	if fd := s.TakeFD(); fd >= 0 {
		return os.NewFile(uintptr(fd), "/dev/ptmx")
	}
	return nil
}

// give sends the terminal's master and the pidfd of a process, and writes the pid
// file. The master is returned if it stays here.
func (h *handover) give(pid, pidfd int, terminal *os.File, onFailure func(func())) (master *os.File, err error) {
	if master, err = h.passConsole(terminal, onFailure); err != nil {
		return nil, err
	}
	if h.pidfdSocket != "" {
		if err := socket.SendFD(h.pidfdSocket, h.pidfdName, pidfd); err != nil {
			return nil, fmt.Errorf("--pidfd-socket: %w", err)
		}
	}
	if h.pidFile != "" {
		if err := writePidFile(h.pidFile, pid); err != nil {
			return nil, err
		}
		onFailure(func() { os.Remove(h.pidFile) })
	}
	return master, nil
}

// passConsole sends the terminal's master on, or keeps it for the foreground.
func (h *handover) passConsole(master *os.File, onFailure func(func())) (*os.File, error) {
	if !h.terminal {
		return nil, nil
	}
	if master == nil {
		return nil, errors.New("process.terminal: the terminal was not received")
	}
	if h.consoleSocket == "" {
		onFailure(func() { master.Close() })
		return master, nil
	}
	defer master.Close()
	if err := socket.SendFD(h.consoleSocket, "/dev/pts/0", int(master.Fd())); err != nil {
		return nil, fmt.Errorf("--console-socket: %w", err)
	}
	return nil, nil
}

// writePidFile writes the number without a newline, to a name beside the
// file first: a reader sees all of it or no file. A left-over of that name is
// an error, as with runc.
func writePidFile(path string, pid int) error {
	dir, name := filepath.Split(path)
	temp := filepath.Join(dir, "."+name)
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_SYNC, 0o666)
	if err != nil {
		return fmt.Errorf("--pid-file: cannot create: %v", err)
	}
	_, err = fmt.Fprintf(f, "%d", pid)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		os.Remove(temp)
		return fmt.Errorf("--pid-file: cannot write: %v", err)
	}
	return nil
}
