package rootless

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

// The whole life of an ordinary user's container, that has no cgroup.
func TestLife(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		h = h.AsUser()
		for name, edits := range map[string][]linuxtest.Edit{"alone": nil, "sub-ids": {h.User.SubIDs, func(s *specs.Spec) {
			s.Process.User = specs.User{UID: 7, GID: 8}
		}}} {
			h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) { life(t, h, edits) })
		}
	})
}

func life(t *testing.T, h *linuxtest.Host, edits []linuxtest.Edit) {
	id := h.ID("a")
	h.Must("create", "--bundle", h.Bundle(append(edits, linuxtest.Args("/bin/sleep", "1000"))...), id)
	st := h.WaitFor(id, "created")
	linuxtest.Equal(t, "processes", linuxtest.Words(h.Must("ps", "--format", "json", id).Stdout), "["+strconv.Itoa(st.PID)+"]")
	h.Must("start", id)
	h.WaitFor(id, "running")
	contains(t, h.Must("list").Stdout, id, "running", "tongs-test")

	contains(t, h.Must("exec", id, "/bin/cat", "/proc/self/uid_map").Stdout, "54321")
	r := h.Look(h.Must("exec", id, "/bin/inside").Stdout)
	linuxtest.Equal(t, "own namespaces", linuxtest.OwnNamespaces(t, r), namespaces(h, "ipc mnt pid user uts"))
	linuxtest.Equal(t, "exit status", h.Run("exec", id, "/bin/sh", "-c", "exit 9").Status, 9)
	h.Must("exec", "--detach", id, "/bin/sleep", "1001")
	var pids string
	if !linuxtest.Until(func() bool {
		pids = h.Must("ps", "--format", "json", id).Stdout
		return strings.Count(pids, ",") == 1
	}) {
		t.Errorf("processes: %s, want two", pids)
	}
	for pid := range strings.SplitSeq(strings.Trim(linuxtest.Words(pids), "[]"), ",") {
		if n, _ := strconv.Atoi(pid); n != st.PID {
			h.Adopt(n)
		}
	}

	pause := h.Run("pause", id)
	linuxtest.Equal(t, "pause", pause.Status, 1)
	contains(t, pause.Stderr, "no freezer cgroup")
	h.Must("kill", id, "KILL")
	h.WaitFor(id, "stopped")
	h.Must("delete", id)
	if _, there := h.State(id); there {
		t.Error("it is still there")
	}
	h.Must("run", "--detach", "--bundle", h.Bundle(append(edits, linuxtest.Args("/bin/sleep", "1000"))...), id)
	h.WaitFor(id, "running")
	h.Must("delete", "--force", id)
}

// Terminals belong to the container's user.
func TestTerminal(t *testing.T) {
	h := linuxtest.One(t).AsUser()
	id := h.ID("a")
	socket := h.Listen("console")
	if err := chmodAll(socket.Path); err != nil {
		t.Fatal(err)
	}
	h.Must("run", "--detach", "--console-socket", socket.Path, "--bundle",
		h.Bundle(linuxtest.Terminal, linuxtest.Shell("stat -c %u:%t /dev/pts/0; tty; read line; echo got $line; sleep 1000"), h.User.SubIDs, func(s *specs.Spec) {
			s.Process.User = specs.User{UID: 7, GID: 8}
		}), id)
	_, master := socket.Receive()
	defer master.Close()
	contains(t, linuxtest.ReadUntil(t, master, "/dev/pts/0\r\n"), "7:88")
	if _, err := master.WriteString("hello\n"); err != nil {
		t.Error(err)
	}
	linuxtest.ReadUntil(t, master, "got hello")

	other := h.Listen("console2")
	if err := chmodAll(other.Path); err != nil {
		t.Fatal(err)
	}
	pid := filepath.Join(h.User.Home, "pid")
	h.Must("exec", "--detach", "--tty", "--pid-file", pid, "--console-socket", other.Path, id, "/bin/sh", "-c", "tty; id -u; read line")
	_, second := other.Receive()
	defer second.Close()
	text, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.Atoi(string(text)) // 0 would not be waited for, which shows
	h.Adopt(n)
	contains(t, linuxtest.ReadUntil(t, second, "7\r\n"), "/dev/pts/1")
	h.Must("delete", "--force", id)
}

// What an ordinary user can neither have nor be protected from says so.
func TestLimits(t *testing.T) {
	h := linuxtest.One(t).AsUser()
	score := func(n int) linuxtest.Edit { return func(s *specs.Spec) { s.Process.OOMScoreAdj = &n } }
	r := h.Must("run", "--bundle", h.Bundle(score(500), linuxtest.Args("/bin/cat", "/proc/self/oom_score_adj")), h.ID("a"))
	linuxtest.Equal(t, "score", r.Stdout, "500\n")
	r = h.Must("run", "--bundle", h.Bundle(score(-500), linuxtest.Args("/bin/cat", "/proc/self/oom_score_adj")), h.ID("a"))
	linuxtest.Equal(t, "score", r.Stdout, "0\n")
	contains(t, r.Stderr, "process.oomScoreAdj")

	id := h.ID("b")
	h.Must("create", "--bundle", h.Bundle(score(500), linuxtest.Args("/bin/sleep", "1000")), id)
	r = h.Run("exec", id, "/bin/true")
	linuxtest.Equal(t, "exec before start", r.Status, 255)
	contains(t, r.Stderr, "before it is started")
	h.Must("start", id)
	linuxtest.Equal(t, "score", h.Must("exec", id, "/bin/cat", "/proc/self/oom_score_adj").Stdout, "500\n")
	h.Must("delete", "--force", id)
}

// Whenever tongs is killed, a delete finds all that there is.
func TestKilled(t *testing.T) {
	h := linuxtest.One(t).AsUser()
	bundle := h.Bundle(linuxtest.Args("/bin/sleep", "1000"), h.User.SubIDs)
	id := h.ID("a")
	for i := range 30 {
		p := h.Start(linuxtest.Command{Args: []string{"create", "--bundle", bundle, id}})
		time.Sleep(time.Duration(i) * time.Millisecond)
		p.Signal(syscall.SIGKILL)
		p.Wait()
		h.Must("delete", "--force", id)
		h.CheckCleanButKeys()
	}
}
