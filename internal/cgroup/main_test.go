package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// unifiedEnv marks the run of these tests in a mount namespace where
// /sys/fs/cgroup is cgroup v2 only.
const unifiedEnv = "TONGS_TEST_UNIFIED"

// TestLifeInUnified runs the TestLife tests once more on pure cgroup v2.
func TestLifeInUnified(t *testing.T) {
	needRoot(t)
	if unified, err := isUnified(); err != nil || unified {
		t.Skipf("no second view of cgroups to test: unified %v, %v", unified, err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := `mount --make-rprivate / && umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec "$@"`
	cmd := exec.Command("/bin/sh", "-c", script, "sh", exe, "-test.run=^TestLife", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), unifiedEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("on cgroup v2: %v", err)
	}
	if !bytes.Contains(out, []byte("--- PASS: TestLifeCycle")) {
		t.Error("no test ran on cgroup v2")
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("making cgroups needs root")
	}
	if os.Getenv(unifiedEnv) != "" && strings.HasSuffix(t.Name(), "InUnified") {
		t.Skip("this is the second run")
	}
}

// newGroup makes a cgroup of the test's own, below the test's own.
func newGroup(t *testing.T, res *specs.LinuxResources) *Group {
	t.Helper()
	needRoot(t)
	id := fmt.Sprintf("tongs-test-%d-%s", os.Getpid(), strings.ToLower(t.Name()))
	g, err := New(&specs.Spec{Linux: &specs.Linux{Resources: res}}, Options{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(g.Kill(), g.Remove()); err != nil {
			t.Error(err)
		}
		for _, h := range g.Hierarchies() {
			if _, err := os.Stat(h.Dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is left: %v", h.Dir, err)
			}
		}
	})
	return g
}

// child is a shell script that runs in the cgroup from its first instruction.
type child struct {
	*exec.Cmd
	out   bytes.Buffer
	start io.WriteCloser
}

func startIn(t *testing.T, g *Group, script string) *child {
	t.Helper()
	c := &child{Cmd: exec.Command("/bin/sh", "-c", "read start; "+script)}
	c.Stdout, c.Stderr = &c.out, &c.out
	c.start, _ = c.StdinPipe()
	fd, err := g.FD()
	if err != nil {
		t.Fatal(err)
	}
	if g.Unified() != (fd >= 0) {
		t.Fatalf("FD = %d with unified %v", fd, g.Unified())
	}
	c.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: fd >= 0, CgroupFD: fd}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if err := g.Join(c.Process.Pid); err != nil {
		t.Fatal(err)
	}
	io.WriteString(c.start, "\n")
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	return c
}

func mustCreate(t *testing.T, g *Group) {
	t.Helper()
	if err := g.Create(); err != nil {
		t.Fatal(err)
	}
	if err := g.Limit(); err != nil {
		t.Fatal(err)
	}
}
