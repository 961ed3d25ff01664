package seccomp

import (
	"fmt"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// meaning judges calls by a profile as it is written, without a program: what
// the specification says, and nothing of how it is compiled.
type meaning struct {
	s        *specs.LinuxSeccomp
	fallback uint32
	actions  []uint32 // of the rules
	shared   [rowCount]shared
	archs    []specs.Arch
	names    map[specs.Arch]map[uint32]string
}

func newMeaning(t testing.TB, s *specs.LinuxSeccomp) *meaning {
	m := &meaning{s: s, fallback: mustAction(t, s.DefaultAction, s.DefaultErrnoRet), names: map[specs.Arch]map[uint32]string{}}
	m.archs = append([]specs.Arch{x86_64}, s.Architectures...)
	m.shared = sharedCalls()
	for _, r := range s.Syscalls {
		m.actions = append(m.actions, mustAction(t, r.Action, r.ErrnoRet))
	}
	all := names(t)
	for _, a := range known() {
		m.names[a.name] = map[uint32]string{}
		for _, name := range all {
			if cell := a.cell(row(name)); cell >= 0 {
				m.names[a.name][a.number(cell)] = name
			}
		}
	}
	return m
}

// verdicts lists the actions that rules which hold for a call give: one, unless
// rules with conditions contradict each other.
func (m *meaning) verdicts(d *call) []uint32 {
	for _, a := range known() {
		if a.token != d.arch || !slices.Contains(m.archs, a.name) || (a.name == x32) != (d.arch == known()[0].token && d.number >= x32Bit) {
			continue
		}
		return m.ofArch(&a, d)
	}
	if d.arch == known()[0].token && d.number == ^uint32(0) {
		return []uint32{m.fallback}
	}
	return []uint32{badArch}
}

func (m *meaning) ofArch(a *arch, d *call) []uint32 {
	var list []held
	for i := range m.s.Syscalls {
		r := &m.s.Syscalls[i]
		if m.actions[i] == m.fallback {
			continue
		}
		for _, name := range r.Names {
			through := m.through(a, d, name)
			if !through && m.names[a.name][d.number] != name {
				continue
			}
			for _, args := range groups(r.Args) {
				holds, conditions := m.hold(a, args, d, through)
				switch {
				case conditions == "" && !through:
					return []uint32{m.actions[i]}
				case holds && through:
					list = behind(list, held{m.actions[i], true, len(r.Args) == 0, conditions})
				case holds:
					list = append(list, held{action: m.actions[i]})
				}
			}
		}
	}
	if list == nil {
		return []uint32{m.fallback}
	}
	var actions []uint32
	for _, h := range list {
		actions = append(actions, h.action)
	}
	return actions
}

// held is a rule that holds for a call.
type held struct {
	action         uint32
	through, whole bool // for a call behind a shared one; without conditions
	conditions     string
}

// behind adds a rule for a call behind a shared one: the first unconditional
// one decides alone, and of those that say the same the stricter counts.
func behind(list []held, h held) []held {
	for i := range list {
		switch old := &list[i]; {
		case old.through && old.whole:
			return list
		case old.through && !h.whole && old.conditions == h.conditions:
			old.action = uint32(min(int32(old.action), int32(h.action)))
			return list
		}
	}
	if h.whole {
		list = slices.DeleteFunc(list, func(old held) bool { return old.through })
	}
	return append(list, h)
}

// through reports whether a call is that of the name, made by a shared one.
func (m *meaning) through(a *arch, d *call, name string) bool {
	if !a.shared || row(name) < 0 {
		return false
	}
	code := m.shared[row(name)]
	return code.call > 0 && int(d.number) == int(code.call) && uint32(d.args[0]) == uint32(code.code)
}

// hold reports whether all conditions hold, and which there are that say
// something.
func (m *meaning) hold(a *arch, args []specs.LinuxSeccompArg, d *call, through bool) (holds bool, conditions string) {
	holds = true
	for _, c := range args {
		x, v, mask := d.args[c.Index], c.Value, ^uint64(0)
		if c.Op == specs.OpMaskedEqual {
			mask, v = c.Value, c.ValueTwo
		}
		if !a.wide {
			mask &= 0xffffffff
			if c.Op != specs.OpMaskedEqual {
				x, v = x&mask, v&mask
			}
		}
		if mask == 0 || through && c.Index == 0 {
			continue
		}
		conditions += fmt.Sprintln(c.Index, c.Op, mask, v&mask)
		holds = holds && map[specs.LinuxSeccompOperator]bool{specs.OpNotEqual: x != v, specs.OpLessThan: x < v, specs.OpLessEqual: x <= v,
			specs.OpEqualTo: x == v, specs.OpGreaterEqual: x >= v, specs.OpGreaterThan: x > v, specs.OpMaskedEqual: x&mask == v&mask}[c.Op]
	}
	return holds, conditions
}
