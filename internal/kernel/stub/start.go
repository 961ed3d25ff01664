// Package stub is the kernel that executes batches inside a container: it
// builds a process of some two hundred bytes of machine code (package code),
// starts it in new namespaces, and drives it through shared memory and a
// socket pair. The socket carries single bytes: tongs sends one to release
// the records it wrote, the stub's own write call sends one back; end of file
// tells each side that the other is gone.
//
// What it deliberately does not do:
//   - It knows nothing of containers: what is executed, and in which order,
//     is the caller's.
//   - It starts no second process and runs no code in the background.
package stub

import (
	"fmt"
	"math"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/kernel/stub/code"
)

// Config says how the stub is started.
type Config struct {
	Namespaces uintptr         // CLONE_NEW… flags; never CLONE_NEWUSER (see design)
	CgroupFD   int             // descriptor of a cgroup v2 directory, or -1 (clone3(2), 5.7)
	Stdio      [3]int          // descriptors 0 to 2 of the container
	Preserve   int             // descriptors 3 to 3+Preserve-1 stay where they are
	Inherit    []kernel.Handle // descriptors of this process that the stub gets as well
	ImageDirs  []string        // where the executable goes if memfds may not be executed
	NoMemfd    bool            // use ImageDirs at once
	Dumpable   bool            // leave the stub dumpable, so that ids can be mapped from outside
	Timeout    time.Duration   // bound of each wait; 0 means a minute
}

// Stub is a running stub.
type Stub struct {
	PID   int // in this process's PID namespace
	PidFD int

	ring      *ring
	line      int             // our end of the socket pair
	far       kernel.Handle   // the stub's end, as the stub knows it
	inherited []kernel.Handle // Config.Inherit, as the stub knows them
	received  int             // a descriptor that the stub sent, or -1
	timeout   time.Duration
	owed      int   // reports that come before the next part's own
	next      int   // record behind the wait that the stub is in, or comes to
	late      *part // what was released last, if its results are not taken yet
	older     *part // and what was before that
	cut       bool  // it has closed its line
	parked    bool  // it has its last calls
	reaped    bool
	how       string // how it ended, once reaped
	lost      *kernel.LostError
}

// The first three records stay: every round begins with them. The report is
// one of them, not the last of a batch, because the stub stores a call's
// result after the call: when tongs has the byte, that store may still be to
// come, and must not hit a record that tongs writes in the meantime.
const (
	hideRecord   = iota // prctl(PR_SET_DUMPABLE, 0): nobody may look into the stub
	reportRecord        // write to the line: the round before is done
	waitRecord          // read from the line; end of file ends the stub
	firstRecord

	restRecords = 2 // of rest
)

