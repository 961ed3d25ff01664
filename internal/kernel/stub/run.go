package stub

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// Run executes a batch in the stub (kernel.Kernel). A batch that is larger
// than the shared memory is executed in parts. One that may be late is only
// released; the next one is written behind it, and collects its results.
func (s *Stub) Run(b *kernel.Batch) error {
	if err := s.usable(); err != nil {
		return err
	}
	for first := 0; first < len(b.Calls); {
		p, err := s.write(b, first)
		if err != nil {
			return err
		}
		if b.Late && p.next == len(b.Calls) && b.Meanwhile == nil && s.lead(p) {
			return s.goOn(p)
		}
		s.turn()
		if err := s.release(); err != nil {
			return s.betrayed(s.at(p), err.Error())
		}
		if p.next == len(b.Calls) { // what is done may be what the last call waits for
			s.overlap(b)
		}
		if err := s.both(p); err != nil {
			return err
		}
		first = p.next
	}
	if err := s.settle(); err != nil {
		return err
	}
	return b.Finish()
}

// overlap does what is to be done while the stub is busy.
func (s *Stub) overlap(b *kernel.Batch) {
	if !s.cut {
		b.Overlap()
	}
}

// goOn releases a part that another will follow. There can be two on their way: tongs
// waits for the one before when it needs that half of the ring again (write), by when
// the report has mostly come, and neither has slept.
func (s *Stub) goOn(p *part) error {
	if err := s.release(); err != nil {
		return s.betrayed(s.at(p), err.Error())
	}
	s.older, s.late = s.late, p
	return nil
}

// both takes the results of the part that is late, if there is one, and of that
// which was released behind it. The checks of the first come when the stub is idle:
// they may give it work.
func (s *Stub) both(p *part) error {
	late := s.late
	if s.late = nil; late == nil {
		return s.await(p)
	}
	if err := s.await(late); err != nil {
		return err
	}
	err := s.await(p)
	if first := late.b.Finish(); first != nil && (err == nil || first != error(s.lost)) {
		return first // what is wrong there may be why the other failed
	}
	return err
}

// settleOlder takes the results of the part in front of the one that is late.
func (s *Stub) settleOlder() error { return s.over(&s.older) }

// settle takes the results of all parts that are late. The stub waits behind them
// then.
func (s *Stub) settle() error {
	if err := s.settleOlder(); err != nil {
		return err
	}
	return s.over(&s.late)
}

// over takes the results of a part, if there is one, and forgets it.
func (s *Stub) over(which **part) error {
	p := *which
	if *which = nil; p == nil {
		return nil
	}
	if err := s.await(p); err != nil {
		return err
	}
	return p.b.Finish()
}

// await waits for the report on a part and takes its results.
func (s *Stub) await(p *part) error {
	p.before = nil
	gone, err := s.report()
	if err != nil {
		return s.betrayed(s.at(p), err.Error())
	}
	if err := s.collect(p, gone); err != nil {
		return err
	}
	return s.succeed(p.calls())
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

// collect takes the results of a part.
func (s *Stub) collect(p *part, gone bool) error {
	child := p.first // the end of what only a child has executed
	for i := p.first; i < p.next; i++ {
		c := &p.b.Calls[i]
		n := s.ring.result(p.record(i))
		if c.Skip > 0 && n > 0 {
			child = i + c.Skip + 1
		} else if i < child {
			continue // its results are the child's own
		}
		if n == unset {
			if gone {
				at := s.at(p)
				s.takeDead(p.calls())
				return s.ended(at)
			}
			return s.betrayed(lostAt(c), "reported calls that it did not execute")
		}
		if e := errno(n); e != 0 && !c.Tolerates(e) {
			if !gone {
				s.takeDead(p.calls()) // the child that it may have gone on to fork is the one to be ended
				s.Kill()              // it goes on behind a call of which it was told that errors are expected, not which
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
		s.takeDead(p.calls())
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
	for i := range c.Args {
		if m := c.Args[i].Mem; m != nil {
			s.fetchMemory(m, c)
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
func (s *Stub) at(p *part) *kernel.LostError {
	for i := p.first; i < p.next; i++ {
		n := s.ring.result(p.record(i))
		if n == unset {
			return lostAt(&p.b.Calls[i])
		}
		if n > 0 {
			i += p.b.Calls[i].Skip
		}
	}
	return &kernel.LostError{}
}

func lostAt(c *kernel.Call) *kernel.LostError {
	return &kernel.LostError{Field: c.Field, Want: c.Want(), Call: c.String()}
}

// Park gives the stub its last calls, which must fit into the shared memory
// at once, and returns when the stub has executed those that come before its
// report on the line, one byte. From then on the stub needs nobody. The
// batch's checks are not run.
func (s *Stub) Park(b *kernel.Batch) error {
	p, gone, err := s.last(b)
	if err != nil || !gone {
		return err
	}
	return s.verdict(p)
}

// Exec gives the stub its last calls, of which one replaces it by a program
// (execve closes the line), and returns when that has happened. The batch's
// checks are not run.
func (s *Stub) Exec(b *kernel.Batch) error {
	p, gone, err := s.last(b)
	if err != nil {
		return err
	}
	if !gone {
		return s.betrayed(s.at(p), "reported before it executed its program")
	}
	return s.verdict(p)
}

func (s *Stub) last(b *kernel.Batch) (p *part, gone bool, err error) {
	if err := s.usable(); err != nil {
		return nil, false, err
	}
	if err := s.whole(); err != nil {
		return nil, false, err
	}
	if p, err = s.write(b, 0); err != nil {
		return nil, false, err
	}
	if p.next < len(b.Calls) {
		return nil, false, tooLarge(&b.Calls[p.next])
	}
	s.ring.end()
	s.parked = true
	if err = s.release(); err == nil {
		s.overlap(b)
		gone, err = s.report()
	}
	if err != nil {
		return nil, false, s.betrayed(s.at(p), err.Error())
	}
	return p, gone, nil
}

// verdict says whether the last calls ended in a program that runs. Success
// is a call without return that was begun, the one before it having worked.
func (s *Stub) verdict(p *part) error {
	for i := 0; i < p.next; i++ {
		c := &p.b.Calls[i]
		n := s.ring.result(p.record(i))
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
