package lifecycle

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

func TestMain(m *testing.M) { linuxtest.Main(m) }

// forever is a container whose program ends only by a signal.
var forever = linuxtest.Args("/bin/sleep", "1000")

func TestLife(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		out := filepath.Join(h.Dir, "out")
		bundle := h.Bundle(linuxtest.Shell("echo $$ >/out/pid; exec sleep 1000"),
			linuxtest.Mount("/out", "bind", out, "bind"))
		if err := os.Mkdir(out, 0o755); err != nil {
			t.Fatal(err)
		}
		id := h.ID("a")
		if r := h.Must("create", "--bundle", bundle, id); r.Stdout+r.Stderr != "" {
			t.Errorf("create prints %q", r.Stdout+r.Stderr)
		}
		st, _ := h.State(id)
		if st.Status != "created" || st.PID <= 0 || st.ID != id || st.Bundle != bundle || st.Rootfs != bundle+"/rootfs" {
			t.Errorf("state after create: %+v", st)
		}
		if _, err := os.Stat(out + "/pid"); err == nil {
			t.Error("the program runs before start")
		}
		if r := h.Must("start", id); r.Stdout+r.Stderr != "" {
			t.Errorf("start prints %q", r.Stdout+r.Stderr)
		}
		started, _ := h.State(id)
		if started.Status != "running" || started.PID != st.PID || !started.Created.Equal(st.Created) {
			t.Errorf("state after start: %+v, was %+v", started, st)
		}
		if !linuxtest.Until(func() bool { data, _ := os.ReadFile(out + "/pid"); return string(data) == "1\n" }) {
			t.Error("the program is not pid 1 of its namespace")
		}
		h.Must("kill", id, "KILL")
		if st := h.WaitFor(id, "stopped"); st.PID != 0 {
			t.Errorf("pid of a stopped container is %d, want 0", st.PID)
		}
		h.Must("delete", id)
		if _, ok := h.State(id); ok {
			t.Error("there is a state after delete")
		}
		h.CheckClean()
		// The name is free again.
		if r := h.Must("run", "--bundle", h.Bundle(linuxtest.Shell("echo again")), id); r.Stdout != "again\n" {
			t.Errorf("stdout %q", r.Stdout)
		}
	})
}

func TestStateKeys(t *testing.T) {
	h := linuxtest.One(t)
	bundle := h.Bundle(forever, func(s *specs.Spec) { s.Annotations = map[string]string{"b": "<2>", "a": "1"} })
	id := h.ID("a")
	h.Must("create", "--bundle", bundle, id)
	got := h.Must("state", id).Stdout
	st, _ := h.State(id)
	want := fmt.Sprintf(`{
  "ociVersion": %q,
  "id": %q,
  "pid": %d,
  "status": "created",
  "bundle": %q,
  "rootfs": %q,
  "created": %q,
  "annotations": {
    "a": "1",
    "b": "\u003c2\u003e"
  },
  "owner": ""
}`, specs.Version, id, st.PID, bundle, bundle+"/rootfs", st.Created.Format("2006-01-02T15:04:05.999999999Z07:00"))
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", st.PID)); err != nil {
		t.Errorf("the pid is nobody's: %v", err)
	}
	h.Must("delete", "--force", id)
}

func TestExitStatus(t *testing.T) {
	// Its own signals do not end the first process of a PID namespace.
	host := linuxtest.WithoutNamespace(specs.PIDNamespace)
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		for i, c := range []struct {
			script string
			want   int
		}{
			{"exit 0", 0},
			{"exit 42", 42},
			{"exit 255", 255},
			{"kill -TERM $$", 128 + 15},
			{"kill -KILL $$", 128 + 9},
			{"kill -HUP $$", 128 + 1},
		} {
			r := h.Run("run", "--bundle", h.Bundle(linuxtest.Shell(c.script), host), h.ID(strconv.Itoa(i)))
			if r.Status != c.want || r.Stderr != "" {
				t.Errorf("%q: status %d, want %d; stderr: %s", c.script, r.Status, c.want, r.Stderr)
			}
		}
	})
}

