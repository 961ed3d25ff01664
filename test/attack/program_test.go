package attack

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// runtimeFile is the runtime's own file, and what it is.
type runtimeFile struct {
	path string
	hash [32]byte
	info string
}

func lookAtRuntime(t *testing.T, h *linuxtest.Host) runtimeFile {
	t.Helper()
	r := runtimeFile{path: h.Argv()[0]}
	data, err := os.ReadFile(r.path)
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(r.path, &st); err != nil {
		t.Fatal(err)
	}
	r.hash, r.info = sha256.Sum256(data), fmt.Sprintf("%d %o %d %v %v", st.Ino, st.Mode, st.Size, st.Mtim, st.Ctim)
	return r
}

// elf is a program of a few instructions that names an interpreter.
func elf(interpreter string) []byte {
	var b bytes.Buffer
	b.Write([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	machine := map[string]uint16{"x86_64": 62, "aarch64": 183}[machineName()]
	const base, headers = 0x10000000, 64 + 2*56
	size := uint64(headers + len(interpreter) + 1)
	header := struct {
		Type, Machine                           uint16
		Version                                 uint32
		Entry, Phoff, Shoff                     uint64
		Flags                                   uint32
		Ehsize, Phentsize, Phnum, Sh, Shn, Shst uint16
	}{2, machine, 1, base, 64, 0, 0, 64, 56, 2, 0, 0, 0}
	binary.Write(&b, binary.LittleEndian, header)
	type program struct {
		Type, Flags                                uint32
		Offset, Vaddr, Paddr, Filesz, Memsz, Align uint64
	}
	n := uint64(len(interpreter) + 1)
	binary.Write(&b, binary.LittleEndian, program{3, 4, headers, base + headers, base + headers, n, n, 1})
	binary.Write(&b, binary.LittleEndian, program{1, 5, 0, base, base, size, size, 0x1000})
	b.WriteString(interpreter + "\x00")
	return b.Bytes()
}

func machineName() string {
	var u unix.Utsname
	unix.Uname(&u) // cannot fail
	return unix.ByteSliceToString(u.Machine[:])
}

// The program is what executes it: /proc/self/exe, a script or an ELF file whose
// interpreter that is, a link to it (CVE-2019-5736), of a new container and of exec.
// The runtime's file is never there: what runs is at most the stub again, which ends.
func TestProgramIsRuntime(t *testing.T) {
	h := linuxtest.One(t)
	const each = "for i in 3 4 5 6 7 8 9 10; do "
	for name, args := range map[string][]string{
		"/proc/self/exe":        {"/proc/self/exe"},
		"with arguments":        {"/proc/self/exe", "delete", "--force", "x"},
		"/proc/1/exe":           {"/proc/1/exe"},
		"thread":                {"/proc/thread-self/exe"},
		"script":                {"/script"},
		"interpreter":           {"/elf"},
		"link":                  {"/link"},
		"descriptor":            {"/proc/self/fd/3"},
		"descriptor in a shell": {"/bin/sh", "-c", each + "echo x >/proc/self/fd/$i; cat /proc/self/fd/$i; done 2>/dev/null; exit 9"},
	} {
		h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
			before := lookAtRuntime(t, h)
			s := newScene(t, h, linuxtest.Args(args...), writable)
			s.object(s.root+"/script", "= #!/proc/self/exe\n")
			s.object(s.root+"/elf", "= "+string(elf("/proc/self/exe")))
			s.object(s.root+"/link", "-> /proc/self/exe")
			for i := range 5 {
				if s.program("run", "--bundle", s.bundle, s.ID(fmt.Sprint(i))) {
					t.Error("it runs")
				}
			}
			s.WriteConfig(s.bundle, linuxtest.Spec(linuxtest.Args("/bin/sleep", "1000"), writable))
			s.Must("run", "--detach", "--bundle", s.bundle, s.ID("a"))
			for range 5 {
				if s.program(append([]string{"exec", s.ID("a")}, args...)...) {
					t.Error("it runs in exec")
				}
			}
			s.Must("delete", "--force", s.ID("a"))
			if after := lookAtRuntime(t, h); after != before {
				t.Errorf("the runtime was %+v, is %+v", before, after)
			}
		})
	}
}

