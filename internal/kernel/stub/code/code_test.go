package code

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// target is a machine whose loop is compared with the model.
type target struct {
	path string   // of the executable
	with []string // an emulator before it
	nr   table
}

func TestLoopNative(t *testing.T) {
	compare(t, target{path: native(t), nr: tables()[runtime.GOARCH]}, 400)
}

func TestLoopARM64(t *testing.T) {
	if runtime.GOARCH == "arm64" {
		t.Skip("this machine's own loop is tested natively")
	}
	emulator, err := exec.LookPath("qemu-aarch64-static")
	if err != nil {
		t.Skip("qemu-aarch64-static is missing (Debian: qemu-user-static)")
	}
	compare(t, target{path: foreign(t, emulator, "arm64"), with: []string{emulator}, nr: tables()["arm64"]}, 100)
}

func machineOf(arch string) uint16 {
	return map[string]uint16{"amd64": MachineAMD64, "arm64": MachineARM64}[arch]
}

// native writes this architecture's image to a file.
func native(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, Image(machineOf(runtime.GOARCH), Bytes()), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// foreign builds the program that prints the image for another architecture,
// and runs it.
func foreign(t *testing.T, emulator, arch string) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "printimage"), "./printimage")
	build.Env = append(os.Environ(), "GOARCH="+arch, "GOOS=linux", "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build for %s: %v\n%s", arch, err, out)
	}
	image, err := exec.Command(emulator, filepath.Join(dir, "printimage")).Output()
	if err != nil {
		t.Fatalf("cannot print the image: %v", err)
	}
	path := filepath.Join(dir, "image")
	if err := os.WriteFile(path, image, 0o755); err != nil {
		t.Fatal(err)
	}
	checkELF(t, image, elf.Machine(machineOf(arch)))
	return path
}

// compare runs random programs on the machine and in the model, and goes on
// with such that do what the others did not. Set SEED to repeat one run.
func compare(t *testing.T, to target, programs int) {
	seed := rand.Uint64()
	if s := os.Getenv("SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1)), nr: to.nr}
	data := make([]byte, dataSize)
	for i := range data {
		data[i] = byte(g.Uint32())
	}
	lacking := map[deed]int{}
	for _, what := range expected() {
		lacking[what] = 3
	}
	for n, tries := 0, 0; n < programs || len(lacking) > 0; tries++ {
		if tries == 1_000_000 {
			t.Fatalf("SEED=%d: no program did %+v", seed, lacking)
		}
		before := g.program()
		m := &model{mem: bytes.Clone(before), nr: to.nr, ppid: int64(os.Getpid()), umask: umask(t), data: data, seen: map[deed]int{},
			pipes: map[uint64][]byte{}, maps: map[uint64]uint64{}, open: map[uint64]uint64{}}
		for fd := uint64(firstFD); fd <= lastFD; fd++ {
			m.open[fd] = fd
		}
		want, err := m.run(500)
		if err != nil || m.steps < 6 && g.chance(95) {
			continue
		}
		if n >= programs && !adds(m.seen, lacking) {
			continue
		}
		n++
		argc := 1 + g.IntN(firstFD-1)
		got, after := execute(t, to, before, data, argc)
		if got != want || !bytes.Equal(after, m.mem) {
			t.Fatalf("SEED=%d, program %d, argc %d, %d steps: exit status %d, want %d%s", seed, n, argc, m.steps, got, want, difference(after, m.mem))
		}
		for what, count := range m.seen {
			if lacking[what] -= count; lacking[what] <= 0 {
				delete(lacking, what)
			}
		}
	}
}

// adds reports whether a program did something that is lacking.
func adds(seen, lacking map[deed]int) bool {
	for what := range seen {
		if lacking[what] > 0 {
			return true
		}
	}
	return false
}

// expected is everything that the programs of one comparison must have done.
func expected() []deed {
	list := []deed{{overwritten: true}, {flag: 1 << SkipShift, sign: 1}}
	for k := range 6 {
		list = append(list, deed{flag: 1 << k})
	}
	for _, flag := range []uint64{0, FlagAllow, FlagZeroFatal, FlagExitPositive, FlagJump} {
		list = append(list, deed{flag: flag, sign: -1}, deed{flag: flag}, deed{flag: flag, sign: 1})
	}
	return list
}

func difference(got, want []byte) string {
	var s strings.Builder
	for off := 0; off < len(want); off += 8 {
		if g, w := binary.NativeEndian.Uint64(got[off:]), binary.NativeEndian.Uint64(want[off:]); g != w {
			fmt.Fprintf(&s, "\n  at %d (record %d, byte %d): %#x, want %#x", off, off/RecordSize, off%RecordSize, g, w)
		}
	}
	return s.String()
}

func umask(t *testing.T) uint64 {
	status, err := os.ReadFile("/proc/self/status")
	_, rest, ok := strings.Cut(string(status), "Umask:")
	if err != nil || !ok {
		t.Fatalf("no umask in /proc/self/status: %v", err)
	}
	n, err := strconv.ParseUint(strings.Fields(rest)[0], 8, 32)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// execute runs a program on the machine, and returns the exit status and the
// part of the memory that programs use, after checking that nothing else of
// it was touched.
func execute(t *testing.T, to target, program, data []byte, argc int) (int, []byte) {
	t.Helper()
	var owned []int
	defer func() {
		for _, fd := range owned {
			unix.Close(fd)
		}
	}()
	open := func(fd int, err error) int {
		if err != nil {
			t.Fatal(err)
		}
		owned = append(owned, fd)
		return fd
	}
	memory := open(unix.MemfdCreate("memory", unix.MFD_CLOEXEC))
	file := open(unix.MemfdCreate("data", unix.MFD_CLOEXEC))
	null := open(unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0))
	pwrite(t, memory, program)
	pwrite(t, file, data)
	if err := unix.Ftruncate(memory, Size); err != nil {
		t.Fatal(err)
	}
	files := make([]uintptr, lastFD+1)
	for i := range files {
		files[i] = uintptr(null)
	}
	for _, in := range []int{recordIn, byteIn} {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			t.Fatal(err)
		}
		files[in], files[in+1] = uintptr(open(p[0], nil)), uintptr(open(p[1], nil))
	}
	files[argc], files[dataFD] = uintptr(memory), uintptr(file)

	argv := append(append([]string{}, to.with...), to.path)
	for range argc - 1 {
		argv = append(argv, "x")
	}
	pidfd := -1
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{Files: files, Sys: &syscall.SysProcAttr{PidFD: &pidfd}})
	if err != nil {
		t.Fatal(err)
	}
	open(pidfd, nil)
	status := wait(t, pid, pidfd)
	if off, err := unix.Seek(memory, usedSize+pageSize&^(pageSize-1), unix.SEEK_DATA); !errors.Is(err, unix.ENXIO) {
		t.Fatalf("memory at %#x was touched (%v)", off, err)
	}
	after := make([]byte, len(program))
	if _, err := unix.Pread(memory, after, 0); err != nil {
		t.Fatal(err)
	}
	return status, after
}

