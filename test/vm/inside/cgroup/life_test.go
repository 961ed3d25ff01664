package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

func TestPause(t *testing.T) {
	h := linuxtest.One(t)
	each(t, h, func(t *testing.T, h *linuxtest.Host, d driver) {
		id := h.ID("a")
		d.must(t, h, "run", "--detach", "--bundle", h.Bundle(linuxtest.Shell("while :; do sleep 1; done"), d.place(id)), id)
		st, _ := h.State(id)
		dir := h.CgroupDir(st.PID, "")
		d.must(t, h, "pause", id)
		if got := read(t, dir+"/cgroup.events"); !strings.Contains(got, "frozen 1") {
			t.Errorf("cgroup.events after pause: %q", got)
		}
		if st, _ := h.State(id); st.Status != "paused" {
			t.Errorf("status %q", st.Status)
		}
		if out, err := exec.Command("systemctl", "daemon-reload").CombinedOutput(); err != nil {
			t.Errorf("daemon-reload: %v %s", err, out)
		}
		if r := d.run(h, "update", "--pids-limit", "50", id); r.Status != 0 {
			t.Errorf("update of a paused container: %s", r.Stderr)
		}
		if got := read(t, dir+"/cgroup.freeze"); got != "1" {
			t.Errorf("cgroup.freeze after a reload: %q", got)
		}
		d.must(t, h, "resume", id)
		if got := read(t, dir+"/cgroup.freeze"); got != "0" {
			t.Errorf("cgroup.freeze after resume: %q", got)
		}
		// What is paused dies all the same.
		d.must(t, h, "pause", id)
		d.must(t, h, "delete", "--force", id)
		h.CheckCleanButKeys()
	})
}

// A fork bomb within its limit ends with the container, within five seconds.
func TestForkBomb(t *testing.T) {
	h := linuxtest.One(t)
	each(t, h, func(t *testing.T, h *linuxtest.Host, d driver) {
		id := h.ID("a")
		const most = 150
		d.must(t, h, "run", "--detach", "--bundle", h.Bundle(d.place(id), linuxtest.Shell("b() { b | b & }; while :; do b; done 2>/dev/null"), func(s *specs.Spec) {
			s.Linux.Resources.Pids = &specs.LinuxPids{Limit: pointer[int64](most)}
		}), id)
		st, _ := h.State(id)
		dir := h.CgroupDir(st.PID, "")
		if !linuxtest.Until(func() bool {
			return strings.Contains(read(t, dir+"/pids.events"), "max ") && !strings.HasSuffix(read(t, dir+"/pids.events"), " 0")
		}) {
			t.Fatalf("the bomb does not reach its limit: %s of %d", read(t, dir+"/pids.current"), most)
		}
		begin := time.Now()
		d.must(t, h, "delete", "--force", id)
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("deleted after %v", took)
		} else {
			t.Logf("deleted after %v", took)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the cgroup is left: %v", err)
		}
	})
}

// Without a PID namespace it is cgroup.kill that ends all.
func TestKillAll(t *testing.T) {
	h := linuxtest.One(t)
	each(t, h, func(t *testing.T, h *linuxtest.Host, d driver) {
		id := h.ID("a")
		d.must(t, h, "run", "--detach", "--bundle", h.Bundle(d.place(id), linuxtest.WithoutNamespace(specs.PIDNamespace),
			linuxtest.Shell("trap '' TERM; for i in 1 2 3; do sleep 1000 & done; wait")), id)
		st, _ := h.State(id)
		dir := h.CgroupDir(st.PID, "")
		var pids []string
		if !linuxtest.Until(func() bool { pids = strings.Fields(read(t, dir+"/cgroup.procs")); return len(pids) == 4 }) {
			t.Fatalf("processes %v", pids)
		}
		d.must(t, h, "kill", "--all", id, "KILL")
		h.WaitFor(id, "stopped")
		for _, p := range pids {
			n, err := strconv.Atoi(p)
			if err != nil {
				t.Fatal(err)
			}
			if !linuxtest.Until(func() bool { // a zombie is ours to take
				var ws unix.WaitStatus
				unix.Wait4(n, &ws, unix.WNOHANG, nil)
				return unix.Kill(n, 0) == unix.ESRCH
			}) {
				t.Errorf("process %d is left", n)
			}
		}
		d.must(t, h, "delete", id)
	})
}

// Who stops a unit by systemd's means stops the container.
func TestUnitStopped(t *testing.T) {
	h := linuxtest.One(t)
	d := systemdDriver()
	id := h.ID("a")
	unit := "e2e-" + id + ".scope"
	d.must(t, h, "run", "--detach", "--bundle", h.Bundle(linuxtest.Args("/bin/sleep", "1000"), d.place(id),
		annotate("org.systemd.property.TimeoutStopSec", "1")), id)
	if out, err := exec.Command("systemctl", "stop", unit).CombinedOutput(); err != nil {
		t.Fatalf("systemctl stop: %v %s", err, out)
	}
	h.WaitFor(id, "stopped")
	for _, args := range [][]string{{"update", "--pids-limit", "7", id}, {"pause", id}, {"kill", id, "TERM"}} {
		if r := d.run(h, args...); r.Status != 1 || r.Stderr == "" {
			t.Errorf("%q: status %d, stderr %q", args, r.Status, r.Stderr)
		}
	}
	d.must(t, h, "delete", id)
	if got := loadState(t, unit); got != "not-found" {
		t.Errorf("the unit is left: %s", got)
	}
}

// Places where the kernel does not let a cgroup be used say why.
func TestWrongPlaces(t *testing.T) {
	h := linuxtest.One(t)
	above := "/sys/fs/cgroup/" + h.ID("above")
	for _, c := range []struct {
		name    string
		prepare func() error
		words   []string
	}{
		{"a threaded cgroup above", func() error {
			return os.WriteFile(above+"/cgroup.type", []byte("threaded"), 0)
		}, []string{"linux.cgroupsPath", above + "/a", "threaded"}},
		{"processes above", func() error {
			cmd := exec.Command("sleep", "1000")
			if err := cmd.Start(); err != nil {
				return err
			}
			t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
			return os.WriteFile(above+"/cgroup.procs", []byte(fmt.Sprint(cmd.Process.Pid)), 0)
		}, []string{"linux.cgroupsPath", above + "/a", "processes"}},
	} {
		h.Sub(t, c.name, func(t *testing.T, h *linuxtest.Host) {
			if err := errors.Join(os.Mkdir(above, 0o755), c.prepare()); err != nil {
				t.Fatal(err)
			}
			r := h.Run("run", "--bundle", h.Bundle(linuxtest.Args("/bin/true"), func(s *specs.Spec) {
				s.Linux.CgroupsPath = strings.TrimPrefix(above, "/sys/fs/cgroup") + "/a"
				s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: pointer[int64](64 << 20)}
			}), h.ID("a"))
			if r.Status != 1 {
				t.Errorf("status %d, want 1", r.Status)
			}
			for _, w := range c.words {
				if !strings.Contains(r.Stderr, w) {
					t.Errorf("no %q in: %s", w, r.Stderr)
				}
			}
			os.WriteFile(above+"/cgroup.kill", []byte("1"), 0)
			if !linuxtest.Until(func() bool { return os.Remove(above) == nil }) {
				t.Errorf("something is left in %s", above)
			}
		})
	}
}
