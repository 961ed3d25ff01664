package stub

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// Run executes a batch in the stub (kernel.Kernel). A batch that is larger
// than the shared memory is executed in parts.
func (s *Stub) Run(b *kernel.Batch) error {
	if err := s.usable(); err != nil {
		return err
	}
	for first := 0; first < len(b.Calls); {
		next, err := s.write(b, first)
		if err != nil {
			return err
		}
		s.ring.jump()
		s.ring.end()
		gone, err := s.round(b)
		if err != nil {
			return s.betrayed(s.at(b, first, next), err.Error())
		}
		if err := s.collect(b, first, next, gone); err != nil {
			return err
		}
		if err := s.succeed(b.Calls[first:next]); err != nil {
			return err
		}
		first = next
	}
	return b.Finish()
}

// usable says why the stub takes no more batches, nil if it does.
func (s *Stub) usable() error {
	switch {
	case s.lost != nil:
		return s.lost
	case s.parked:
		return errors.New("the container's process has already been given its last calls")
	case s.ring.mem == nil:
		return errors.New("the container's process is not held any more")
	}
	return nil
}

// write puts calls of b from index first on into the ring, as many as fit,
// and returns the index of the first that did not.
func (s *Stub) write(b *kernel.Batch, first int) (int, error) {
	s.ring.reset(firstRecord)
	for i := first; i < len(b.Calls); i++ {
		var err error
		if s.ring.n < maxRecords-1 { // one is left for the end
			err = s.ring.call(b, &b.Calls[i], firstRecord, first)
		}
		if err == nil && s.ring.n == firstRecord+i-first+1 {
			continue
		}
		fits := wholeChildren(b.Calls[first:i]) + first
		if fits == first {
			return 0, tooLarge(&b.Calls[i])
		}
		s.ring.n = firstRecord + fits - first
		return fits, nil
	}
	return len(b.Calls), nil
}

// wholeChildren is how many of the calls can be executed without the ones behind
// them: a child cannot go on in another part of the batch.
func wholeChildren(calls []kernel.Call) int {
	for i := range calls {
		if i+calls[i].Skip >= len(calls) {
			return i
		}
	}
	return len(calls)
}

// tooLarge is the error of a call that does not fit into the shared memory.
func tooLarge(c *kernel.Call) error {
	var parts []string
	for _, part := range []string{c.Field, c.Want, c.Name} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return fmt.Errorf("%s: %w", strings.Join(parts, ": "), errTooLarge)
}

// collect takes the results of the calls from first up to next.
func (s *Stub) collect(b *kernel.Batch, first, next int, gone bool) error {
	child := first // the end of what only a child has executed
	for i := first; i < next; i++ {
		c := &b.Calls[i]
		n := s.ring.result(firstRecord + i - first)
		if c.Skip > 0 && n > 0 {
			child = i + c.Skip + 1
		} else if i < child {
			continue // its results are the child's own
		}
		if n == unset {
			if gone {
				at := s.at(b, first, next)
				s.takeDead(b.Calls[first:next])
				return s.ended(at)
			}
			return s.betrayed(lostAt(c), "reported calls that it did not execute")
		}
		if e := errno(n); e != 0 && !c.Tolerates(e) {
			if !gone {
				s.Kill() // it goes on behind a call of which it was told that errors are expected, not which
			}
			s.ended(&kernel.LostError{}) // an honest stub has closed the line as well
			return kernel.Failed(c, e)
		}
		if c.Opens && n > maxDescriptor || n < -4095 {
			return s.betrayed(lostAt(c), "gave the impossible result "+strconv.FormatInt(n, 10))
		}
		c.Result.Resolve(n)
		if n >= 0 {
			s.fetch(c)
		}
	}
	if gone {
		s.takeDead(b.Calls[first:next])
		return s.ended(&kernel.LostError{})
	}
	return nil
}

// succeed takes the child of a stub that has forked itself in its place.
func (s *Stub) succeed(calls []kernel.Call) error {
	for i := range calls {
		if c := &calls[i]; c.ExitPositive {
			if how := s.take(c); how != "" {
				return s.betrayed(lostAt(c), how)
			}
		}
	}
	return nil
}

// takeDead is succeed for a line that was closed: the child may have been killed
// before it did anything, and is ours to reap all the same. A PID namespace
// does not end before.
func (s *Stub) takeDead(calls []kernel.Call) {
	for i := range calls {
		if c := &calls[i]; c.ExitPositive {
			s.fetch(c)
			s.take(c) // if the call was executed
		}
	}
}