func TestRunKilledByCommand(t *testing.T) {
	h := linuxtest.One(t)
	id := h.ID("a")
	run := h.Start(linuxtest.Command{Args: []string{"run", "--bundle", h.Bundle(linuxtest.Shell("echo ready; exec sleep 1000")), id}})
	if !linuxtest.Until(func() bool { return run.Output() == "ready\n" }) {
		t.Fatal("the program does not begin")
	}
	h.Must("kill", id, "KILL")
	if r := run.Wait(); r.Status != 128+9 {
		t.Errorf("status %d, want 137; stderr: %s", r.Status, r.Stderr)
	}
}

// Each signal is sent once, as soon as the container is there.
func TestRunForwardsSignals(t *testing.T) {
	h := linuxtest.One(t)
	for _, c := range []struct {
		name string
		sig  syscall.Signal
	}{
		{"HUP", syscall.SIGHUP}, {"INT", syscall.SIGINT}, {"QUIT", syscall.SIGQUIT},
		{"USR1", syscall.SIGUSR1}, {"USR2", syscall.SIGUSR2}, {"TERM", syscall.SIGTERM},
		{"ALRM", syscall.SIGALRM}, {"CONT", syscall.SIGCONT}, {"IO", syscall.SIGIO},
		{"PWR", syscall.SIGPWR}, {"TTIN", syscall.SIGTTIN}, {"VTALRM", syscall.SIGVTALRM}, {"50", 50},
	} {
		script := fmt.Sprintf("trap 'echo got; exit 7' %s; echo ready; while :; do sleep 0.01; done", c.name)
		run := h.Start(linuxtest.Command{Args: []string{"run", "--bundle", h.Bundle(linuxtest.Shell(script)), h.ID(c.name)}})
		if !linuxtest.Until(func() bool { return strings.HasPrefix(run.Output(), "ready\n") }) {
			t.Fatalf("the container does not begin: %q", run.Output())
		}
		run.Signal(c.sig)
		if r := run.Wait(); r.Status != 7 || r.Stdout != "ready\ngot\n" {
			t.Errorf("%s: status %d, want 7; stdout %q; stderr %q", c.name, r.Status, r.Stdout, r.Stderr)
		}
	}
}

func TestRunPassesStreams(t *testing.T) {
	h := linuxtest.One(t)
	in := filepath.Join(h.Dir, "in")
	if err := os.WriteFile(in, []byte("to the container"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(in)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	bundle := h.Bundle(linuxtest.Shell("cat; echo to stderr >&2"))
	r := h.Exec(linuxtest.Command{Args: []string{"run", h.ID("a")}, Dir: bundle, Stdin: f})
	if r.Status != 0 || r.Stdout != "to the container" || r.Stderr != "to stderr\n" {
		t.Errorf("%+v", r)
	}
}

// A program that is not root can open its standard output again, by /dev/stdout:
// the file becomes the user's, as with runc.
func TestStreamsBelongToUser(t *testing.T) {
	h := linuxtest.One(t)
	bundle := h.Bundle(linuxtest.Shell("echo again >>/dev/stdout"), func(s *specs.Spec) {
		s.Process.User = specs.User{UID: 1000, GID: 1000}
	})
	for _, h := range []*linuxtest.Host{h, h.With("runc")} {
		out, err := os.CreateTemp(h.Dir, "out")
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		id := h.ID("a")
		if r := h.Exec(linuxtest.Command{Args: []string{"run", "--detach", "--bundle", bundle, id}, Out: out}); r.Status != 0 {
			t.Errorf("status %d", r.Status)
		}
		h.WaitFor(id, "stopped")
		h.Must("delete", id)
		info, err := out.Stat()
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(out.Name())
		if st := info.Sys().(*syscall.Stat_t); st.Uid != 1000 || string(data) != "again\n" {
			t.Errorf("the file belongs to %d:%d and has %q, %v", st.Uid, st.Gid, data, err)
		}
	}
}

func TestRunDetach(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		id, pidFile := h.ID("a"), filepath.Join(h.Dir, "pid")
		h.Must("run", "--detach", "--pid-file", pidFile, "--bundle", h.Bundle(forever), id)
		st, _ := h.State(id)
		if st.Status != "running" {
			t.Errorf("status %q after run --detach", st.Status)
		}
		data, err := os.ReadFile(pidFile)
		if err != nil || string(data) != strconv.Itoa(st.PID) {
			t.Errorf("pid file: %q, %v, want %d without a newline", data, err, st.PID)
		}
		h.Must("kill", id, "9")
		h.WaitFor(id, "stopped")
		h.Must("delete", id)
	})
}

