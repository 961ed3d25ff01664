package seccomp

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func ptr[T any](v T) *T { return &v }

// verdictOf executes a profile's program for one call.
func verdictOf(t *testing.T, s *specs.LinuxSeccomp, d call) uint32 {
	t.Helper()
	program, err := compile(s, x86_64)
	if err != nil {
		t.Fatal(err)
	}
	if err := valid(program); err != nil {
		t.Fatal(err)
	}
	got, _, err := execute(program, &d)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func rules(action specs.LinuxSeccompAction, names ...string) []specs.LinuxSyscall {
	return []specs.LinuxSyscall{{Names: names, Action: action}}
}

func TestActions(t *testing.T) {
	for _, c := range []struct {
		action specs.LinuxSeccompAction
		errno  *uint
		want   uint32
	}{
		{specs.ActKill, nil, unix.SECCOMP_RET_KILL_THREAD},
		{specs.ActKillThread, nil, unix.SECCOMP_RET_KILL_THREAD},
		{specs.ActKillProcess, nil, unix.SECCOMP_RET_KILL_PROCESS},
		{specs.ActTrap, nil, unix.SECCOMP_RET_TRAP},
		{specs.ActErrno, nil, unix.SECCOMP_RET_ERRNO | 1},
		{specs.ActErrno, ptr(uint(77)), unix.SECCOMP_RET_ERRNO | 77},
		{specs.ActErrno, ptr(uint(0)), unix.SECCOMP_RET_ERRNO},
		{specs.ActTrace, nil, unix.SECCOMP_RET_TRACE | 1},
		{specs.ActTrace, ptr(uint(65535)), unix.SECCOMP_RET_TRACE | 65535},
		{specs.ActLog, nil, unix.SECCOMP_RET_LOG},
		{specs.ActNotify, nil, unix.SECCOMP_RET_USER_NOTIF},
		{specs.ActAllow, nil, unix.SECCOMP_RET_ALLOW},
	} {
		mkdir := call{number: 83, arch: unix.AUDIT_ARCH_X86_64}
		s := &specs.LinuxSeccomp{DefaultAction: specs.ActLog, Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: c.action, ErrnoRet: c.errno}}}
		if got := verdictOf(t, s, mkdir); got != c.want {
			t.Errorf("%s: got %#x, want %#x", c.action, got, c.want)
		}
		if c.action == specs.ActNotify {
			continue
		}
		s = &specs.LinuxSeccomp{DefaultAction: c.action, DefaultErrnoRet: c.errno, Syscalls: rules(specs.ActTrap, "read", "mkdirat")}
		if got := verdictOf(t, s, mkdir); got != c.want {
			t.Errorf("default %s: got %#x, want %#x", c.action, got, c.want)
		}
	}
}

