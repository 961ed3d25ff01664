package seccomp

import (
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
	var list []uint32
	for i := range m.s.Syscalls {
		r := &m.s.Syscalls[i]
		act := m.actions[i]
		if act == m.fallback {
			continue
		}
		for _, name := range r.Names {
			through := false
			if a.shared && row(name) >= 0 {
				code := m.shared[row(name)]
				through = code.call > 0 && int(d.number) == code.call && uint32(d.args[0]) == uint32(code.code)
			}
			if !through && m.names[a.name][d.number] != name {
				continue
			}
			for _, args := range groups(r.Args) {
				holds, conditions := m.hold(a, args, d, through)
				if conditions == 0 && !through {
					return []uint32{act}
				}
				if holds {
					list = append(list, act)
				}
			}
		}
	}
	if list == nil {
		list = append(list, m.fallback)
	}
	return list
}

// hold reports whether all conditions hold, and how many there are that say
// something.
func (m *meaning) hold(a *arch, args []specs.LinuxSeccompArg, d *call, through bool) (holds bool, conditions int) {
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
		conditions++
		holds = holds && map[specs.LinuxSeccompOperator]bool{specs.OpNotEqual: x != v, specs.OpLessThan: x < v, specs.OpLessEqual: x <= v,
			specs.OpEqualTo: x == v, specs.OpGreaterEqual: x >= v, specs.OpGreaterThan: x > v, specs.OpMaskedEqual: x&mask == v&mask}[c.Op]
	}
	return holds, conditions
}
