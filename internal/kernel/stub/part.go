package stub

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/kernel/stub/code"
)

// part is some calls of a batch that lie in the ring together.
type part struct {
	b           *kernel.Batch
	first, next int // the calls, and the first that is not among them
	base        int // record of the first

	before *part // what was late when this was written, whose results calls may use
	uses   bool  // one does: it must be over before the other half is written again
}

func (p *part) calls() []kernel.Call { return p.b.Calls[p.first:p.next] }

// record is where call i of the batch lies.
func (p *part) record(i int) int { return p.base + i - p.first }

// write puts calls of b from index first on into the ring, as many as fit, where
// the stub goes on.
func (s *Stub) write(b *kernel.Batch, first int) (*part, error) {
	if err := s.free(); err != nil {
		return nil, err
	}
	p := &part{b: b, first: first, base: s.next, before: s.late}
	s.ring.begin(s.next, s.late != nil)
	for i := first; i < len(b.Calls); i++ {
		var err error
		if s.ring.n < s.ring.limit-1 { // one is left for the end
			err = s.ring.call(b, &b.Calls[i], p)
		}
		if err == nil && s.ring.n == p.record(i)+1 {
			continue
		}
		p.next = wholeChildren(b.Calls[first:i]) + first
		if p.next == first && (s.late != nil || s.next != firstRecord) {
			if err := s.whole(); err != nil {
				return nil, err
			}
			return s.write(b, first)
		}
		if p.next == first {
			return nil, tooLarge(&b.Calls[i])
		}
		s.ring.n = p.record(p.next)
		return p, nil
	}
	p.next = len(b.Calls)
	return p, nil
}

// free takes the results of the parts that need the half where the stub goes on.
func (s *Stub) free() error {
	if s.late != nil && s.late.uses {
		return s.settle()
	}
	return s.settleOlder()
}

// turn lets the stub go on with the first record after the last one, and so does the
// record behind that: a parent comes there whose child has executed the last ones.
func (s *Stub) turn() {
	s.ring.jump()
	s.ring.raw(unix.SYS_GETPID, code.FlagJump)
	s.next = firstRecord
}

// whole sees to it that the next part can have all of the ring.
func (s *Stub) whole() error {
	if s.next == firstRecord {
		return s.settle()
	}
	if err := s.free(); err != nil {
		return err
	}
	p := &part{b: &kernel.Batch{}, base: s.next}
	s.ring.begin(s.next, true)
	s.ring.raw(unix.SYS_GETPID, 0) // does nothing
	s.turn()
	if err := s.release(); err != nil {
		return s.betrayed(s.at(p), err.Error())
	}
	return s.both(p)
}

// wholeChildren is how many of the calls can be executed without the ones behind
// them: a child cannot go on in another part of the batch.
func wholeChildren(calls []kernel.Call) int {
	for i := range calls {
		if i+max(calls[i].Skip, calls[i].Together) >= len(calls) {
			return i
		}
	}
	return len(calls)
}

// tooLarge is the error of a call that does not fit into the shared memory.
func tooLarge(c *kernel.Call) error {
	var parts []string
	for _, part := range []string{c.Field, c.Want(), c.Name} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return fmt.Errorf("%s: %w", strings.Join(parts, ": "), errTooLarge)
}

// lead lets the stub go on in the other half of the ring after a part, if that is
// free: from the second half the first records lead to the first, from the first a
// call that skips the rest of it leads to a report and a wait in front of the second.
// These have a place of their own for the reason that reportRecord has.
func (s *Stub) lead(p *part) bool {
	if p.base == middle {
		s.turn()
		return true
	}
	away := middle - restRecords - s.ring.n - 1
	if away < 0 || s.ring.arena > arenaMiddle {
		return false
	}
	s.ring.raw(unix.SYS_GETPID, uint64(away)<<code.SkipShift) // a positive number
	s.ring.n = middle - restRecords
	s.rest()
	s.next = middle
	return true
}