// What is newer than the newest call that the profile names does not exist, on
// each architecture by itself; runc alone does it beside tongs.
func TestNewerCalls(t *testing.T) {
	const enosys = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	all := []specs.Arch{specs.ArchX86, specs.ArchX32, specs.ArchARM, specs.ArchAARCH64}
	for _, c := range []struct {
		name   string
		s      specs.LinuxSeccomp
		d      call
		action uint32
	}{
		{"newer", specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: rules(specs.ActAllow, "openat2")}, call{number: 438}, enosys},
		{"newest", specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: rules(specs.ActAllow, "openat2")}, call{number: 437}, unix.SECCOMP_RET_ALLOW},
		{"older", specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: rules(specs.ActAllow, "openat2")}, call{number: 436}, unix.SECCOMP_RET_ERRNO | 1},
		{"only mentioned", specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: rules(specs.ActErrno, "openat2")}, call{number: 437}, unix.SECCOMP_RET_ERRNO | 1},
		{"killed by default", specs.LinuxSeccomp{DefaultAction: specs.ActKill, Syscalls: rules(specs.ActAllow, "openat2")}, call{number: 438}, enosys},
		{"allowed by default", specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: rules(specs.ActErrno, "openat2")}, call{number: 438}, unix.SECCOMP_RET_ALLOW},
		{"logged by default", specs.LinuxSeccomp{DefaultAction: specs.ActLog, Syscalls: rules(specs.ActErrno, "openat2")}, call{number: 438}, unix.SECCOMP_RET_LOG},
		{"traced by default", specs.LinuxSeccomp{DefaultAction: specs.ActTrace, Syscalls: rules(specs.ActAllow, "openat2")}, call{number: 438}, unix.SECCOMP_RET_TRACE | 1},
		{"no names", specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: rules(specs.ActAllow, "no_such_call")}, call{number: 438}, unix.SECCOMP_RET_ERRNO | 1},
		{"x32", specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: all, Syscalls: rules(specs.ActAllow, "openat2")},
			call{number: x32Bit + 438}, enosys},
		{"x32 not listed", specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: rules(specs.ActAllow, "openat2")}, call{number: x32Bit + 438}, badArch},
		{"x32, its own newest", specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: all, Syscalls: rules(specs.ActAllow, "pwritev2")},
			call{number: x32Bit + 548}, enosys},
		{"x86, newer", specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: all, Syscalls: rules(specs.ActAllow, "openat2")},
			call{number: 438, arch: unix.AUDIT_ARCH_I386}, enosys},
		{"ARM, newer", specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: all, Syscalls: rules(specs.ActAllow, "openat2", "set_tls")},
			call{number: 438, arch: unix.AUDIT_ARCH_ARM}, enosys},
		{"ARM, private", specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: all, Syscalls: rules(specs.ActAllow, "openat2", "set_tls")},
			call{number: 0xf0005, arch: unix.AUDIT_ARCH_ARM}, unix.SECCOMP_RET_ALLOW},
		{"ARM not listed", specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: rules(specs.ActAllow, "openat2")},
			call{number: 438, arch: unix.AUDIT_ARCH_ARM}, badArch},
	} {
		if c.d.arch == 0 {
			c.d.arch = unix.AUDIT_ARCH_X86_64
		}
		if got := verdictOf(t, &c.s, c.d); got != c.action {
			t.Errorf("%s: got %#x, want %#x", c.name, got, c.action)
		}
	}
}

// Two conditions on one argument are alternatives, as with runc and crun;
// libseccomp itself takes one only.
func TestRepeatedArgument(t *testing.T) {
	s := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"personality"}, Action: specs.ActAllow,
		Args: []specs.LinuxSeccompArg{{Index: 0, Value: 8, Op: specs.OpEqualTo}, {Index: 0, Value: 1 << 40, Op: specs.OpEqualTo}}}}}
	for value, want := range map[uint64]uint32{8: unix.SECCOMP_RET_ALLOW, 1 << 40: unix.SECCOMP_RET_ALLOW, 0: unix.SECCOMP_RET_ERRNO | 1, 1<<40 + 8: unix.SECCOMP_RET_ERRNO | 1} {
		if got := verdictOf(t, s, call{number: 135, arch: unix.AUDIT_ARCH_X86_64, args: [6]uint64{value}}); got != want {
			t.Errorf("%#x: got %#x, want %#x", value, got, want)
		}
	}
}

