package seccomp

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// library is the program of testdata/libseccomp.c at work.
type library struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

// newLibrary builds and starts it (Debian: gcc, libseccomp-dev).
func newLibrary(t *testing.T) *library {
	t.Helper()
	program := filepath.Join(t.TempDir(), "libseccomp")
	run(t, "gcc", "-O1", "-Wall", "-Werror", "-o", program, "testdata/libseccomp.c", "-lseccomp")
	cmd := exec.Command(program)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("libseccomp: %v", err)
		}
	})
	return &library{t, in, bufio.NewReader(out)}
}

func (l *library) ask(text string) string {
	l.t.Helper()
	if _, err := io.WriteString(l.in, text); err != nil {
		l.t.Fatal(err)
	}
	line, err := l.out.ReadString('\n')
	if err != nil {
		l.t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// libraryName is the name that seccomp_arch_resolve_name(3) takes.
func libraryName(a specs.Arch) string {
	return strings.ToLower(strings.TrimPrefix(string(a), "SCMP_ARCH_"))
}

func (l *library) number(a specs.Arch, name string) int {
	l.t.Helper()
	n, err := strconv.Atoi(l.ask("number " + libraryName(a) + " " + name + "\n"))
	if err != nil {
		l.t.Fatal(err)
	}
	return n
}

// compile gives libseccomp's program, built as runc does it.
func (l *library) compile(s *specs.LinuxSeccomp, optimize int) ([]unix.SockFilter, error) {
	l.t.Helper()
	fallback := mustAction(l.t, s.DefaultAction, s.DefaultErrnoRet)
	var b strings.Builder
	fmt.Fprintf(&b, "new %d %d\n", fallback, optimize)
	for _, a := range s.Architectures {
		fmt.Fprintf(&b, "arch %s\n", libraryName(a))
	}
	for _, r := range s.Syscalls {
		act := mustAction(l.t, r.Action, r.ErrnoRet)
		if act == fallback {
			continue
		}
		for _, name := range r.Names {
			for _, args := range groups(r.Args) {
				fmt.Fprintf(&b, "rule %d %s", act, name)
				for _, a := range args {
					fmt.Fprintf(&b, " %d %d %d %d", a.Index, slices.Index(operators(), a.Op)+1, a.Value, a.ValueTwo)
				}
				b.WriteString("\n")
			}
		}
	}
	words := strings.Fields(l.ask(b.String() + "end\n"))
	if words[0] != "program" {
		return nil, fmt.Errorf("libseccomp: %s", strings.Join(words[1:], " "))
	}
	numbers := make([]uint32, len(words)-1)
	for i, w := range words[1:] {
		n, err := strconv.ParseUint(w, 10, 32)
		if err != nil {
			return nil, err
		}
		numbers[i] = uint32(n)
	}
	var program []unix.SockFilter
	for n := range slices.Chunk(numbers, 4) {
		program = append(program, unix.SockFilter{Code: uint16(n[0]), Jt: uint8(n[1]), Jf: uint8(n[2]), K: n[3]})
	}
	return program, nil
}

// operators are those of enum scmp_compare, in its order from 1 on.
func operators() []specs.LinuxSeccompOperator {
	return []specs.LinuxSeccompOperator{specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo, specs.OpGreaterEqual,
		specs.OpGreaterThan, specs.OpMaskedEqual}
}

// groups parts the arguments of a rule as runc does: all together, or each
// alone where two are for the same.
func groups(args []specs.LinuxSeccompArg) [][]specs.LinuxSeccompArg {
	seen := map[uint]bool{}
	for _, a := range args {
		if seen[a.Index] {
			var each [][]specs.LinuxSeccompArg
			for i := range args {
				each = append(each, args[i:i+1])
			}
			return each
		}
		seen[a.Index] = true
	}
	return [][]specs.LinuxSeccompArg{args}
}

func mustAction(t testing.TB, a specs.LinuxSeccompAction, errno *uint) uint32 {
	t.Helper()
	n, err := action(a, errno)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// fixture is a profile of testdata: what Docker (moby/profiles 0.3.0), Podman
// (containers/common 0.60.0) and containerd (2.1.4) ask for on x86-64 with their
// default capabilities.
func fixture(t testing.TB, name string) *specs.LinuxSeccomp {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	s := &specs.LinuxSeccomp{}
	if err := json.Unmarshal(data, s); err != nil {
		t.Fatal(err)
	}
	return s
}

// without compiles a profile as if ENOSYS for newer calls did not exist, which
// libseccomp alone does not do.
func without(t testing.TB, s *specs.LinuxSeccomp) []unix.SockFilter {
	t.Helper()
	p, err := newProfile(s)
	if err != nil {
		t.Fatal(err)
	}
	list, err := architectures(s, x86_64)
	if err != nil {
		t.Fatal(err)
	}
	p.enosys = false
	program := p.assemble(list)
	if err := valid(program); err != nil {
		t.Fatalf("the program is not valid: %v", err)
	}
	return program
}

// names lists what row knows.
func names(t testing.TB) []string {
	t.Helper()
	data, err := os.ReadFile("table_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(line, "\tcase \""); ok {
			list = append(list, strings.TrimSuffix(strings.TrimSpace(name), "\":"))
		}
	}
	if len(list) != rowCount {
		t.Fatalf("%d names were found, want %d", len(list), rowCount)
	}
	return list
}

// libraryNames lists the names of libseccomp's header.
func libraryNames(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("/usr/include/seccomp-syscalls.h")
	if err != nil {
		t.Fatalf("Debian: libseccomp-dev: %v", err)
	}
	var list []string
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "#define __SNR_"); ok {
			list = append(list, strings.Fields(rest)[0])
		}
	}
	return list
}

// The table has libseccomp's numbers. What libseccomp 2.5.4 lacks is newer than
// it; what is behind socketcall or ipc has no number there.
func TestNumbers(t *testing.T) {
	const newest = 456 // of libseccomp 2.5.4, on all architectures
	l := newLibrary(t)
	all := append(names(t), libraryNames(t)...)
	slices.Sort(all)
	behind := sharedCalls()
	for _, a := range known() {
		if a.name == specs.ArchLOONGARCH64 {
			continue // libseccomp 2.5 does not know it
		}
		same := 0
		for _, name := range slices.Compact(all) {
			got, want, cell := -1, l.number(a.name, name), -1
			if r := row(name); r >= 0 {
				cell = a.cell(r)
				if a.shared && behind[r].call > 0 && want < -1 {
					continue
				}
			}
			if cell >= 0 {
				got = int(a.number(cell))
			}
			switch {
			case got == want:
				same++
			case want == -1 && (cell > newest || slices.Contains([]string{"uprobe", "uretprobe", "riscv_hwprobe"}, name)):
			case want < 0 && got < 0:
			default:
				t.Errorf("%s %s: got %d, want %d", a.name, name, got, want)
			}
		}
		if same < 300 {
			t.Errorf("%s: only %d calls are in both", a.name, same)
		}
	}
}

func run(t *testing.T, command string, args ...string) {
	t.Helper()
	if out, err := exec.Command(command, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", command, args, err, out)
	}
}
