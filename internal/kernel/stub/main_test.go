package stub

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// TestMain fails if the tests leave a descriptor or a child behind.
func TestMain(m *testing.M) {
	if os.Getenv(childVar) == "orphan" {
		orphanMain()
		os.Exit(0)
	}
	before := openFDs()
	code := m.Run()
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		fmt.Fprintln(os.Stderr, "a child was left behind:", err)
		code = max(code, 1)
	}
	if left := newFDs(before); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "descriptors were left behind:", left)
		code = max(code, 1)
	}
	os.Exit(code)
}

// openFDs returns what each descriptor of this process is.
func openFDs() map[string]string { return fdsOf("self") }

func fdsOf(pid string) map[string]string {
	dir := "/proc/" + pid + "/fd"
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	fds := map[string]string{}
	for _, e := range list {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && !strings.HasPrefix(target, "/proc/") {
			fds[e.Name()] = target
		}
	}
	return fds
}

// newFDs returns what is open now and was not before, but for what Go's
// runtime and the test runner keep for themselves.
func newFDs(before map[string]string) []string {
	var list []string
	for n, target := range openFDs() {
		if before[n] != target && !strings.HasPrefix(target, "anon_inode:[event") && target != "anon_inode:[pidfd]" {
			list = append(list, n+" "+target)
		}
	}
	pidfds := func(m map[string]string) (n int) {
		for _, target := range m {
			if strings.Contains(target, "pidfd") {
				n++
			}
		}
		return n
	}
	if n := pidfds(openFDs()) - pidfds(before); n > 0 {
		list = append(list, strconv.Itoa(n)+" pidfds")
	}
	sort.Strings(list)
	return list
}

// launch starts a stub that ends with the test.
func launch(t testing.TB, c Config) *Stub {
	t.Helper()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	fd := int(null.Fd())
	c.Stdio, c.CgroupFD = [3]int{fd, fd, fd}, -1
	s, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Kill(); s.Close() })
	return s
}

// run runs the batch that f fills, which must work.
func run(t testing.TB, s *Stub, f func(b *kernel.Batch)) {
	t.Helper()
	b := &kernel.Batch{}
	f(b)
	if err := s.Run(b); err != nil {
		t.Fatal(err)
	}
}

// pipe returns both ends of a pipe, open until the test ends or closed by it.
func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func handle(f *os.File) kernel.Handle { return kernel.NewHandle(int64(f.Fd()), "pipe") }

// ended waits for the end of a process.
func ended(t testing.TB, pidfd int, within time.Duration) bool {
	t.Helper()
	end := time.Now().Add(within)
	for {
		ready, err := poll(pidfd, end)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return ready
	}
}

// gone reports whether the process is not even a zombie.
func gone(pid int) bool {
	err := unix.Kill(pid, 0)
	return errors.Is(err, unix.ESRCH)
}

// within fails the test if f takes longer than it may.
func within(t testing.TB, limit time.Duration, f func()) {
	t.Helper()
	begin := time.Now()
	f()
	if took := time.Since(begin); took > limit {
		t.Errorf("took %s, more than %s", took, limit)
	}
}

// childVar tells the test program, started again by a test, what to be.
const childVar = "STUB_TEST_CHILD"

// again runs one test of this program in a process of its own, and fails if
// it fails there. In that process isChild is true.
func again(t *testing.T, test string, attr *syscall.SysProcAttr, files ...*os.File) {
	t.Helper()
	c := exec.Command("/proc/self/exe", "-test.run=^"+test+"$", "-test.v")
	c.Env = append(os.Environ(), childVar+"="+test)
	c.ExtraFiles, c.SysProcAttr = files, attr
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+test+" ") {
		t.Fatalf("in a process of its own: %v\n%s", err, out)
	}
}

func isChild(test string) bool { return os.Getenv(childVar) == test }