// Start starts a stub. It blocks in its first wait until Run gives it work.
// The first call that it ever executes makes it non-dumpable.
func Start(c Config) (*Stub, error) {
	s := &Stub{timeout: c.Timeout, line: -1, PidFD: -1, received: -1, owed: 1, next: firstRecord}
	if s.timeout == 0 {
		s.timeout = time.Minute
	}
	image, err := openImage(c.ImageDirs, c.NoMemfd)
	if err != nil {
		return nil, fmt.Errorf("cannot make the stub's executable: %w", err)
	}
	defer unix.Close(image)
	memory, err := openMemory()
	if err != nil {
		return nil, fmt.Errorf("cannot make shared memory: %w", err)
	}
	defer unix.Close(memory)
	if s.ring, err = newRing(memory); err != nil {
		return nil, fmt.Errorf("cannot map shared memory: %w", err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		s.ring.close()
		return nil, fmt.Errorf("cannot make a socket pair: %w", err)
	}
	defer unix.Close(pair[1])
	s.line = pair[0]
	if err := s.spawn(&c, image, memory, pair[1]); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// spawn forks. The child's descriptors are: standard ones, the preserved
// ones at their own numbers, the shared memory, the line, the inherited ones.
// The memory's number is argc, which is how the machine code finds it. All
// else that this process has open is marked close-on-exec.
func (s *Stub) spawn(c *Config, image, memory, far int) error {
	files := []uintptr{uintptr(c.Stdio[0]), uintptr(c.Stdio[1]), uintptr(c.Stdio[2])}
	for i := range c.Preserve {
		files = append(files, uintptr(3+i))
	}
	argc := len(files)
	files = append(files, uintptr(memory), uintptr(far))
	s.far = kernel.NewHandle(int64(argc+1), "line")
	for _, h := range c.Inherit {
		n, _, _ := h.Number(nil)
		s.inherited = append(s.inherited, kernel.NewHandle(int64(len(files)), h.Label()))
		files = append(files, uintptr(n))
	}
	argv := make([]string, argc)
	copy(argv, []string{"tongs", "stub"})

	s.prepare(c.Dumpable)
	high, err := unix.FcntlInt(uintptr(image), unix.F_DUPFD_CLOEXEC, above(files))
	if err != nil {
		return fmt.Errorf("cannot duplicate the stub's descriptor: %w", err)
	}
	defer unix.Close(high)
	// Whoever started tongs may have left descriptors open: not in there.
	if err := unix.CloseRange(uint(3+c.Preserve), math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("cannot mark descriptors close-on-exec: %w", err)
	}
	attr := &syscall.ProcAttr{Files: files, Sys: &syscall.SysProcAttr{
		Cloneflags: c.Namespaces, PidFD: &s.PidFD, UseCgroupFD: c.CgroupFD >= 0, CgroupFD: c.CgroupFD}}
	s.PID, err = syscall.ForkExec("/proc/self/fd/"+strconv.Itoa(high), argv, attr)
	if err != nil {
		return fmt.Errorf("cannot start the container's process: %w", err)
	}
	return nil
}

// above returns a number above all that the standard library's fork/exec uses
// in the child while it moves files to their places, which it does before it
// executes the image by its number: the targets, the sources, and behind the
// highest of them a temporary place for each and for its own pipe. A number
// below could mean another file by the time that it is executed.
func above(files []uintptr) int {
	top := len(files)
	for _, fd := range files {
		top = max(top, int(fd))
	}
	return top + len(files) + 3
}

// prepare writes the records that every round begins with.
func (s *Stub) prepare(dumpable bool) {
	flag := uint64(0)
	if dumpable {
		flag = 1
	}
	s.ring.begin(hideRecord, false)
	s.ring.raw(unix.SYS_PRCTL, 0, unix.PR_SET_DUMPABLE, flag)
	s.rest()
	s.ring.end()
}

// rest writes the records by which the stub reports and waits.
func (s *Stub) rest() {
	line, _, _ := s.far.Number(nil)
	s.ring.raw(unix.SYS_WRITE, 0, uint64(line), code.Base+scratchOff, 1)
	s.ring.raw(unix.SYS_READ, code.FlagZeroFatal, uint64(line), code.Base+scratchOff, 1)
}

// Inherited returns the handles of Config.Inherit as batches for this stub
// must use them.
func (s *Stub) Inherited() []kernel.Handle { return s.inherited }

// FirstOwn returns the number of the stub's first descriptor that is neither a
// standard stream nor preserved: the shared memory, which the line and the
// inherited ones follow.
func (s *Stub) FirstOwn() uint {
	line, _, _ := s.far.Number(nil)
	return uint(line - 1)
}

// Line returns the stub's end of the socket pair, for calls that report.
func (s *Stub) Line() kernel.Handle { return s.far }

// Show makes the stub dumpable before the next Run returns: from then on whoever
// may trace processes of its user namespace may trace it.
func (s *Stub) Show() { *s.ring.word(hideRecord*code.RecordSize + code.ArgsOff + 8) = 1 }

// Hide makes the stub non-dumpable before the next Run returns.
func (s *Stub) Hide() { *s.ring.word(hideRecord*code.RecordSize + code.ArgsOff + 8) = 0 }

// Kill ends the stub, or what it became, and reaps it. It may be called more
// than once; after Close it does nothing.
func (s *Stub) Kill() {
	if s.reaped || s.PidFD < 0 {
		return
	}
	unix.PidfdSendSignal(s.PidFD, unix.SIGKILL, nil, 0)
	s.reap()
}

// Outcome waits for the end of what the stub became, reaps it, and says how it
// ended. What does not end in time is killed.
func (s *Stub) Outcome() string { return s.outcome() }

// Exited is the Outcome of what has ended well.
const Exited = "exited with status 0"

// outcome waits for the end of a stub that has closed its line, reaps it, and
// says how it ended. Whoever controls a stub can make it close the line and
// live on: such a stub is killed.
func (s *Stub) outcome() string {
	if s.reaped {
		return s.how
	}
	end := time.Now().Add(s.timeout)
	for {
		ready, err := poll(s.PidFD, end)
		if err == unix.EINTR {
			continue
		}
		if !ready {
			s.Kill()
			return "closed its line and did not end"
		}
		s.reap()
		return s.how
	}
}

// reap waits for the stub's end, which has come or is near. A process that
// was reaped must not be waited for again: its number may be another's.
func (s *Stub) reap() {
	var status unix.WaitStatus
	_, err := unix.Wait4(s.PID, &status, 0, nil)
	for err == unix.EINTR {
		_, err = unix.Wait4(s.PID, &status, 0, nil)
	}
	s.reaped = true
	switch {
	case err != nil:
		s.how = "is gone"
	case status.Signaled():
		s.how = "was killed by signal " + strconv.Itoa(int(status.Signal())) + " (" + unix.SignalName(status.Signal()) + ")"
	default:
		s.how = "exited with status " + strconv.Itoa(status.ExitStatus())
	}
}

// Close frees what this process holds of the stub: after it, a stub that
// waits for work ends by itself.
func (s *Stub) Close() {
	s.ring.close()
	for _, fd := range []*int{&s.line, &s.PidFD, &s.received} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}
