package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const systemdPath = "/lib/systemd/systemd"

// bootScript makes a place where a systemd of the test's own can be PID 1 and
// cannot touch the host: every namespace but the user one is new, / is
// read-only, /run and /var are empty, its cgroups are below $CGROUP, and the
// only unit besides its own is the one that runs this test again. $DIR stays
// writable.
const bootScript = `set -e
if [ -z "$SECOND" ]; then
	mount --make-rprivate /
	umount -R /sys/fs/cgroup
	mount -t cgroup2 none /sys/fs/cgroup
	mkdir /sys/fs/cgroup/$CGROUP
	echo $$ >/sys/fs/cgroup/$CGROUP/cgroup.procs
	SECOND=1 exec unshare --cgroup --net --ipc --uts --pid --fork --kill-child --mount-proc /bin/sh -c "$SCRIPT"
fi
umount /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mount --bind "$DIR" "$DIR"
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var
mount -o remount,bind,ro /
mkdir -p /run/systemd/system
cat >/run/systemd/system/tongs-test.target <<END
[Unit]
DefaultDependencies=no
Wants=tongs-test.service
END
cat >/run/systemd/system/tongs-test.service <<END
[Unit]
DefaultDependencies=no
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
Environment=TONGS_TEST_SYSTEMD=1
ExecStart=/bin/sh -c 'exec "$EXE" -test.run=^TestSystemd -test.v -test.timeout=30s >"$DIR/out" 2>&1'
END
# A systemd in a container leaves the kernel's settings alone.
container=other exec ` + systemdPath + ` --system --unit=tongs-test.target --log-target=console --show-status=false
`

// TestSystemd runs itself again under a systemd of its own.
func TestSystemd(t *testing.T) {
	if os.Getenv("TONGS_TEST_SYSTEMD") != "" {
		testUnit(t)
		return
	}
	needRoot(t)
	if _, err := os.Stat(systemdPath); err != nil {
		t.Skip("systemd is not installed")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	group := fmt.Sprintf("tongs-test-%d-systemd", os.Getpid())
	cmd := exec.Command("/bin/sh", "-c", bootScript)
	cmd.Env = append(os.Environ(), "SCRIPT="+bootScript, "EXE="+exe, "DIR="+dir, "CGROUP="+group)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	log, err := cmd.CombinedOutput()
	timer.Stop()
	out, errOut := os.ReadFile(dir + "/out")
	t.Logf("%s", out)
	if errOut != nil || !strings.Contains(string(out), "--- PASS: TestSystemd") {
		t.Errorf("the test under systemd did not pass: %v, systemd says: %v\n%s", errOut, err, log)
	}
	v2 := root
	if unified, _ := isUnified(); !unified {
		v2 = hybridRoot
	}
	g := &Group{unified: true, fd: -1, hierarchies: []Hierarchy{{Names: []string{""}, Mountpoint: v2, Dir: v2 + "/" + group}}}
	if err := errors.Join(g.Kill(), g.Remove()); err != nil {
		t.Error(err)
	}
}

// testUnit is the half of TestSystemd that systemd runs.
func testUnit(t *testing.T) {
	spec := &specs.Spec{Linux: &specs.Linux{CgroupsPath: "tongs-test.slice:pre:a-b"}}
	g, err := New(spec, Options{ID: "id", Systemd: true})
	if err != nil {
		t.Fatal(err)
	}
	// systemd nests slices by the dashes of their names.
	const want = root + "/tongs.slice/tongs-test.slice/pre-a-b.scope"
	if got := g.Paths(); len(got) != 1 || got[""] != want {
		t.Fatalf("Paths = %q, want %q", got, want)
	}
	if owned := g.Owned(); len(owned) != 0 {
		t.Errorf("systemd's directory is owned: %q", owned)
	}
	if err := g.Create(); err != nil {
		t.Fatal(err)
	}
	c := startOutside(t, g)
	if err := g.Join(c.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if err := g.Limit(); err != nil {
		t.Fatal(err)
	}
	if ok, err := g.Holds(c.Process.Pid); err != nil || !ok {
		t.Errorf("Holds = %v, %v", ok, err)
	}
	fd, err := g.open()
	if err != nil {
		t.Fatal(err)
	}
	if ids, err := devicePrograms(fd); err != nil || len(ids) != 1 {
		t.Errorf("device programs %v, %v; want one", ids, err)
	}

	l, err := Load(g.Paths(), true)
	if err != nil {
		t.Fatal(err)
	}
	if pids, err := l.PIDs(); err != nil || !slices.Equal(pids, []int{c.Process.Pid}) {
		t.Errorf("PIDs = %v, %v; want %d", pids, err, c.Process.Pid)
	}
	if err := l.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	for range 2 {
		if err := l.Remove(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(want); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", want, err)
	}
	g.Close()

	// Without a path of its own the unit is named for the container.
	if g, err = New(&specs.Spec{}, Options{ID: "id", Systemd: true}); err != nil {
		t.Fatal(err)
	}
	if got := g.Paths()[""]; got != root+"/system.slice/tongs-id.scope" {
		t.Errorf("the default unit is %q", got)
	}
}

// startOutside starts a process that stays, outside of the cgroup.
func startOutside(t *testing.T, g *Group) *exec.Cmd {
	t.Helper()
	if fd, err := g.FD(); fd != -1 || err != nil {
		t.Fatalf("FD = %d, %v; a scope is made around a process", fd, err)
	}
	c := exec.Command("/bin/sleep", "100")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill() })
	return c
}
