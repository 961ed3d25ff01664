package stub

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/kernel/stub/code"
)

// Run executes a batch in the stub (kernel.Kernel). A batch that is larger
// than the shared memory is executed in parts.
func (s *Stub) Run(b *kernel.Batch) error {
	if s.lost != nil {
		return s.lost
	}
	for first := 0; first < len(b.Calls); {
		next, err := s.write(b, first, maxRecords-2)
		if err != nil {
			return err
		}
		line, _, _ := s.far.Number(nil)
		s.ring.raw(unix.SYS_WRITE, code.FlagJump, uint64(line), code.Base+scratchOff, 1)
		s.ring.end()
		gone, err := s.round()
		if err != nil {
			return s.silent(b, first, next, err)
		}
		if err := s.collect(b, first, next, gone); err != nil {
			return err
		}
		first = next
	}
	return b.Finish()
}

// write puts calls of b from index first on into the ring, as many as fit,
// and returns the index of the first that did not.
func (s *Stub) write(b *kernel.Batch, first, limit int) (int, error) {
	s.ring.reset(firstRecord)
	for i := first; i < len(b.Calls); i++ {
		if s.ring.n >= limit {
			return i, nil
		}
		arena := s.ring.arena
		if err := s.ring.call(b, &b.Calls[i], firstRecord, first); err != nil {
			if i == first {
				c := &b.Calls[i]
				return 0, fmt.Errorf("%s: %s: %s: %w", c.Field, c.Want, c.Name, err)
			}
			s.ring.arena = arena
			return i, nil
		}
	}
	return len(b.Calls), nil
}

// round releases the records and waits for the stub's byte; gone means end of
// file in its place.
func (s *Stub) round() (gone bool, err error) {
	if err := s.release(); err != nil {
		return true, nil // EPIPE: it has ended; the records tell why
	}
	return s.wait()
}

func (s *Stub) release() error {
	for {
		_, err := unix.SendmsgN(s.line, []byte{0}, nil, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return err
		}
	}
}

// wait reads one byte from the stub, at most for the timeout.
func (s *Stub) wait() (gone bool, err error) {
	end := time.Now().Add(s.timeout)
	for {
		left := time.Until(end)
		if left <= 0 {
			return false, fmt.Errorf("did not answer within %s", s.timeout)
		}
		fds := []unix.PollFd{{Fd: int32(s.line), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(left.Milliseconds())+1)
		if err == unix.EINTR || (err == nil && n == 0) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("cannot be waited for: %w", err)
		}
		gone, more := s.receive()
		if !more {
			return gone, nil
		}
	}
}

