package checkpoint

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

// A restore in the foreground passes on signals and has the exit status.
func TestForeground(t *testing.T) {
	b := newBox(t, linuxtest.One(t), linuxtest.Shell("trap 'exit 7' TERM; "+counter))
	b.run()
	b.passes(20)
	b.checkpoint()
	n := b.count()
	b.forget()
	pidFile := filepath.Join(b.h.Dir, "pid")
	p := b.h.Start(linuxtest.Command{Args: []string{"restore", "-b", b.bundle, "--image-path", b.images, "--pid-file", pidFile, b.id}, Out: null(t)})
	for range 6 { // it may take a minute
		if linuxtest.Until(func() bool { _, err := os.Stat(pidFile); return err == nil }) {
			break
		}
	}
	b.passes(n)
	st := b.h.WaitFor(b.id, "running")
	if data, _ := os.ReadFile(pidFile); st.PID == 0 || string(data) != itoa(st.PID) {
		t.Errorf("the pid file has %q, the state %d", data, st.PID)
	}
	p.Signal(syscall.SIGTERM)
	if r := p.Wait(); r.Status != 7 {
		t.Errorf("the status is %d", r.Status)
	}
	if _, ok := b.h.State(b.id); ok {
		t.Error("the container is still there")
	}
}

// Pipes that a caller gave the container are connected with those that the
// caller of restore gives.
func TestPipes(t *testing.T) {
	b := newBox(t, linuxtest.One(t), linuxtest.Shell("n=0; while read line; do n=$((n+1)); echo $n $line; done"))
	in, out := pipes(t)
	start := func(args ...string) {
		t.Helper()
		r := b.h.Exec(linuxtest.Command{Args: args, Stdin: in.theirs, Out: out.theirs})
		in.theirs.Close()
		out.theirs.Close()
		if r.Status != 0 {
			data, _ := bufio.NewReader(out.ours).ReadString(0)
			t.Fatalf("%q: status %d: %s", args, r.Status, data)
		}
	}
	ask := func(want string) {
		t.Helper()
		if _, err := in.ours.WriteString("ping\n"); err != nil {
			t.Fatal(err)
		}
		if got, err := bufio.NewReader(out.ours).ReadString('\n'); got != want+"\n" {
			t.Fatalf("it says %q, want %q: %v", got, want, err)
		}
	}
	start("run", "-d", "-b", b.bundle, b.id)
	ask("1 ping")
	b.checkpoint()
	in, out = pipes(t)
	start("restore", "-d", "-b", b.bundle, "--image-path", b.images, b.id)
	ask("2 ping")
	b.works()
	b.checkpoint()
	in, out = pipes(t)
	start("restore", "-d", "-b", b.bundle, "--image-path", b.images, b.id)
	ask("3 ping")
	b.ends()
}

type end struct{ ours, theirs *os.File }

// pipes gives one for a container's standard input, and one for its output.
func pipes(t *testing.T) (in, out end) {
	t.Helper()
	var err1, err2 error
	in.theirs, in.ours, err1 = os.Pipe()
	out.ours, out.theirs, err2 = os.Pipe()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	for _, f := range []*os.File{in.ours, in.theirs, out.ours, out.theirs} {
		t.Cleanup(func() { f.Close() })
	}
	return in, out
}

// Hooks of the host's run when the namespaces are there, and those that come
// when a container is gone, when it is.
func TestHooks(t *testing.T) {
	h := linuxtest.One(t)
	log := filepath.Join(h.Dir, "hooks")
	note := func(name string) []specs.Hook {
		return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo " + name + " $(sed 's/.*\"status\":\"\\([a-z]*\\)\".*/\\1/') >>" + log}, Env: []string{"PATH=/usr/bin:/bin"}}}
	}
	b := newBox(t, h, func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{CreateRuntime: note("createRuntime"), CreateContainer: note("createContainer"), Poststart: note("poststart"), Poststop: note("poststop")}
		s.Hooks.CreateContainer = nil
	})
	b.run()
	n := b.passes(20)
	b.checkpoint()
	b.restore()
	b.passes(n)
	b.ends()
	data, err := os.ReadFile(log)
	want := "createRuntime creating\npoststart running\npoststop stopped\ncreateRuntime creating\npoststop stopped\n"
	if string(data) != want {
		t.Errorf("the hooks said %q, want %q: %v", data, want, err)
	}
	spec := linuxtest.Spec(linuxtest.Shell(counter), writable, func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/false"}}}
	})
	h.WriteConfig(b.bundle, spec)
	status, text := b.detached("restore", "-d", "-b", b.bundle, "--image-path", b.images, b.id)
	if status != 1 || !strings.Contains(text, "hooks.createRuntime[0]") {
		t.Errorf("with a hook that fails: status %d: %s", status, text)
	}
}

func TestSystemd(t *testing.T) {
	b := newBox(t, linuxtest.One(t), func(s *specs.Spec) {
		s.Linux.CgroupsPath = "system.slice:tongs:checkpoint"
	})
	b.must("--systemd-cgroup", "run", "-d", "-b", b.bundle, b.id)
	n := b.passes(20)
	for range 2 {
		b.checkpoint()
		b.must("--systemd-cgroup", "restore", "-d", "-b", b.bundle, "--image-path", b.images, b.id)
		n = b.passes(n)
		out, _ := exec.Command("systemctl", "is-active", "tongs-checkpoint.scope").CombinedOutput()
		if got := strings.TrimSpace(string(out)); got != "active" {
			t.Errorf("the scope is %s", got)
		}
		data, _ := os.ReadFile("/proc/" + itoa(b.h.WaitFor(b.id, "running").PID) + "/cgroup")
		if !strings.HasSuffix(strings.TrimSpace(string(data)), "/system.slice/tongs-checkpoint.scope") {
			t.Errorf("it is in %s", data)
		}
		b.works()
	}
	b.ends()
}
