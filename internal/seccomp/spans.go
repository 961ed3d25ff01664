package seccomp

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// target is what becomes of a call: an action, or if verdict is above 0 what
// that one of profile.verdicts (counted from 1) says. It is small, as is shared,
// since tables of them lie on the stack, which a new process has to grow.
type target struct {
	action  uint32
	verdict uint16
}

// span is a range of numbers with one target. It ends where the next begins.
type span struct {
	first  uint32
	to     target
	weight int // how many calls of the table are in it
}

// slot is what the rules say of one system call of an architecture.
type slot struct {
	target
	set bool
}

// spans gives the numbers of an architecture, from its first to the greatest
// possible, as ranges: neighbours with one fate are one.
func (p *profile) spans(a *arch) []span {
	var table [tableSize]slot
	last := p.fill(&table, a)
	list := make([]span, 0, 128)
	add := func(number uint32, to target, weight int) {
		if n := len(list); n > 0 && list[n-1].to == to {
			list[n-1].weight += weight
			return
		}
		list = append(list, span{number, to, weight})
	}
	fallback := target{action: p.fallback}
	get := func(i int) target {
		if table[i].set {
			return table[i].target
		}
		return fallback
	}
	for i := range last + 1 {
		add(a.number(i), get(i), 1)
	}
	beyond := fallback
	if p.enosys && last >= 0 {
		beyond.action = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	}
	add(a.number(last+1), beyond, 1)
	for i := armPrivate; i < tableSize; i++ {
		if table[i].set {
			add(a.number(i), get(i), 1)
			add(a.number(i)+1, beyond, 0)
		}
	}
	return list
}

// x32Spans adds what is above the numbers of x86-64: x32, if the profile lists
// it. Otherwise its calls are those of an architecture that is not listed, but
// for -1, which is no call at all: a tracer puts it there to skip one.
func (p *profile) x32Spans(list []span, all []arch) []span {
	for i := range all {
		if all[i].name == x32 {
			return append(list, p.spans(&all[i])...)
		}
	}
	return append(list, span{x32Bit, target{action: badArch}, 1}, span{^uint32(0), target{action: p.fallback}, 0})
}

// fill goes through the rules, and returns the place of the newest call that
// is named in them, -1 if there is none.
func (p *profile) fill(table *[tableSize]slot, a *arch) (last int) {
	var codes [rowCount]shared
	if a.shared {
		codes = sharedCalls()
	}
	last = -1
	for i := range p.rules {
		r := &p.rules[i]
		for _, row := range r.rows {
			cell := a.cell(row)
			if cell >= 0 && cell < armPrivate {
				last = max(last, cell)
			}
			if r.redundant {
				continue
			}
			if code := codes[row]; code.call > 0 {
				p.add(&table[code.call], a, r, &condition{op: specs.OpEqualTo, mask: ^uint64(0), value: uint64(code.code)})
			}
			if cell >= 0 {
				p.add(&table[cell], a, r, nil)
			}
		}
	}
	return last
}

// add adds a rule to those of a call. The first unconditional rule decides
// alone, whatever comes before and after it, as with libseccomp. through is
// set for a call behind a shared one, whose first argument tells which is
// meant; then nothing can be said of that argument itself.
func (p *profile) add(s *slot, a *arch, r *rule, through *condition) {
	switch {
	case s.set && s.verdict == 0:
		return
	case len(r.alternatives) == 0 && through == nil:
		*s = slot{target{action: r.action}, true}
		return
	}
	alternatives := r.alternatives
	if len(alternatives) == 0 {
		alternatives = [][]condition{nil}
	}
	for _, list := range alternatives {
		conditions := effective(list, a.wide, through)
		if len(conditions) == 0 {
			*s = slot{target{action: r.action}, true}
			return
		}
		if !s.set {
			p.verdicts = append(p.verdicts, verdict{})
			*s = slot{target{verdict: uint16(len(p.verdicts))}, true}
		}
		v := &p.verdicts[s.verdict-1]
		if through != nil {
			v.addBehind(clause{r.action, conditions, len(r.alternatives) == 0})
		} else {
			v.clauses = append(v.clauses, clause{r.action, conditions, false})
		}
	}
}

// addBehind adds a rule for a call behind a shared one; the first condition
// tells which. As for calls with a number of their own the first unconditional
// rule decides alone. Where rules have become equal, since nothing can be said
// of the first argument, the stricter action counts: that of the lower number,
// read as signed (seccomp(2)). libseccomp refuses such profiles.
func (v *verdict) addBehind(c clause) {
	kept, merged := v.clauses[:0], false
	for _, old := range v.clauses {
		switch {
		case old.conditions[0] != c.conditions[0]:
		case old.whole:
			return // the first, so nothing has been left out
		case c.whole:
			continue
		case slices.Equal(old.conditions, c.conditions):
			old.action = uint32(min(int32(old.action), int32(c.action)))
			merged = true
		}
		kept = append(kept, old)
	}
	if v.clauses = kept; !merged {
		v.clauses = append(v.clauses, c)
	}
}

// effective leaves out what is always true: a comparison without a bit.
func effective(list []condition, wide bool, through *condition) []condition {
	if wide && through == nil && !slices.ContainsFunc(list, func(c condition) bool { return c.mask == 0 }) {
		return list
	}
	out := make([]condition, 0, len(list)+1)
	if through != nil {
		out = append(out, *through)
	}
	for _, c := range list {
		if !wide {
			c.mask, c.value = c.mask&0xffffffff, c.value&0xffffffff
		}
		if c.mask == 0 || through != nil && c.index == 0 {
			continue
		}
		out = append(out, c)
	}
	return out
}

// shared is a call behind socketcall(2) or ipc(2), by their first argument.
type shared struct {
	call uint16 // 0: it is not behind one
	code uint16
}

// sharedCalls lists, for x86, the codes of linux/net.h and linux/ipc.h by row.
// The kernel has these calls under numbers of their own as well, since 4.3
// and 5.1, but for some old ones.
func sharedCalls() (list [rowCount]shared) {
	const socketcall, ipc = 102, 117
	for i, name := range [...]string{"socket", "bind", "connect", "listen", "accept", "getsockname", "getpeername", "socketpair", "send", "recv",
		"sendto", "recvfrom", "shutdown", "setsockopt", "getsockopt", "sendmsg", "recvmsg", "accept4", "recvmmsg", "sendmmsg"} {
		if r := row(name); r >= 0 {
			list[r] = shared{socketcall, uint16(i + 1)}
		}
	}
	for i, name := range [...]string{"semop", "semget", "semctl", "semtimedop", "", "", "", "", "", "", "msgsnd", "msgrcv", "msgget", "msgctl",
		"", "", "", "", "", "", "shmat", "shmdt", "shmget", "shmctl"} {
		if r := row(name); r >= 0 {
			list[r] = shared{ipc, uint16(i + 1)}
		}
	}
	return list
}
