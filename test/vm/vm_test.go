// Package vm runs tests in a virtual machine: where systemd is the init process,
// AppArmor is enforced, cgroup v2 has all controllers, and the kernel is Debian's.
// The machine is QEMU without KVM, its disk is made from Debian's packages
// (`image`) and kept in the user's cache, and the test programs are built here
// and come on a second disk. Each test in it becomes a subtest. It is booted once,
// and shortly once more with cgroup v1, and with a newer kernel.
//
// It deliberately does not
//   - share directories with the machine, or give it a network;
//   - keep anything that a test has written there.
package vm

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// asked is the machine that scripts/vm was asked for: packages, then arguments of
// their test programs, and the kernel. Without, it is the usual one.
func asked() setup {
	var packages []tests
	var arguments []string
	for _, word := range strings.Fields(os.Getenv("TONGS_VM")) {
		if strings.HasPrefix(word, "-") {
			arguments = append(arguments, word)
		} else {
			packages = append(packages, tests{Package: filepath.Clean(word), Seconds: 600})
		}
	}
	if packages == nil {
		packages = list()
	}
	for i := range packages {
		packages[i].Arguments = append(packages[i].Arguments, arguments...)
	}
	return setup{suite: cmp.Or(os.Getenv("TONGS_VM_KERNEL"), bookworm), append: os.Getenv("TONGS_VM_APPEND"), tests: packages}
}

func TestVM(t *testing.T) { runIn(t, asked()) }

// Cgroup v1 with all controllers, of which a host may have few.
func TestCgroupV1(t *testing.T) {
	runIn(t, setup{suite: bookworm, append: "systemd.unified_cgroup_hierarchy=0", tests: listV1()})
}

// The newest kernel that Debian offers.
func TestBackports(t *testing.T) {
	runIn(t, setup{suite: "bookworm-backports", tests: listBackports()})
}

// runIn runs the tests of a machine. Its kernel panics now and then while it changes
// its own code, which the emulator does not always see in time on the other processor,
// and has got stuck: it is booted again then for what is left.
func runIn(t *testing.T, s setup) {
	if os.Geteuid() != 0 {
		t.Skip("making the disk of the virtual machine needs root")
	}
	image := openImage(t)
	for boots := 1; ; boots++ {
		disk := filepath.Join(t.TempDir(), "tests.img")
		makeDisk(t, disk, s.tests)
		m := bootDisk(t, image, s, disk)
		done, err := m.tests(t, s.tests)
		if err == nil {
			return
		}
		if !m.failed() || boots == 3 {
			t.Fatal(err)
		}
		m.end()
		t.Logf("another boot, since %v", err)
		s.tests = s.tests[done:]
	}
}

// tests reads what `run` writes. It gives the number of packages that have ended.
func (m *machine) tests(t *testing.T, list []tests) (done int, err error) {
	begin := time.Now()
	line, err := m.next(bootTime, "boot")
	if err != nil {
		return 0, err
	}
	booted, ok := strings.CutPrefix(line, "@@booted ")
	if !ok {
		return 0, m.explain(fmt.Sprintf("the virtual machine begins with %q", line))
	}
	t.Logf("booted in %.0f s: uptime and kernel %s", time.Since(begin).Seconds(), booted)
	for i, p := range list {
		if line, err = m.next(quietTime, "the begin of "+p.Package); err != nil {
			return i, err
		}
		if line != "@@begin "+p.Package {
			return i, m.explain(fmt.Sprintf("want the begin of %s, got %q", p.Package, line))
		}
		if err := m.testPackage(t, p); err != nil {
			return i, err
		}
	}
	if line, err = m.next(quietTime, "the end of the tests"); err == nil && line != "@@done" {
		err = m.explain(fmt.Sprintf("want the end of the tests, got %q", line))
	}
	return len(list), err
}

// testPackage reads the output of one test program. Its error means that nothing
// comes after it.
func (m *machine) testPackage(t *testing.T, p tests) error {
	var output strings.Builder
	begin := time.Now()
	status, ended, errRead := "", false, error(nil)
	for !ended {
		var line string
		if line, errRead = m.next(time.Duration(p.Seconds)*time.Second+quietTime, p.Package); errRead != nil {
			break
		}
		if status, ended = strings.CutPrefix(line, "@@end "+p.Package+" "); !ended {
			output.WriteString(line + "\n")
			show(line)
		}
	}
	if errRead != nil && m.failed() {
		return errRead // what it has said is said again
	}
	t.Run(strings.ReplaceAll(p.Package, "/", "."), func(t *testing.T) {
		top, err := readResults([]byte(output.String()))
		if err != nil {
			t.Fatal(err)
		}
		top.replay(t)
		t.Logf("%d tests in %.0f s", len(top.children), time.Since(begin).Seconds())
		if errRead != nil {
			t.Errorf("it did not end")
		} else if status != "0" && !t.Failed() || len(top.children) == 0 {
			t.Errorf("%d tests, exit status %s:\n%s", len(top.children), status, top.output.String())
		}
	})
	return errRead
}

// show lets who waits for scripts/vm see what happens.
func show(line string) {
	if os.Getenv("TONGS_VM") != "" {
		fmt.Fprintln(os.Stderr, strings.TrimPrefix(line, "\x16")) // test2json's mark
	}
}

// A package that is not in the list would run nowhere.
func TestListIsComplete(t *testing.T) {
	entries, err := os.ReadDir("inside")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.ContainsFunc(list(), func(p tests) bool { return p.Package == "test/vm/inside/"+e.Name() }) {
			t.Errorf("the package inside/%s is not in the list", e.Name())
		}
	}
}
