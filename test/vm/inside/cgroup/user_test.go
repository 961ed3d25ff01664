package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

// userManager makes the machine know the user that linuxtest makes, and starts the
// user's service manager. It has to come before the test's mount namespace, which
// does not see later mounts.
func userManager(t *testing.T, uid int) (runtimeDir string) {
	t.Helper()
	for file, line := range map[string]string{"passwd": "%[1]s:*:%[2]d:%[2]d::/nonexistent:/bin/sh\n", "group": "%[1]s:x:%[2]d:\n"} {
		f, err := os.OpenFile("/etc/"+file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(f, line, "tongs-test", uid); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	unit := fmt.Sprintf("user@%d.service", uid)
	if out, err := exec.Command("systemctl", "start", unit).CombinedOutput(); err != nil {
		log, _ := exec.Command("journalctl", "-n", "20", "--no-pager", "-u", unit).CombinedOutput() // the error tells enough without
		t.Fatalf("systemctl start %s: %v %s\n%s", unit, err, out, log)
	}
	t.Cleanup(func() { exec.Command("systemctl", "stop", unit).Run() })
	return fmt.Sprintf("/run/user/%d", uid)
}

// An ordinary user's containers are units of the user's own service manager.
func TestUserUnit(t *testing.T) {
	const uid = 54321
	dir := userManager(t, uid)
	h := linuxtest.One(t).AsUser()
	if h.User.ID != uid {
		t.Fatalf("linuxtest's user is %d", h.User.ID)
	}
	id := h.ID("a")
	run := func(args ...string) *linuxtest.Result {
		return h.Exec(linuxtest.Command{Args: append([]string{"--systemd-cgroup"}, args...), Env: []string{"XDG_RUNTIME_DIR=" + dir, "DBUS_SESSION_BUS_ADDRESS="}})
	}
	must := func(args ...string) {
		t.Helper()
		if r := run(args...); r.Status != 0 {
			t.Fatalf("%q: status %d, stderr %s", args, r.Status, r.Stderr)
		}
	}
	limits := func(s *specs.Spec) {
		s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: pointer[int64](64 << 20)}, Pids: &specs.LinuxPids{Limit: pointer[int64](33)}}
	}
	for _, c := range []struct{ path, slice, unit string }{
		{"", "user.slice", "tongs-" + id + ".scope"},
		{"e2e-x.slice:e2e:" + id, "e2e.slice/e2e-x.slice", "e2e-" + id + ".scope"},
	} {
		must("run", "--detach", "--bundle", h.Bundle(linuxtest.Args("/bin/sleep", "1000"), limits, placed(c.path)), id)
		st, _ := h.State(id)
		want := fmt.Sprintf("/sys/fs/cgroup/user.slice/user-%d.slice/user@%[1]d.service/%s/%s", h.User.ID, c.slice, c.unit)
		got := h.CgroupDir(st.PID, "")
		if got != want {
			t.Errorf("the cgroup is %q, want %q", got, want)
		}
		must("update", "--pids-limit", "22", id)
		for f, want := range map[string]string{"memory.max": "67108864", "pids.max": "22"} {
			if value := read(t, got+"/"+f); value != want {
				t.Errorf("%s is %q, want %q", f, value, want)
			}
		}
		must("delete", "--force", id)
		if _, err := os.Stat(want); err == nil {
			t.Error("the cgroup is left")
		}
	}
	// Without the manager it is said who is missing.
	dir = "/nonexistent"
	r := run("run", "--bundle", h.Bundle(linuxtest.Args("/bin/true"), limits), id)
	for _, w := range []string{"/nonexistent/systemd/private", "/nonexistent/bus", "dbus-user-session"} {
		if r.Status != 1 || !strings.Contains(r.Stderr, w) {
			t.Errorf("status %d, no %q in: %s", r.Status, w, r.Stderr)
		}
	}
}
