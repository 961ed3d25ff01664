package criu

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrMissing: there is no criu on this host.
var ErrMissing = errors.New("cannot find criu in $PATH: is it installed?")

// Find gives the path of CRIU's program.
func Find() (string, error) {
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if !filepath.IsAbs(dir) {
			continue // what happens to lie in the current directory is not executed
		}
		file := filepath.Join(dir, "criu")
		st, err := os.Stat(file)
		if err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", ErrMissing
}

// Args are the arguments of a CRIU that serves the connection with that number.
func Args(fd int) []string { return []string{"criu", "swrk", strconv.Itoa(fd)} }

// A Process is a CRIU that saves for us.
type Process struct {
	*Session
	pid    int
	pidfd  int
	output int // file that it writes to in place of standard output
	reaped bool
	ended  error // how, if not well

	patience time.Duration // with its end
}

// Start starts the program.
func Start(program string) (*Process, error) {
	session, theirs, err := NewPair()
	if err != nil {
		return nil, err
	}
	defer unix.Close(theirs)
	p := &Process{Session: session, pidfd: -1, output: -1, patience: endTimeout}
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(null)
		p.output, err = unix.MemfdCreate("criu", unix.MFD_CLOEXEC)
	}
	if err == nil { // nothing of who started us
		err = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	}
	if err == nil {
		files := []uintptr{uintptr(null), uintptr(p.output), uintptr(p.output), uintptr(theirs)}
		p.pid, err = syscall.ForkExec(program, Args(3), &syscall.ProcAttr{Env: os.Environ(), Files: files,
			Sys: &syscall.SysProcAttr{PidFD: &p.pidfd}})
	}
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("cannot start criu: %w", err)
	}
	return p, nil
}

// endTimeout bounds the wait for the end of a CRIU that has nothing to do.
const endTimeout = 30 * time.Second

// End closes the connection, after which CRIU ends, and waits for that; one that
// does not end is killed. The error says that CRIU was not content.
func (p *Process) End() error {
	p.Session.Close()
	if p.reaped {
		return p.ended
	}
	killed := false
	if ready, err := poll(p.pidfd, p.patience); err == nil && !ready {
		killed = true
		_ = unix.PidfdSendSignal(p.pidfd, unix.SIGKILL, nil, 0) // has just ended
	}
	var status unix.WaitStatus
	_, err := unix.Wait4(p.pid, &status, 0, nil)
	for err == unix.EINTR {
		_, err = unix.Wait4(p.pid, &status, 0, nil)
	}
	p.reaped = true
	switch {
	case err != nil:
		p.ended = fmt.Errorf("cannot wait for criu: wait4: %w", err)
	case killed:
		p.ended = fmt.Errorf("criu did not end within %v, and was killed", p.patience)
	case status.Signaled():
		p.ended = fmt.Errorf("criu was killed by signal %d (%s)", status.Signal(), unix.SignalName(status.Signal()))
	case status.ExitStatus() != 0:
		p.ended = fmt.Errorf("criu exited with status %d", status.ExitStatus())
	}
	return p.ended
}

// Explain adds to an error how CRIU has ended, if it had no time to answer, and
// what it has printed, which is little, before it opens its log.
func (p *Process) Explain(err error) error {
	ended := p.End()
	if errors.Is(err, errEnded) && ended != nil {
		err = fmt.Errorf("%w: %w", err, ended)
	}
	buf := make([]byte, 4096)
	n, _ := unix.Pread(p.output, buf, 0) // there may be nothing
	if text := strings.TrimSpace(string(buf[:max(n, 0)])); text != "" {
		err = fmt.Errorf("%w; it says: %s", err, text)
	}
	return err
}

// Close ends it and frees everything.
func (p *Process) Close() {
	if p.pid > 0 {
		_ = p.End() // told before
	}
	p.Session.Close()
	for _, fd := range []*int{&p.pidfd, &p.output} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}