// receive takes one byte, and the descriptor that may come with it. more
// means that it was not the stub's report: a descriptor, or nothing yet.
func (s *Stub) receive() (gone, more bool) {
	var one [1]byte
	var control [32]byte // room for one descriptor; others are dropped
	n, size, _, _, err := unix.Recvmsg(s.line, one[:], control[:], unix.MSG_CMSG_CLOEXEC)
	if err == unix.EINTR {
		return false, true
	}
	if err != nil || n == 0 {
		return true, false
	}
	messages, err := unix.ParseSocketControlMessage(control[:size])
	if err != nil || len(messages) == 0 {
		return false, false
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	for _, fd := range fds {
		if err != nil || s.received >= 0 {
			unix.Close(fd)
			continue
		}
		s.received = fd
	}
	return false, true
}

// TakeFD returns the descriptor that the stub has sent, -1 if none. It is the
// caller's from then on.
func (s *Stub) TakeFD() int {
	fd := s.received
	s.received = -1
	return fd
}

// collect takes the results of the calls from first up to next.
func (s *Stub) collect(b *kernel.Batch, first, next int, gone bool) error {
	for i := first; i < next; i++ {
		c := &b.Calls[i]
		n := s.ring.result(firstRecord + i - first)
		if n == unset {
			break
		}
		if e := errno(n); e != 0 && !c.Tolerates(e) {
			if gone {
				s.lost = &kernel.LostError{How: s.reap()}
			}
			return kernel.Failed(c, e)
		}
		if c.Opens && n > maxDescriptor || n < -4095 {
			return fmt.Errorf("%s: %s: %s: the container's process gave the impossible result %d", c.Field, c.Want, c.String(), n)
		}
		c.Result.Resolve(n)
		if n >= 0 {
			s.fetch(c)
		}
	}
	if gone {
		return s.ended(b, first, next)
	}
	if last := s.ring.result(firstRecord + next - first - 1); last == unset {
		return fmt.Errorf("the container's process reported calls that it did not execute")
	}
	return nil
}

// maxDescriptor bounds what can be a descriptor (fs.nr_open is at most this).
const maxDescriptor = 1 << 30

func errno(n int64) unix.Errno {
	if n < 0 && n >= -4095 {
		return unix.Errno(-n)
	}
	return 0
}

func (s *Stub) fetch(c *kernel.Call) {
	for _, a := range c.Args {
		if a.Kind == kernel.Memory && a.Mem.Out {
			s.ring.fetch(a.Mem)
		}
	}
}

// ended reports a stub that is gone without a failed call.
func (s *Stub) ended(b *kernel.Batch, first, next int) error {
	s.lost = s.at(b, first, next)
	s.lost.How = s.reap()
	return s.lost
}

// silent reports a stub that does not answer, and ends it.
func (s *Stub) silent(b *kernel.Batch, first, next int, why error) error {
	s.lost = s.at(b, first, next)
	s.lost.How = why.Error()
	s.Kill()
	return s.lost
}

// at names the call that the stub was executing.
func (s *Stub) at(b *kernel.Batch, first, next int) *kernel.LostError {
	for i := first; i < next; i++ {
		if s.ring.result(firstRecord+i-first) == unset {
			c := &b.Calls[i]
			return &kernel.LostError{Field: c.Field, Want: c.Want, Call: c.String()}
		}
	}
	return &kernel.LostError{}
}

// Park gives the stub its last calls, which must fit into the shared memory
// at once, and returns when the stub has executed those that come before its
// report on the line, one byte. From then on the stub needs nobody.
func (s *Stub) Park(b *kernel.Batch) error {
	gone, err := s.last(b)
	if err != nil {
		return s.silent(b, 0, len(b.Calls), err)
	}
	if gone {
		return s.verdict(b)
	}
	s.parked = true
	return nil
}

// Exec gives the stub its last calls, of which one replaces it by a program
// (execve closes the line), and returns when that has happened.
func (s *Stub) Exec(b *kernel.Batch) error {
	gone, err := s.last(b)
	if err != nil {
		return s.silent(b, 0, len(b.Calls), err)
	}
	if !gone {
		return fmt.Errorf("the container's process reported before it executed its program")
	}
	return s.verdict(b)
}

func (s *Stub) last(b *kernel.Batch) (gone bool, err error) {
	if s.lost != nil {
		return false, s.lost
	}
	n, err := s.write(b, 0, maxRecords-1)
	if err != nil {
		return false, err
	}
	if n < len(b.Calls) {
		return false, errTooLarge
	}
	s.ring.end()
	return s.round()
}

// verdict says whether the last calls ended in a program that runs. Success
// is a call without return that was begun, the one before it having worked.
func (s *Stub) verdict(b *kernel.Batch) error {
	for i := range b.Calls {
		c := &b.Calls[i]
		n := s.ring.result(firstRecord + i)
		if e := errno(n); e != 0 && (c.NoReturn || !c.Tolerates(e)) {
			return kernel.Failed(c, e)
		}
		if n == unset {
			if c.NoReturn {
				return nil
			}
			return s.ended(b, 0, len(b.Calls))
		}
	}
	return s.ended(b, 0, len(b.Calls))
}