// On x86 a call is reached by its own number and through socketcall(2), and no
// way is more open than the other: libseccomp refuses such profiles.
func TestSharedCalls(t *testing.T) {
	socket := func(action specs.LinuxSeccompAction, args ...specs.LinuxSeccompArg) specs.LinuxSyscall {
		return specs.LinuxSyscall{Names: []string{"socket"}, Action: action, Args: args}
	}
	unixFamily := specs.LinuxSeccompArg{Index: 0, Value: unix.AF_UNIX, Op: specs.OpEqualTo}
	netlink := specs.LinuxSeccompArg{Index: 0, Value: unix.AF_NETLINK, Op: specs.OpEqualTo}
	audit := specs.LinuxSeccompArg{Index: 2, Value: unix.NETLINK_AUDIT, Op: specs.OpEqualTo}
	const allow, eperm, trap = unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_ERRNO | 1, unix.SECCOMP_RET_TRAP
	for _, c := range []struct {
		name            string
		rules           []specs.LinuxSyscall
		direct, through uint32 // socket(AF_UNIX, 0, NETLINK_AUDIT), by each way
		other           uint32 // socketcall(SYS_BIND)
	}{
		{"unconditional", []specs.LinuxSyscall{socket(specs.ActAllow)}, allow, allow, eperm},
		{"the family cannot be seen", []specs.LinuxSyscall{socket(specs.ActAllow, netlink)}, eperm, allow, eperm},
		{"stricter of what has become equal", []specs.LinuxSyscall{socket(specs.ActAllow, unixFamily), socket(specs.ActTrap, netlink)}, allow, trap, eperm},
		{"the same in the other order", []specs.LinuxSyscall{socket(specs.ActTrap, netlink), socket(specs.ActAllow, unixFamily)}, allow, trap, eperm},
		{"unconditional after a condition", []specs.LinuxSyscall{socket(specs.ActAllow, audit), socket(specs.ActTrap)}, trap, trap, eperm},
		{"first of two unconditional", []specs.LinuxSyscall{socket(specs.ActTrap), socket(specs.ActAllow), socket(specs.ActAllow, audit)}, trap, trap, eperm},
		{"socketcall itself", []specs.LinuxSyscall{socket(specs.ActTrap), {Names: []string{"socketcall"}, Action: specs.ActAllow}}, trap, allow, allow},
	} {
		s := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: []specs.Arch{specs.ArchX86}, Syscalls: append(c.rules, rules(specs.ActAllow, "openat2")...)}
		for d, want := range map[call]uint32{
			{number: 359, args: [6]uint64{unix.AF_UNIX, 0, unix.NETLINK_AUDIT}}: c.direct,
			{number: 102, args: [6]uint64{1, 0, unix.NETLINK_AUDIT}}:            c.through,
			{number: 102, args: [6]uint64{2, 0, unix.NETLINK_AUDIT}}:            c.other,
		} {
			d.arch = unix.AUDIT_ARCH_I386
			if got := verdictOf(t, s, d); got != want {
				t.Errorf("%s: %d: got %#x, want %#x", c.name, d.number, got, want)
			}
		}
	}
}

func TestFlags(t *testing.T) {
	for _, c := range []struct {
		flags []specs.LinuxSeccompFlag
		want  uint
	}{
		{nil, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW},
		{[]specs.LinuxSeccompFlag{}, 0},
		{[]specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_TSYNC", specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagWaitKillableRecv}, unix.SECCOMP_FILTER_FLAG_LOG},
		{[]specs.LinuxSeccompFlag{specs.LinuxSeccompFlagSpecAllow, specs.LinuxSeccompFlagLog}, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW | unix.SECCOMP_FILTER_FLAG_LOG},
	} {
		f, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: c.flags})
		if err != nil {
			t.Fatal(err)
		}
		if f.Flags != c.want {
			t.Errorf("%v: got %#x, want %#x", c.flags, f.Flags, c.want)
		}
	}
}

