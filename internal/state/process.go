package state

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ProcessID names one process for ever (until the next boot): a pid alone is
// used again.
type ProcessID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since boot
}

// ErrProcessDone: the process has ended, is a zombie, or its pid belongs to
// another process by now.
var ErrProcessDone = errors.New("process has ended")

// Identify gives the identity of a process that is known to exist, such as a
// child that has not been waited for, or the caller itself.
func Identify(pid int) (ProcessID, error) {
	start, _, err := readStat(pid)
	if err != nil {
		return ProcessID{}, fmt.Errorf("cannot identify process %d: %w", pid, err)
	}
	return ProcessID{PID: pid, Start: start}, nil
}

// BootID is the kernel's random name of this boot (random(4)).
func BootID() (string, error) {
	data, err := readProc("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot read boot id: %v", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// SameBoot reports whether the state was written since the last boot. All its
// processes are gone if not, whatever their pids belong to now.
func (st *State) SameBoot() (bool, error) {
	if st.Tongs.BootID == "" {
		return true, nil
	}
	id, err := BootID()
	return id == st.Tongs.BootID, err
}

// A Process is a handle to a living process that cannot be redirected to
// another by reuse of the pid.
type Process struct {
	pid int
	fd  int
}

// OpenProcess opens the process id, or gives ErrProcessDone. The order counts:
// first the handle, then the comparison of the start time. If the pid is given
// to another process in between, then the comparison fails; if afterwards, the
// handle stays with the old one.
func OpenProcess(id ProcessID) (*Process, error) {
	if id.PID <= 0 {
		return nil, ErrProcessDone
	}
	fd, err := unix.PidfdOpen(id.PID, 0)
	if err == unix.ESRCH || err == unix.EINVAL { // EINVAL: the id of a thread
		return nil, ErrProcessDone
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open process %d: pidfd_open: %v", id.PID, err)
	}
	start, code, err := readStat(id.PID)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESRCH):
		err = ErrProcessDone
	case err != nil:
		err = fmt.Errorf("cannot identify process %d: %v", id.PID, err)
	case start != id.Start || code == 'Z' || code == 'X':
		err = ErrProcessDone
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &Process{pid: id.PID, fd: fd}, nil
}

// Signal sends sig. ErrProcessDone: too late.
func (p *Process) Signal(sig unix.Signal) error {
	err := unix.PidfdSendSignal(p.fd, sig, nil, 0)
	if err == unix.ESRCH {
		return ErrProcessDone
	}
	if err != nil {
		return fmt.Errorf("cannot signal process %d: pidfd_send_signal(%d): %w", p.pid, int(sig), err)
	}
	return nil
}

// Wait waits until the process has ended (it may be a zombie then) and reports
// whether it did within the timeout.
func (p *Process) Wait(timeout time.Duration) (bool, error) {
	end := time.Now().Add(timeout)
	for {
		left := max(time.Until(end), 0)
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int((left+time.Millisecond-1)/time.Millisecond))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("cannot wait for process %d: poll: %v", p.pid, err)
		}
		return n > 0, nil
	}
}

// FD is the pidfd. It stays p's.
func (p *Process) FD() int { return p.fd }

// Close releases the handle.
func (p *Process) Close() { unix.Close(p.fd) }

// readStat gives start time and state letter from /proc/PID/stat.
func readStat(pid int) (start uint64, code byte, err error) {
	data, err := readProc("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, err
	}
	return parseStat(data)
}

// parseStat reads fields 3 and 22 of proc_pid_stat(5). Field 2, the name of the
// process in parentheses, is whatever the process likes, spaces and parentheses
// included; it ends with the last ")".
func parseStat(data []byte) (start uint64, code byte, err error) {
	f, err := statFields(data)
	if err != nil {
		return 0, 0, err
	}
	if start, err = strconv.ParseUint(string(f[22-3]), 10, 64); err != nil {
		return 0, 0, errStat
	}
	return start, f[0][0], nil
}

var errStat = errors.New("cannot parse /proc/PID/stat")

// statFields are the fields from 3 on.
func statFields(data []byte) ([][]byte, error) {
	i := bytes.LastIndexByte(data, ')')
	if i < 0 {
		return nil, errStat
	}
	f := bytes.Fields(data[i+1:])
	if len(f) < 20 || len(f[0]) != 1 {
		return nil, errStat
	}
	return f, nil
}

// Parent gives the parent of a process, field 4 of proc_pid_stat(5).
func Parent(pid int) (int, error) {
	data, err := readProc("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	f, err := statFields(data)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(f[1]))
}

// readProc reads a short file of procfs with three system calls; os.ReadFile
// would take twice as many and start the poller.
func readProc(path string) ([]byte, error) {
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	buf := make([]byte, 2048)
	n, err := retry(func() (int, error) { return unix.Read(fd, buf) })
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}
