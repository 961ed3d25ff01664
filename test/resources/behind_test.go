package resources

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

// moveAway puts a process into other cgroups, which are made beside its own. On
// v1 its cpuset is the parent's, since a new one is empty.
func moveAway(t *testing.T, h *linuxtest.Host, pid int) (old []string, end func()) {
	t.Helper()
	old = cgroupDirs(t, h, pid)
	var made []string
	for _, dir := range old {
		other := filepath.Dir(dir)
		if !strings.Contains(dir, "/cpuset/") {
			other = filepath.Join(other, h.ID("other"))
			if err := os.Mkdir(other, 0o755); err != nil {
				t.Fatal(err)
			}
			made = append(made, other)
		}
		if err := os.WriteFile(filepath.Join(other, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			t.Fatal(err)
		}
	}
	return old, func() {
		for _, dir := range made {
			if !linuxtest.Until(func() bool { return os.Remove(dir) == nil }) {
				t.Errorf("cannot remove %s", dir)
			}
		}
	}
}

// A container whose process somebody has moved to other cgroups, and whose own
// are gone or still there: every command has a clear answer, and kill and delete
// still reach the process.
func TestBehindOurBack(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		for _, gone := range []bool{true, false} {
			h.Sub(t, map[bool]string{true: "removed", false: "left"}[gone], func(t *testing.T, h *linuxtest.Host) { behind(t, h, gone) })
		}
	})
}

func behind(t *testing.T, h *linuxtest.Host, gone bool) {
	t.Helper()
	id, other := h.ID("a"), h.ID("b")
	h.Must("run", "--detach", "--bundle", h.Bundle(forever()), id)
	h.Must("create", "--bundle", h.Bundle(forever(), linuxtest.WithoutNamespace(specs.PIDNamespace)), other)
	for i, name := range []string{id, other} {
		st, _ := h.State(name)
		old, end := moveAway(t, h, st.PID)
		for _, dir := range old {
			if err := os.Remove(dir); gone && err != nil {
				t.Fatal(err)
			} else if !gone && err == nil {
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, c := range []struct{ command, fails string }{
			{"exec ID true", "the container's first process is outside of the container's cgroup"},
			{"update --pids-limit 5 ID", "no such file or directory"},
			{"pause ID", "no such file or directory"},
			{"events --stats ID", "cannot read statistics: stat "},
			{"resume ID", "container not paused"},
		} {
			if !gone {
				continue
			}
			r := h.Run(strings.Fields(strings.ReplaceAll(c.command, "ID", name))...)
			if i == 0 && (r.Status == 0 || !strings.Contains(r.Stderr, c.fails)) {
				t.Errorf("%s: status %d, stderr %s", c.command, r.Status, r.Stderr)
			}
		}
		if i == 1 {
			h.Must("start", name)
		}
		same(t, "processes", strings.TrimSpace(h.Must("ps", "-f", "json", name).Stdout), "["+strconv.Itoa(st.PID)+"]")
		same(t, "status", h.WaitFor(name, "running").PID, st.PID)
		h.Must("kill", name, "0")
		if i == 0 {
			h.Must("kill", name, "KILL")
			h.WaitFor(name, "stopped")
			h.Must("delete", name)
		} else {
			h.Must("kill", name, "KILL")
			h.WaitFor(name, "stopped")
			h.Must("delete", "--force", name)
		}
		end()
	}
	h.CheckCleanButKeys()
}

// A container that makes cgroups of its own, with processes in them, is deleted
// with all of these.
func TestDeleteWithChildren(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		id := h.ID("a")
		// Without a PID namespace, whose end would end all.
		h.Must("run", "--detach", "--bundle", h.Bundle(forever(), linuxtest.WithoutNamespace(specs.PIDNamespace)), id)
		st, _ := h.State(id)
		dirs := cgroupDirs(t, h, st.PID)
		file := filepath.Join(h.Dir, "pid")
		for i := range 3 {
			h.Must("exec", "--detach", "--pid-file", file, id, "sleep", "1000")
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(string(data))
			if err != nil {
				t.Fatal(err)
			}
			h.Adopt(pid)
			for _, dir := range dirs {
				if strings.Contains(dir, "/cpuset/") {
					continue // a new one takes no process
				}
				sub := filepath.Join(dir, "x"+strconv.Itoa(i), "y")
				if err := os.MkdirAll(sub, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(sub, "cgroup.procs"), data, 0); err != nil {
					t.Fatal(err)
				}
			}
		}
		os.Remove(file)
		h.Must("kill", id, "KILL")
		h.WaitFor(id, "stopped")
		h.Must("delete", id)
		for _, dir := range dirs {
			if _, err := os.Stat(dir); err == nil {
				t.Errorf("%s is still there", dir)
			}
		}
	})
}