func TestRunKeep(t *testing.T) {
	h := linuxtest.One(t)
	id := h.ID("a")
	if r := h.Run("run", "--keep", "--bundle", h.Bundle(linuxtest.Shell("exit 3")), id); r.Status != 3 {
		t.Errorf("status %d, want 3; stderr: %s", r.Status, r.Stderr)
	}
	if st, ok := h.State(id); !ok || st.Status != "stopped" {
		t.Errorf("state %+v after run --keep", st)
	}
	h.Must("delete", id)
}

func TestPidFileRelativeToCaller(t *testing.T) {
	h := linuxtest.One(t)
	id := h.ID("a")
	h.Exec(linuxtest.Command{Args: []string{"create", "--pid-file", "pid", "--bundle", h.Bundle(forever), id}, Dir: h.Dir})
	st, _ := h.State(id)
	if data, err := os.ReadFile(filepath.Join(h.Dir, "pid")); err != nil || string(data) != strconv.Itoa(st.PID) {
		t.Errorf("pid file: %q, %v, want %d", data, err, st.PID)
	}
	if _, err := os.Stat(filepath.Join(h.Dir, ".pid")); err == nil {
		t.Error("the temporary pid file is still there")
	}
	h.Must("delete", "-f", id)
}

func TestKeyring(t *testing.T) {
	h := linuxtest.One(t)
	if r := h.RunInside("new"); r.Keyring != "_ses."+h.ID("new") {
		t.Errorf("session keyring %q, want a new one", r.Keyring)
	}
	bundle := h.Bundle(linuxtest.Inside())
	r := h.Look(h.Must("run", "--no-new-keyring", "--bundle", bundle, h.ID("old")).Stdout)
	if strings.Contains(r.Keyring, h.ID("old")) {
		t.Errorf("session keyring %q, want the caller's", r.Keyring)
	}
	// runc 1.1 does the same.
	if r := h.With("runc").RunInside("runc"); r.Keyring != "_ses."+h.ID("runc") {
		t.Errorf("runc: session keyring %q", r.Keyring)
	}
}

func TestNamesOfKill(t *testing.T) {
	h := linuxtest.One(t)
	for i, sig := range []string{"KILL", "SIGKILL", "kill", "sigkill", "9", "RTMIN", "34"} {
		id := h.ID(strconv.Itoa(i))
		script := "trap 'exit 0' 34; echo ready; while :; do sleep 0.01; done"
		r := h.Must("run", "--detach", "--bundle", h.Bundle(linuxtest.Shell(script)), id)
		if !linuxtest.Until(func() bool { r.Reread(); return r.Stdout == "ready\n" }) {
			t.Fatalf("stdout %q, stderr %q", r.Stdout, r.Stderr)
		}
		h.Must("kill", id, sig)
		h.WaitFor(id, "stopped")
		h.Must("delete", id)
	}
	id := h.ID("x")
	h.Must("create", "--bundle", h.Bundle(forever), id)
	for _, sig := range []string{"NOPE", "65", "-1", "SIG", "9x"} {
		if r := h.Run("kill", "--", id, sig); r.Status != 1 || !strings.Contains(r.Stderr, "unknown signal") {
			t.Errorf("kill %s: status %d, stderr %q", sig, r.Status, r.Stderr)
		}
	}
	h.Must("delete", "--force", id)
}

