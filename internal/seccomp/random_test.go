package seccomp

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// actionsOf lists all actions that a rule may have.
func actionsOf() []specs.LinuxSeccompAction {
	return []specs.LinuxSeccompAction{specs.ActAllow, specs.ActErrno, specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap,
		specs.ActTrace, specs.ActLog, specs.ActNotify}
}

func pick[T any](random *rand.Rand, list []T) T { return list[random.IntN(len(list))] }

// anyValue is a number of which few differ, so that rules meet.
func anyValue(random *rand.Rand) uint64 {
	if random.IntN(8) == 0 {
		return random.Uint64()
	}
	return pick(random, []uint64{0, 1, 2, 3, 5, 0x7fffffff, 0x80000000, 0xffffffff, 1 << 32, 1<<32 + 1, 5 << 32, ^uint64(0)})
}

// kind says what a random profile may have.
type kind struct {
	operators []specs.LinuxSeccompOperator
	once      bool // one rule with conditions for each call at most
	single    bool // a rule has one condition at most
	mixed     bool // rules with conditions have any actions, otherwise one
}

func randomProfile(random *rand.Rand, names []string, k kind) *specs.LinuxSeccomp {
	s := &specs.LinuxSeccomp{DefaultAction: pick(random, actionsOf()[:8])}
	if s.DefaultAction == specs.ActErrno && random.IntN(2) == 0 {
		errno := uint(random.IntN(100))
		s.DefaultErrnoRet = &errno
	}
	for _, a := range []specs.Arch{specs.ArchX86, specs.ArchX32, specs.ArchAARCH64, specs.ArchARM, specs.ArchX86_64} {
		if random.IntN(3) == 0 {
			s.Architectures = append(s.Architectures, a)
		}
	}
	few := make([]string, 5+random.IntN(60)) // so that rules meet
	for i := range few {
		few[i] = pick(random, names)
	}
	one := pick(random, actionsOf())
	conditional := map[string]bool{}
	for range 1 + random.IntN(30) {
		r := specs.LinuxSyscall{Action: pick(random, actionsOf())}
		if random.IntN(2) == 0 {
			r.Args = randomArgs(random, k)
			if !k.mixed {
				r.Action = one
			}
		}
		for range 1 + random.IntN(8) {
			name := pick(random, few)
			if k.once && len(r.Args) > 0 && conditional[name] {
				continue
			}
			conditional[name] = conditional[name] || len(r.Args) > 0
			r.Names = append(r.Names, name)
		}
		if len(r.Names) > 0 {
			s.Syscalls = append(s.Syscalls, r)
		}
	}
	return s
}

func randomArgs(random *rand.Rand, k kind) []specs.LinuxSeccompArg {
	var list []specs.LinuxSeccompArg
	count := 1 + random.IntN(6)
	if k.single {
		count = 1
	}
	for i := range count {
		index := uint(random.IntN(3))
		if k.once {
			index = uint(i)
		}
		list = append(list, specs.LinuxSeccompArg{Index: index, Op: pick(random, k.operators), Value: anyValue(random), ValueTwo: anyValue(random)})
	}
	return list
}

// libseccomp gives the same verdicts where its own are right. They are wrong
// (2.5.4) where several rules of one call compare the same argument by order:
// its tree joins the upper halves of different comparisons. There tongs is
// measured by what the profile says, in TestMeaning.
func TestRandomProfiles(t *testing.T) {
	l := newLibrary(t)
	all := slices.DeleteFunc(names(t), func(name string) bool { return l.number(x86_64, name) == -1 })
	equality := []specs.LinuxSeccompOperator{specs.OpEqualTo, specs.OpNotEqual, specs.OpMaskedEqual}
	for name, k := range map[string]kind{
		"one rule a call":           {operators: operators(), once: true, mixed: true},
		"several rules, one action": {operators: equality, single: true},
	} {
		t.Run(name, func(t *testing.T) {
			calls, refused := 0, 0
			for seed := range uint64(60) {
				random := rand.New(rand.NewPCG(seed, 7))
				s := randomProfile(random, all, k)
				theirs, err := l.compile(s, 1+int(seed%2))
				if err != nil {
					refused++
					t.Logf("seed %d: %v", seed, err)
					continue
				}
				calls += compare(t, s, without(t, s), theirs, random)
				if t.Failed() {
					text, _ := json.Marshal(s)
					t.Fatalf("seed %d: %s", seed, text)
				}
			}
			t.Logf("%d calls, %d profiles refused by libseccomp", calls, refused)
		})
	}
}

// What a profile says is what its program does, also where rules contradict
// each other: then the first that holds counts.
func TestMeaning(t *testing.T) {
	all, several := names(t), 0
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 8))
		s := randomProfile(random, all, kind{operators: operators(), mixed: true})
		program, m := without(t, s), newMeaning(t, s)
		each(s, random, func(d *call) bool {
			if random.IntN(8) > 0 {
				return true // enough are left
			}
			got, _, err := execute(program, d)
			if err != nil {
				t.Fatal(err)
			}
			want := m.verdicts(d)
			if len(want) > 1 {
				several++
			}
			if got != want[0] {
				t.Errorf("seed %d: %#x %d %#x: got %#x, want %#x", seed, d.arch, int32(d.number), d.args, got, want)
			}
			return got == want[0]
		})
	}
	if several < 1000 {
		t.Errorf("only %d calls had rules that contradict each other", several)
	}
}