// A program that forks without end, within its limit, can be paused, and is gone
// with one command within five seconds: mostly it takes a fiftieth of that.
func TestDeleteForkBomb(t *testing.T) {
	h := linuxtest.One(t) // with a limit of processes, on v1 or v2
	limit := int64(150)
	for name, edit := range map[string]linuxtest.Edit{"own PID namespace": func(*specs.Spec) {}, "host's PID namespace": linuxtest.WithoutNamespace(specs.PIDNamespace)} {
		h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
			id := h.ID("a")
			bomb := linuxtest.Args("/bin/inside", "--bomb")
			h.Must("run", "--detach", "--bundle", h.Bundle(bomb, edit, func(s *specs.Spec) { s.Linux.Resources.Pids = &specs.LinuxPids{Limit: &limit} }), id)
			st, _ := h.State(id)
			full := func() bool {
				data, err := os.ReadFile(filepath.Join(h.CgroupDir(st.PID, "pids"), "pids.current"))
				return err == nil && strings.TrimSpace(string(data)) == "150"
			}
			if !linuxtest.Until(full) {
				t.Error("the bomb does not fill its limit")
			}
			h.Must("pause", id) // which holds while all of them fork
			same(t, "status", h.WaitFor(id, "paused").PID, st.PID)
			h.Must("resume", id)
			h.WaitFor(id, "running")
			h.Must("pause", id)
			begin := time.Now()
			h.Must("delete", "--force", id)
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("deleted after %v", took)
			}
			h.CheckCleanButKeys()
		})
	}
}

// The cgroup of a container that has stopped can be another one's by now, whose
// processes are not touched when the first is deleted.
func TestDeleteSparesTheNext(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		bundle := h.Bundle(forever(), func(s *specs.Spec) { s.Linux.CgroupsPath = "/" + h.ID("group") })
		first, next := h.ID("first"), h.ID("next")
		h.Must("run", "--detach", "--bundle", bundle, first)
		h.Must("kill", first, "KILL")
		h.WaitFor(first, "stopped")
		h.Must("run", "--detach", "--bundle", bundle, next)
		if r := h.Run("delete", first); r.Status != 1 || !strings.Contains(r.Stderr, "cannot remove cgroup") {
			t.Errorf("status %d, stderr %s", r.Status, r.Stderr)
		}
		same(t, "status of the next", h.WaitFor(next, "running").Status, "running")
		h.Must("delete", "--force", next)
		h.Must("delete", first)
	})
}

// A further process that waits in a paused container, outside of its PID
// namespace yet, does not hold up the end.
func TestDeleteWithFrozenExec(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		id := h.ID("a")
		h.Must("run", "--detach", "--bundle", h.Bundle(forever()), id)
		st, _ := h.State(id)
		h.Must("pause", id)
		exec := h.Start(linuxtest.Command{Args: []string{"exec", "--ignore-paused", id, "true"}})
		if !linuxtest.Until(func() bool { return processes(h, st.PID) == 2 }) {
			t.Error("the exec does not come into the cgroup")
		}
		h.Must("delete", "--force", id)
		same(t, "status of exec", exec.Wait().Status, 255)
	})
}