func pwrite(t *testing.T, fd int, b []byte) {
	t.Helper()
	if n, err := unix.Pwrite(fd, b, 0); err != nil || n != len(b) {
		t.Fatalf("cannot write: %d, %v", n, err)
	}
}

// wait returns the exit status of a program that must end by itself.
func wait(t *testing.T, pid, pidfd int) int {
	t.Helper()
	n, err := 0, error(unix.EINTR)
	for err == unix.EINTR {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 20000)
	}
	if n == 0 {
		unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
	}
	var ws unix.WaitStatus
	for err = unix.EINTR; err == unix.EINTR; {
		_, err = unix.Wait4(pid, &ws, 0, nil)
	}
	if err != nil || !ws.Exited() {
		t.Fatalf("the program did not exit: %v, signal %v, answered %v", err, ws.Signal(), n > 0)
	}
	return ws.ExitStatus()
}

func TestMemoryThatCannotBeMapped(t *testing.T) {
	path := native(t)
	null, err := os.Open("/dev/null") // no mmap, ENODEV
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, fd := range []uintptr{null.Fd(), ^uintptr(0)} {
		pidfd := -1
		pid, err := syscall.ForkExec(path, []string{"x", "x", "x"}, &syscall.ProcAttr{
			Files: []uintptr{null.Fd(), null.Fd(), null.Fd(), fd}, Sys: &syscall.SysProcAttr{PidFD: &pidfd}})
		if err != nil {
			t.Fatal(err)
		}
		if status := wait(t, pid, pidfd); status != ExitStatus {
			t.Errorf("exit status %d, want %d", status, ExitStatus)
		}
		unix.Close(pidfd)
	}
}

func TestImageELF(t *testing.T) {
	checkELF(t, Image(machineOf(runtime.GOARCH), Bytes()), elf.Machine(machineOf(runtime.GOARCH)))
}

// checkELF checks that an image is what elf(5) wants of a static executable,
// and that nothing of it is both writable and executable.
func checkELF(t *testing.T, image []byte, machine elf.Machine) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	if f.Type != elf.ET_EXEC || f.Machine != machine || f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB {
		t.Errorf("header %+v", f.FileHeader)
	}
	if len(f.Progs) != 2 {
		t.Fatalf("%d program headers, want 2", len(f.Progs))
	}
	load, stack := f.Progs[0], f.Progs[1]
	if load.Type != elf.PT_LOAD || load.Flags != elf.PF_R|elf.PF_X || load.Filesz != uint64(len(image)) || load.Memsz != load.Filesz ||
		load.Off != 0 || load.Vaddr%load.Align != 0 || load.Align != 64<<10 {
		t.Errorf("PT_LOAD %+v", load.ProgHeader)
	}
	if stack.Type != elf.PT_GNU_STACK || stack.Flags != elf.PF_R|elf.PF_W {
		t.Errorf("PT_GNU_STACK %+v", stack.ProgHeader)
	}
	if f.Entry < load.Vaddr || f.Entry-load.Vaddr != 64+2*56 || f.Entry >= load.Vaddr+load.Filesz {
		t.Errorf("entry %#x", f.Entry)
	}
	// The loop is taken from between two symbols of the program's text: were
	// they not neighbours, it would be far larger than it is.
	if n := len(image) - 64 - 2*56; n < 100 || n > 512 {
		t.Errorf("%d bytes of machine code", n)
	}
}