// take makes the child of call c the stub's process, or says why not. The old
// process is waited for: it still has to store its result, which must not hit a
// record of the next round.
func (s *Stub) take(c *kernel.Call) (why string) {
	pid := c.Child()
	fd, err := unix.PidfdOpen(max(pid, 1), 0)
	if err != nil {
		return "cannot be found: " + err.Error()
	}
	// Only a child of ours can be waited for.
	if err := unix.Waitid(unix.P_PIDFD, fd, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil || pid == s.PID {
		unix.Close(fd)
		return "named a process that is not its child: " + strconv.Itoa(pid)
	}
	s.outcome()
	unix.Close(s.PidFD)
	s.PID, s.PidFD, s.reaped, s.how = pid, fd, false, ""
	return ""
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
		if a.Kind == kernel.Memory {
			s.fetchMemory(a.Mem, c)
		}
	}
}

// fetchMemory takes what the call has written to m, and to what m points at.
func (s *Stub) fetchMemory(m *kernel.Mem, c *kernel.Call) {
	for _, p := range m.Refs {
		s.fetchMemory(p.To, c)
	}
	if !m.Out {
		return
	}
	n := len(m.Bytes)
	if m.Sized {
		n = c.Result.Count(n)
	}
	s.ring.fetch(m, n)
}

// ended reports a stub that closed its line, at the call that at names.
func (s *Stub) ended(at *kernel.LostError) error {
	at.How = s.outcome()
	s.lost = at
	return at
}

// betrayed reports a stub that does what no stub does, and ends it.
func (s *Stub) betrayed(at *kernel.LostError, how string) error {
	at.How = how
	s.lost = at
	s.Kill()
	return at
}

// at names the call that the stub was executing.
func (s *Stub) at(b *kernel.Batch, first, next int) *kernel.LostError {
	for i := first; i < next; i++ {
		n := s.ring.result(firstRecord + i - first)
		if n == unset {
			return lostAt(&b.Calls[i])
		}
		if n > 0 {
			i += b.Calls[i].Skip
		}
	}
	return &kernel.LostError{}
}

func lostAt(c *kernel.Call) *kernel.LostError {
	return &kernel.LostError{Field: c.Field, Want: c.Want, Call: c.String()}
}

// Park gives the stub its last calls, which must fit into the shared memory
// at once, and returns when the stub has executed those that come before its
// report on the line, one byte. From then on the stub needs nobody. The
// batch's checks are not run.
func (s *Stub) Park(b *kernel.Batch) error {
	gone, err := s.last(b)
	if err != nil || !gone {
		return err
	}
	return s.verdict(b)
}

// Exec gives the stub its last calls, of which one replaces it by a program
// (execve closes the line), and returns when that has happened. The batch's
// checks are not run.
func (s *Stub) Exec(b *kernel.Batch) error {
	gone, err := s.last(b)
	if err != nil {
		return err
	}
	if !gone {
		return s.betrayed(s.at(b, 0, len(b.Calls)), "reported before it executed its program")
	}
	return s.verdict(b)
}

func (s *Stub) last(b *kernel.Batch) (gone bool, err error) {
	if err := s.usable(); err != nil {
		return false, err
	}
	n, err := s.write(b, 0)
	if err != nil {
		return false, err
	}
	if n < len(b.Calls) {
		return false, tooLarge(&b.Calls[n])
	}
	s.ring.end()
	s.parked = true
	if gone, err = s.round(b); err != nil {
		return false, s.betrayed(s.at(b, 0, len(b.Calls)), err.Error())
	}
	return gone, nil
}

// verdict says whether the last calls ended in a program that runs. Success
// is a call without return that was begun, the one before it having worked.
func (s *Stub) verdict(b *kernel.Batch) error {
	for i := 0; i < len(b.Calls); i++ {
		c := &b.Calls[i]
		n := s.ring.result(firstRecord + i)
		if n > 0 && c.Skip > 0 {
			i += c.Skip
			continue
		}
		if e := errno(n); e != 0 && (c.NoReturn || !c.Tolerates(e)) {
			return kernel.Failed(c, e)
		}
		if n == unset {
			if c.NoReturn {
				return nil
			}
			return s.ended(lostAt(c))
		}
	}
	return s.ended(&kernel.LostError{})
}