func TestErrors(t *testing.T) {
	arg := func(a specs.LinuxSeccompArg) []specs.LinuxSyscall {
		return []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActKill}, {Names: []string{"read"}, Action: specs.ActKill, Args: []specs.LinuxSeccompArg{{Op: specs.OpEqualTo}, a}}}
	}
	var many []specs.LinuxSyscall
	for i := range uint64(1200) {
		many = append(many, specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Value: i, Op: specs.OpEqualTo}}})
	}
	for _, c := range []struct {
		s    specs.LinuxSeccomp
		want string
	}{
		{specs.LinuxSeccomp{DefaultAction: "X"}, `linux.seccomp.defaultAction: unknown action "X"`},
		{specs.LinuxSeccomp{DefaultAction: specs.ActNotify}, `linux.seccomp.defaultAction: SCMP_ACT_NOTIFY is not possible for every system call`},
		{specs.LinuxSeccomp{DefaultAction: specs.ActLog, Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchS390X}},
			`linux.seccomp.architectures[1]: there is no table of the system calls of SCMP_ARCH_S390X`},
		{specs.LinuxSeccomp{DefaultAction: specs.ActLog, Syscalls: rules("Y", "read")}, `linux.seccomp.syscalls[0].action: unknown action "Y"`},
		{specs.LinuxSeccomp{DefaultAction: specs.ActLog, Syscalls: arg(specs.LinuxSeccompArg{Index: 6, Op: specs.OpEqualTo})},
			`linux.seccomp.syscalls[1].args[1].index: 6 is outside 0 to 5: a system call has six arguments`},
		{specs.LinuxSeccomp{DefaultAction: specs.ActLog, Syscalls: arg(specs.LinuxSeccompArg{Op: "Z"})}, `linux.seccomp.syscalls[1].args[1].op: unknown operator "Z"`},
		{specs.LinuxSeccomp{DefaultAction: specs.ActLog, Syscalls: many}, `linux.seccomp.syscalls: the rules need `},
	} {
		if _, err := Compile(&c.s); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

// The mean way through Docker's profile is not longer than that through
// libseccomp's tree.
func TestSteps(t *testing.T) {
	l := newLibrary(t)
	for _, name := range []string{"docker", "podman", "containerd"} {
		s := knownToBoth(l, fixture(t, name))
		theirs, err := l.compile(s, 2)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := compile(s, x86_64)
		if err != nil {
			t.Fatal(err)
		}
		mean := func(program []unix.SockFilter) (float64, int) {
			sum, count, most := 0, 0, 0
			for r := range rowCount {
				a := known()[0]
				if n := a.cell(r); n >= 0 {
					_, steps, err := execute(program, &call{number: uint32(n), arch: a.token})
					if err != nil {
						t.Fatal(err)
					}
					sum, count, most = sum+steps, count+1, max(most, steps)
				}
			}
			return float64(sum) / float64(count), most
		}
		our, most := mean(ours)
		their, theirMost := mean(theirs)
		t.Logf("%s: %.1f instructions a call (at most %d), libseccomp %.1f (%d)", name, our, most, their, theirMost)
		if our > their {
			t.Errorf("%s: %.1f instructions a call, libseccomp %.1f", name, our, their)
		}
	}
}

// Compiling allocates little: a container's start pays for it.
func TestAllocations(t *testing.T) {
	s := fixture(t, "docker")
	if n := testing.AllocsPerRun(10, func() {
		if _, err := Compile(s); err != nil {
			t.Fatal(err)
		}
	}); n > 300 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCompile(b *testing.B) {
	s := fixture(b, "docker")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(s); err != nil {
			b.Fatal(err)
		}
	}
}

// table_gen.go is what gen writes.
func TestTableIsCurrent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "table_gen.go")
	run(t, "go", "run", "./gen", "-o", file)
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("table_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Error("table_gen.go is not current: run go generate ./internal/seccomp")
	}
}

// Whatever a profile says, there is an error or a program that the kernel
// takes, which ends with every call.
func FuzzCompile(f *testing.F) {
	for _, name := range []string{"docker", "podman", "containerd"} {
		data, err := os.ReadFile("testdata/" + name + ".json")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, uint64(1))
	}
	all := names(f)
	for seed := range uint64(20) {
		k := kind{operators: operators(), mixed: true}
		data, err := json.Marshal(randomProfile(rand.New(rand.NewPCG(seed, 9)), all, k))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, seed)
	}
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		s := &specs.LinuxSeccomp{}
		if json.Unmarshal(data, s) != nil {
			return
		}
		filter, err := Compile(s)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "linux.seccomp") {
				t.Fatalf("the error names no field: %v", err)
			}
			return
		}
		if err := valid(filter.Program); err != nil {
			t.Fatal(err)
		}
		random := rand.New(rand.NewPCG(seed, 3))
		for range 100 {
			d := &call{number: pick(random, askedNumbers()[:200]), arch: pick(random, askedArchs())}
			for i := range d.args {
				d.args[i] = anyValue(random)
			}
			if _, _, err := execute(filter.Program, d); err != nil {
				t.Fatal(err)
			}
		}
	})
}
