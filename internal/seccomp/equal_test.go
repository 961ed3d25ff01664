package seccomp

import (
	"math/rand/v2"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// askedNumbers are the numbers of system calls that are tried: all of the
// tables with a margin, those of ARM's private calls, of x32, and what no
// kernel has.
func askedNumbers() []uint32 {
	var list []uint32
	for n := range uint32(1100) {
		list = append(list, n, x32Bit+n)
	}
	for n := range uint32(16) {
		list = append(list, armPrivateFirst+n, ^n, 1<<31+n, 1<<31-1-n, x32Bit-1-n, 3*x32Bit+n)
	}
	return list
}

// askedArchs are all tokens of the table and two others.
func askedArchs() []uint32 {
	list := []uint32{0, unix.AUDIT_ARCH_S390X}
	for _, a := range known() {
		if !slices.Contains(list, a.token) {
			list = append(list, a.token)
		}
	}
	return list
}

// askedArguments are, for each argument, the values around those that it is
// compared with: neighbours, and every mix of halves.
func askedArguments(s *specs.LinuxSeccomp) [6][]uint64 {
	var list [6][]uint64
	for i := range list {
		list[i] = []uint64{0, ^uint64(0)}
	}
	for _, r := range s.Syscalls {
		for _, a := range r.Args {
			for _, v := range []uint64{a.Value, a.ValueTwo} {
				high, low := v&^0xffffffff, v&0xffffffff
				for _, h := range []uint64{0, high, high + 1<<32, high - 1<<32, 0xffffffff << 32} {
					for _, l := range []uint64{0, low, (low + 1) & 0xffffffff, (low - 1) & 0xffffffff, low | 1, 0xffffffff} {
						list[a.Index] = append(list[a.Index], h|l)
					}
				}
			}
			list[a.Index] = append(list[a.Index], a.ValueTwo|^a.Value)
		}
	}
	for i := range list {
		slices.Sort(list[i])
		list[i] = slices.Compact(list[i])
	}
	return list
}

// each visits what is asked: each number of each architecture with one set of
// arguments, and what has rules about arguments with all values of each while
// the others are drawn.
func each(s *specs.LinuxSeccomp, random *rand.Rand, visit func(*call) bool) {
	values := askedArguments(s)
	draw := func(d *call) {
		for i := range d.args {
			d.args[i] = values[i][random.IntN(len(values[i]))]
		}
	}
	d := &call{}
	for _, d.arch = range askedArchs() {
		for _, d.number = range askedNumbers() {
			draw(d)
			if !visit(d) {
				return
			}
		}
		for _, r := range s.Syscalls {
			for _, name := range r.Names {
				for _, a := range known() {
					if a.token != d.arch || row(name) < 0 || a.cell(row(name)) < 0 || len(r.Args) == 0 {
						continue
					}
					numbers := []uint32{a.number(a.cell(row(name)))}
					if a.shared {
						numbers = append(numbers, 102, 117)
					}
					for _, d.number = range numbers {
						for i := range values {
							for _, v := range values[i] {
								draw(d)
								if d.args[i] = v; !visit(d) {
									return
								}
								if d.args[0] = random.Uint64N(28); i > 0 && !visit(d) {
									return
								}
							}
						}
					}
				}
			}
		}
	}
}

// compare wants the same verdicts of both programs, and counts the calls.
func compare(t *testing.T, s *specs.LinuxSeccomp, ours, theirs []unix.SockFilter, random *rand.Rand) (calls int) {
	t.Helper()
	each(s, random, func(d *call) bool {
		got, _, err := execute(ours, d)
		if err != nil {
			t.Fatalf("ours: %v", err)
		}
		want, _, err := execute(theirs, d)
		if err != nil {
			t.Fatalf("libseccomp's: %v", err)
		}
		calls++
		if got != want {
			t.Errorf("%#x %d %#x: got %#x, libseccomp gives %#x", d.arch, int32(d.number), d.args, got, want)
		}
		return got == want
	})
	return calls
}

// knownToBoth leaves out the names that libseccomp does not know.
func knownToBoth(l *library, s *specs.LinuxSeccomp) *specs.LinuxSeccomp {
	copied := *s
	copied.Syscalls = nil
	for _, r := range s.Syscalls {
		r.Names = slices.DeleteFunc(slices.Clone(r.Names), func(name string) bool { return l.number(x86_64, name) == -1 })
		if len(r.Names) > 0 {
			copied.Syscalls = append(copied.Syscalls, r)
		}
	}
	return &copied
}

func TestProfilesOfEngines(t *testing.T) {
	l := newLibrary(t)
	for _, name := range []string{"docker", "podman", "containerd"} {
		t.Run(name, func(t *testing.T) {
			s := knownToBoth(l, fixture(t, name))
			for optimize := 1; optimize <= 2; optimize++ {
				theirs, err := l.compile(s, optimize)
				if err != nil {
					t.Fatal(err)
				}
				ours := without(t, s)
				n := compare(t, s, ours, theirs, rand.New(rand.NewPCG(1, 2)))
				t.Logf("%d calls; %d instructions, libseccomp %d", n, len(ours), len(theirs))
			}
		})
	}
}