// Without a PID namespace, the end of the first process is not the end of the
// others. The names are looked for since the pids inside are the host's.
func TestKillEndsAllWithoutPIDNamespace(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		id := h.ID("a")
		script := "for i in 1 2 3; do sleep 1000 & done; echo ready; exec sleep 1000"
		r := h.Must("run", "--detach", "--bundle", h.Bundle(linuxtest.Shell(script), linuxtest.WithoutNamespace(specs.PIDNamespace)), id)
		if !linuxtest.Until(func() bool { r.Reread(); return r.Stdout == "ready\n" }) {
			t.Fatalf("stdout %q, stderr %q", r.Stdout, r.Stderr)
		}
		st, _ := h.State(id)
		procs := filepath.Join(h.CgroupDir(st.PID, "pids"), "cgroup.procs")
		pids := func() []string { data, _ := os.ReadFile(procs); return strings.Fields(string(data)) }
		if n := len(pids()); n != 4 {
			t.Errorf("%d processes in the cgroup, want 4", n)
		}
		h.Must("kill", id, "KILL")
		h.WaitFor(id, "stopped")
		if !linuxtest.Until(func() bool { return len(alive(pids())) == 0 }) {
			t.Errorf("these have outlived the kill: %v", alive(pids()))
		}
		h.Must("delete", id)
	})
}

// alive leaves out the zombies, whose parent is the test.
func alive(pids []string) []string {
	return slices.DeleteFunc(pids, func(pid string) bool {
		data, err := os.ReadFile("/proc/" + pid + "/stat")
		return err != nil || strings.Contains(string(data), ") Z ")
	})
}

// Without a PID namespace, what the program leaves behind comes to `run`, which
// waits for it, or with --no-subreaper to who adopts orphans anyway.
func TestNoSubreaper(t *testing.T) {
	h := linuxtest.One(t)
	for _, o := range []*linuxtest.Host{h, h.With("runc")} {
		for _, flags := range [][]string{nil, {"--no-subreaper"}} {
			// The shell between has ended, and been waited for, when its directory is gone.
			script := "sh -c '(while [ -e /proc/$$ ]; do sleep 0.01; done; grep PPid /proc/self/status) &'; read x; exit 5"
			stdin, in, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			run := o.Start(linuxtest.Command{Stdin: stdin, Args: slices.Concat([]string{"run"}, flags,
				[]string{"--bundle", h.Bundle(linuxtest.Shell(script), linuxtest.WithoutNamespace(specs.PIDNamespace)), o.ID("a")})})
			stdin.Close()
			if !linuxtest.Until(func() bool { return strings.HasSuffix(run.Output(), "\n") }) {
				t.Errorf("%q: the orphan says %q", flags, run.Output())
			}
			in.Close()
			r := run.Wait()
			adopted := strings.TrimSpace(strings.TrimPrefix(r.Stdout, "PPid:")) == strconv.Itoa(run.PID)
			if r.Status != 5 || adopted != (flags == nil) {
				t.Errorf("%s %q: status %d, run is %d, the orphan's parent: %s", o.Argv()[0], flags, r.Status, run.PID, r.Stdout)
			}
		}
	}
}

// --debug adds records of the command and its end, and changes nothing else.
func TestDebug(t *testing.T) {
	h := linuxtest.One(t)
	log := filepath.Join(h.Dir, "log")
	r := h.Must("--debug", "--log", log, "--log-format", "json", "run", "--bundle", h.Bundle(linuxtest.Shell("echo out")), h.ID("a"))
	data, err := os.ReadFile(log)
	if err != nil || r.Stdout != "out\n" || r.Stderr != "" || !strings.Contains(string(data), h.ID("a")) ||
		strings.Count(string(data), `"level":"debug"`) != 2 || strings.Count(string(data), "\n") != 2 {
		t.Errorf("stdout %q, stderr %q, log %q, %v", r.Stdout, r.Stderr, data, err)
	}
}
