package seccomp

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data (seccomp(2)) on little-endian systems.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

// label is an instruction that can be jumped to: its place in code.reversed.
type label int

// code is a program that is written from its end, since jumps only go forward.
type code struct {
	reversed []unix.SockFilter
	returns  []returned
	p        *profile
}

// returned is where an action was last returned.
type returned struct {
	action uint32
	at     label
}

func newCode(p *profile) *code {
	return &code{p: p, reversed: make([]unix.SockFilter, 0, 512), returns: make([]returned, 0, 8)}
}

// program is the finished code, in its order.
func (c *code) program() []unix.SockFilter {
	slices.Reverse(c.reversed)
	return c.reversed
}

func (c *code) emit(op uint16, k uint32, jt, jf uint8) label {
	c.reversed = append(c.reversed, unix.SockFilter{Code: op, Jt: jt, Jf: jf, K: k})
	return label(len(c.reversed) - 1)
}

// distance is how many instructions a jump that is written next would leave
// out.
func (c *code) distance(to label) int { return len(c.reversed) - 1 - int(to) }

// far is the greatest distance of a conditional jump.
const far = 255

// jump is a conditional one. Targets that are too far off get a jump of their
// own in between.
func (c *code) jump(op uint16, k uint32, yes, no label) label {
	if yes == no {
		return yes
	}
	if c.distance(no) > far-1 { // one more may come between
		no = c.emit(unix.BPF_JMP|unix.BPF_JA, uint32(c.distance(no)), 0, 0)
	}
	if c.distance(yes) > far {
		yes = c.emit(unix.BPF_JMP|unix.BPF_JA, uint32(c.distance(yes)), 0, 0)
	}
	return c.emit(unix.BPF_JMP|op|unix.BPF_K, k, uint8(c.distance(yes)), uint8(c.distance(no)))
}

// follow makes next the instruction that is executed after the one that is
// written next.
func (c *code) follow(next label) {
	if d := c.distance(next); d > 0 {
		c.emit(unix.BPF_JMP|unix.BPF_JA, uint32(d), 0, 0)
	}
}

// load loads a word of seccomp_data and goes on with next.
func (c *code) load(offset uint32, next label) label {
	c.follow(next)
	return c.emit(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset, 0, 0)
}

// ret ends the program with an action. One that is near is used again.
func (c *code) ret(action uint32) label {
	const near = far - 64 // the jump may be some instructions off
	for i := range c.returns {
		if r := &c.returns[i]; r.action == action {
			if c.distance(r.at) > near {
				r.at = c.emit(unix.BPF_RET|unix.BPF_K, action, 0, 0)
			}
			return r.at
		}
	}
	at := c.emit(unix.BPF_RET|unix.BPF_K, action, 0, 0)
	c.returns = append(c.returns, returned{action, at})
	return at
}

// search finds the span of the number that is loaded, by halves of about equal
// weight: then the mean way is short.
func (c *code) search(list []span, wide bool) label {
	switch {
	case len(list) == 1:
		return c.target(list[0].to, wide)
	case len(list) == 3 && list[0].to == list[2].to && list[1].first+1 == list[2].first:
		no := c.target(list[0].to, wide)
		return c.jump(unix.BPF_JEQ, list[1].first, c.target(list[1].to, wide), no)
	}
	at := middle(list)
	above := c.search(list[at:], wide)
	below := c.search(list[:at], wide)
	return c.jump(unix.BPF_JGE, list[at].first, above, below)
}

// middle is where a list is parted.
func middle(list []span) int {
	total := 0
	for i := range list {
		total += list[i].weight
	}
	best, least, sum := 1, total+1, 0
	for i := 1; i < len(list); i++ {
		sum += list[i-1].weight
		if d := max(2*sum-total, total-2*sum); d < least {
			best, least = i, d
		}
	}
	return best
}

func (c *code) target(to target, wide bool) label {
	if to.verdict == 0 {
		return c.ret(to.action)
	}
	no := c.ret(c.p.fallback)
	clauses := c.p.verdicts[to.verdict-1].clauses
	for i := len(clauses) - 1; i >= 0; i-- {
		yes := c.ret(clauses[i].action)
		conditions := clauses[i].conditions
		for j := len(conditions) - 1; j >= 0; j-- {
			yes = c.compare(&conditions[j], wide, yes, no)
		}
		no = yes
	}
	return no
}

// compare compares an argument: both halves of it, the upper one first, or the
// lower one only.
func (c *code) compare(cond *condition, wide bool, yes, no label) label {
	low := uint32(offsetArgs + 8*cond.index)
	op := uint16(unix.BPF_JEQ)
	switch cond.op {
	case specs.OpNotEqual:
		yes, no = no, yes
	case specs.OpGreaterThan:
		op = unix.BPF_JGT
	case specs.OpLessEqual:
		op, yes, no = unix.BPF_JGT, no, yes
	case specs.OpGreaterEqual:
		op = unix.BPF_JGE
	case specs.OpLessThan:
		op, yes, no = unix.BPF_JGE, no, yes
	}
	start := yes
	if lower := uint32(cond.mask); lower != 0 {
		start = c.masked(low, lower, c.jump(op, uint32(cond.value), yes, no))
	}
	upper := uint32(cond.mask >> 32)
	if !wide || upper == 0 {
		return start
	}
	value := uint32(cond.value >> 32)
	same := c.jump(unix.BPF_JEQ, value, start, no)
	if op != unix.BPF_JEQ {
		same = c.jump(unix.BPF_JGT, value, yes, same)
	}
	return c.masked(low+4, upper, same)
}

// masked loads a half of an argument.
func (c *code) masked(offset, mask uint32, next label) label {
	if mask != ^uint32(0) {
		c.follow(next)
		next = c.emit(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, mask, 0, 0)
	}
	return c.load(offset, next)
}