// Another process keeps a descriptor of the stub's program and opens it for
// writing when it is no longer executed. It is sealed, and each container has one
// of its own.
func TestStubCannotBeWritten(t *testing.T) {
	h := linuxtest.One(t)
	s := newScene(t, h, linuxtest.Args("/bin/true"))
	before := lookAtRuntime(t, h)
	inodes := map[uint64]bool{}
	for i := range 5 {
		id := s.ID(fmt.Sprint(i))
		s.Must("create", "--bundle", s.bundle, id)
		st, _ := s.State(id)
		exe, err := os.Open(fmt.Sprintf("/proc/%d/exe", st.PID))
		s.must(err)
		info, err := exe.Stat()
		s.must(err)
		var stat unix.Stat_t
		s.must(unix.Fstat(int(exe.Fd()), &stat))
		inodes[stat.Ino] = true
		if filepath.Base(before.path) == info.Name() && stat.Size > 1<<16 {
			t.Errorf("the waiting process has %d bytes of program", stat.Size)
		}
		again := fmt.Sprintf("/proc/self/fd/%d", exe.Fd())
		if err := tryToWrite(again); err == nil {
			t.Error("the program could be written while it is executed")
		}
		s.Must("start", id)
		s.WaitFor(id, "stopped")
		for range 20000 {
			if err := tryToWrite(again); err == nil {
				t.Fatal("the program could be written afterwards")
			}
		}
		exe.Close()
		s.Must("delete", id)
	}
	if len(inodes) < 2 {
		t.Errorf("the containers shared their program: %v", inodes)
	}
	if after := lookAtRuntime(t, h); after != before {
		t.Errorf("the runtime was %+v, is %+v", before, after)
	}
}

func tryToWrite(path string) error {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err = unix.Pwrite(fd, []byte("x"), 0); err != nil {
		err = unix.Ftruncate(fd, 0)
	}
	return err
}

// A container watches a PID namespace in which other processes are set up, those
// of exec and those of containers that join it (CVE-2016-9962, CVE-2019-5736): it
// gets nothing of the host's from them, and can write to no program.
//
// With CAP_SYS_PTRACE it may look into any process that it sees. Those of exec
// have nothing of the host's when they are seen; those that join are seen before
// they are in their root (docs/security.md).
func TestIntruder(t *testing.T) {
	h := linuxtest.Beside(t)
	program := buildIntruder(t, h)
	for _, way := range []string{"exec", "join"} {
		for _, trace := range []bool{false, true} {
			raceIn(t, h, fmt.Sprintf("%s, CAP_SYS_PTRACE %t", way, trace), func(t *testing.T, h *linuxtest.Host) {
				got := intrude(t, h, program, intrusion{way: way, trace: trace})
				if strings.Contains(got, "wrote ") || strings.Contains(got, "truncated ") {
					t.Error("a program could be written")
				}
				if strings.Contains(got, "host") && (way == "exec" || !trace) {
					t.Error("the intruder could open what is of the host")
				}
				if (strings.Contains(got, "program ") || strings.Contains(got, "stub")) && !trace {
					t.Error("the intruder could look into the stub")
				}
			})
		}
	}
}

// Where the container has a user namespace, or the intruder one below the
// container's, no capability helps it to look into a process of exec, and with
// signals it only ends what is the container's.
func TestIntruderInUserNamespace(t *testing.T) {
	h := linuxtest.Beside(t)
	program := buildIntruder(t, h)
	for name, i := range map[string]intrusion{
		"container's":                     {way: "exec", trace: true, edits: []linuxtest.Edit{inUserNamespace}},
		"container's, signals":            {way: "exec", trace: true, edits: []linuxtest.Edit{inUserNamespace}, words: []string{"signal"}},
		"child's":                         {way: "exec", words: []string{"child"}},
		"child's, signals":                {way: "exec", words: []string{"child", "signal"}},
		"child's of container's, signals": {way: "exec", trace: true, edits: []linuxtest.Edit{inUserNamespace}, words: []string{"child", "signal"}},
		"host's, signals":                 {way: "exec", words: []string{"signal"}},
	} {
		raceIn(t, h, name, func(t *testing.T, h *linuxtest.Host) {
			if got := intrude(t, h, program, i); containsAny(got, "wrote ", "truncated ", "host", "program ", "stub") {
				t.Error("the intruder got something")
			}
		})
	}
}

func containsAny(s string, words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(s, w) })
}

func inUserNamespace(s *specs.Spec) {
	linuxtest.Namespace(specs.UserNamespace, "")(s)
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	s.Linux.GIDMappings = s.Linux.UIDMappings
}

// intrusion is how an intruder gets to see others.
type intrusion struct {
	way   string // in which others come: exec or join
	trace bool   // it has CAP_SYS_PTRACE
	edits []linuxtest.Edit
	words []string // of the intruder
}

