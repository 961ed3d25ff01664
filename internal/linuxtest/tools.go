package linuxtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// tools are the programs that the tests of one package share.
type tools struct {
	dir     string
	tongs   string
	inside  string // looks around in a container and prints JSON
	busybox string
}

// built makes the tools at the first use.
var built = sync.OnceValues(build)

// Main is the TestMain of a package that uses Host.
func Main(m *testing.M) {
	// Containers whose runtime has exited become our children: so they can be
	// told from everybody else's, and waited for.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintf(os.Stderr, "cannot become subreaper: %v\n", err)
		os.Exit(1)
	}
	unix.Umask(0o022)
	code := m.Run()
	if manyHosts.Load() && code == 0 {
		if list := remaining(); len(list) > 0 {
			fmt.Printf("processes are left behind:\n%s\n", strings.Join(list, "\n"))
			code = 1
		}
	}
	if t, err := built(); err == nil {
		os.RemoveAll(t.dir)
	}
	os.Exit(code)
}

// MainVM is Main for a package of test/vm/inside. Elsewhere than in the virtual
// machine it has no tests.
func MainVM(m *testing.M) {
	if os.Getenv(inVM) == "" {
		fmt.Println("these tests run in the virtual machine of test/vm")
		os.Exit(0)
	}
	Main(m)
}

func build() (*tools, error) {
	dir, err := os.MkdirTemp("", "tongs-tools-")
	if err != nil {
		return nil, err
	}
	t := &tools{dir: dir, tongs: filepath.Join(dir, "tongs"), inside: filepath.Join(dir, "inside")}
	if err = os.Chmod(dir, 0o755); err == nil {
		err = t.build()
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return t, nil
}

func (t *tools) build() error {
	err := errors.Join(Program(t.tongs, "cmd/tongs"), Program(t.inside, "test/inside"))
	if err != nil {
		return err
	}
	if t.busybox, err = lookPath("busybox"); err != nil {
		return fmt.Errorf("cannot make a root file system without busybox (Debian: busybox-static): %v", err)
	}
	// On the file system of the bundles, which link to it.
	from := t.busybox
	t.busybox = filepath.Join(t.dir, "busybox")
	return copyProgram(t.busybox, from)
}

// Program makes the program of a package of this module, whose directory below
// the module's is given. In the virtual machine there is no compiler, and all
// programs have been built.
func Program(target, pkg string) error {
	if dir := os.Getenv("TONGS_TEST_PROGRAMS"); dir != "" {
		return copyProgram(target, filepath.Join(dir, filepath.Base(pkg)))
	}
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", target, "tongs/"+pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build %s: %v\n%s", pkg, err, out)
	}
	return nil
}

func copyProgram(target, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(target, data, 0o755)
}

// lookPath knows the directories that an ordinary user's PATH lacks.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if err != nil {
			path, err = exec.LookPath(filepath.Join(dir, name))
		}
	}
	return path, err
}