// intrude gives what the intruder got while others came into its PID namespace.
func intrude(t *testing.T, h *linuxtest.Host, program string, i intrusion) string {
	t.Helper()
	before := lookAtRuntime(t, h)
	edits := append([]linuxtest.Edit{linuxtest.Args(append([]string{"/intruder", h.Argv()[0]}, i.words...)...), func(spec *specs.Spec) {
		caps := spec.Process.Capabilities
		for _, set := range []*[]string{&caps.Bounding, &caps.Effective, &caps.Permitted} {
			if i.trace {
				*set = append(*set, "CAP_SYS_PTRACE")
			}
			if slices.Contains(i.words, "child") {
				*set = append(*set, "CAP_SETFCAP") // to be root in there
			}
		}
	}}, i.edits...)
	s := newScene(t, h, edits...)
	s.must(os.Link(program, s.root+"/intruder"))
	stdin, feed, err := os.Pipe()
	s.must(err)
	p := s.Start(linuxtest.Command{Args: []string{"run", "--bundle", s.bundle, s.ID("intruder")}, Stdin: stdin})
	stdin.Close()
	if !linuxtest.Until(func() bool { return strings.Contains(p.Output(), "ready\n") }) {
		p.Signal(unix.SIGKILL)
		t.Fatalf("the intruder does not begin: %s", p.Wait().Stderr)
	}
	st, _ := s.State(s.ID("intruder"))
	other := newScene(t, h, linuxtest.Args("/bin/true"), linuxtest.Namespace(specs.PIDNamespace, fmt.Sprintf("/proc/%d/ns/pid", st.PID)))
	args := []string{"exec", s.ID("intruder"), "/bin/true"}
	if i.way == "join" {
		args = []string{"run", "--bundle", other.bundle, other.ID("joined")}
	}
	n := 0
	for end := time.Now().Add(raceTime()); n < tries && time.Now().Before(end) && !t.Failed(); n++ {
		if r := s.Run(args...); r.Status != 0 && !slices.Contains(i.words, "signal") {
			t.Errorf("%q: status %d: %s", args, r.Status, r.Stderr)
		}
	}
	feed.Close()
	r := p.Wait()
	t.Logf("%d processes; the intruder:\n%s", n, r.Stdout)
	if !strings.Contains(r.Stdout, "end\n") || strings.Contains(r.Stdout, "seen 0\n") {
		t.Errorf("the intruder has seen nothing: %q %s", r.Stdout, r.Stderr)
	}
	if after := lookAtRuntime(t, h); after != before {
		t.Errorf("the runtime was %+v, is %+v", before, after)
	}
	return r.Stdout
}

func buildIntruder(t *testing.T, h *linuxtest.Host) string {
	t.Helper()
	// Beside the runtime, on the file system of the bundles, which link to it.
	path := filepath.Join(h.Dir, "intruder")
	if err := linuxtest.Program(path, "test/attack/intruder"); err != nil {
		t.Fatal(err)
	}
	return path
}

// The user of exec is a number or refused, never another one (CVE-2026-30892).
func TestUserOfExec(t *testing.T) {
	h := linuxtest.One(t)
	s := newScene(t, h, linuxtest.Args("/bin/sleep", "1000"))
	s.Must("run", "--detach", "--bundle", s.bundle, s.ID("a"))
	for user, want := range map[string]string{"1": "1:0", "1:2": "1:2", "0": "0:0", "4294967294": "4294967294:0", "01": "1:0 or refused", "1:": "1:0 or refused",
		":1": "refused", "": "0:0", "-1": "refused", "+1": "refused", " 1": "refused", "1 ": "refused", "0x1": "refused", "1e3": "refused", "1.0": "refused",
		"4294967295": "refused", "4294967296": "refused", "18446744073709551617": "refused", "1:-1": "refused", "1:4294967296": "refused", "root": "refused", "1:1:1": "refused", "user": "refused"} {
		r := s.Run("exec", "--user", user, s.ID("a"), "/bin/sh", "-c", "echo $(id -u):$(id -g)")
		got := strings.TrimSpace(r.Stdout)
		if r.Status != 0 {
			got = "refused"
		}
		if got != want && !strings.HasPrefix(want, got+" or ") && !strings.HasSuffix(want, " or "+got) {
			t.Errorf("%q: got %s, want %s: %s", user, got, want, r.Stderr)
		}
	}
	s.Must("delete", "--force", s.ID("a"))
}

// A process of exec has no inheritable capability, with and without --cap, and
// nothing that the container has not (CVE-2022-29162, CVE-2022-27650, CVE-2025-27612).
func TestCapabilitiesOfExec(t *testing.T) {
	h := linuxtest.One(t)
	s := newScene(t, h, linuxtest.Args("/bin/sleep", "1000"))
	s.Must("run", "--detach", "--bundle", s.bundle, s.ID("a"))
	for _, args := range [][]string{nil, {"--cap", "CAP_CHOWN"}, {"--user", "1000"}, {"--user", "1000", "--cap", "CAP_CHOWN"}} {
		r := s.Run(append(append([]string{"exec"}, args...), s.ID("a"), "/bin/inside")...)
		if r.Status != 0 {
			t.Errorf("%q: %s", args, r.Stderr)
			continue
		}
		caps := h.Look(r.Stdout).Capabilities
		want := "0000000020000420" // CAP_AUDIT_WRITE, CAP_KILL, CAP_NET_BIND_SERVICE
		if slices.Contains(args, "--cap") {
			want = "0000000020000421"
		}
		if caps["CapInh"] != "0000000000000000" || caps["CapBnd"] != want {
			t.Errorf("%q: %v", args, caps)
		}
		if ambient := caps["CapAmb"]; ambient != "0000000000000000" && !slices.Contains(args, "--cap") {
			t.Errorf("%q: ambient %v", args, caps)
		}
		if slices.Contains(args, "--user") && !slices.Contains(args, "--cap") && caps["CapEff"] != "0000000000000000" {
			t.Errorf("%q: %v", args, caps)
		}
	}
	s.Must("delete", "--force", s.ID("a"))
}
