package engines

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"tongs/internal/linuxtest"
)

// containerd is a daemon with directories of its own, and its client.
type containerd struct {
	client
	h      *linuxtest.Host
	socket string
	binary string // of the runtime
	rootfs string
	stop   func()
}

// startContainerd starts the daemon with the configuration of docs/engines; lines come
// before it.
func startContainerd(t *testing.T, h *linuxtest.Host, lines string) *containerd {
	t.Helper()
	dir := directory(t, h, "containerd")
	c := &containerd{h: h, socket: dir + "/c.sock", binary: h.Argv()[0], rootfs: h.Bundle() + "/rootfs"}
	c.client = client{t: t, argv: []string{"ctr", "--address", c.socket}}
	config, err := os.ReadFile(snippet(t, h, "containerd-v2.toml"))
	if err == nil {
		err = os.WriteFile(dir+"/config.toml", append([]byte(lines+"\n"), config...), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	ready := func() bool { return exec.Command(debian("ctr"), "--address", c.socket, "version").Run() == nil }
	c.stop = daemon(t, ready, dir, "containerd", "--config", dir+"/config.toml", "--root", dir+"/root", "--state", dir+"/state", "--address", c.socket)
	return c
}

// end stops the daemon; its shims have ended with their containers.
func (c *containerd) end() {
	c.stop()
	os.RemoveAll(filepath.Dir(c.socket))
	for _, pattern := range []string{"/sys/fs/cgroup/default", "/sys/fs/cgroup/*/default"} {
		parents, _ := filepath.Glob(pattern) // which is fine
		for _, p := range parents {
			os.Remove(p) // unless others are in it
		}
	}
}

// withoutCRI leaves out what only Kubernetes needs.
const withoutCRI = `disabled_plugins = ["io.containerd.grpc.v1.cri"]`

// run makes and starts a container whose runtime is tongs.
func (c *containerd) run(id string, flags []string, args ...string) (string, int) {
	c.t.Helper()
	all := append([]string{"run", "--runtime", "io.containerd.runc.v2", "--runc-binary", c.binary}, flags...)
	all = append(all, "--rootfs", c.rootfs, id)
	return c.do(append(all, args...)...)
}

// sh runs a script, to its end. It lives for a while: when a program ends before the
// client has opened its side of the FIFOs, the client gives up their content.
func (c *containerd) sh(id string, flags []string, script string) (string, int) {
	c.t.Helper()
	return c.run(id, append([]string{"--rm"}, flags...), "/bin/sh", "-c", "("+script+"); status=$?; sleep 0.2; exit $status")
}

func (c *containerd) ok(out string, status int) string {
	c.t.Helper()
	if status != 0 {
		c.t.Errorf("status %d: %s", status, out)
	}
	return out
}

// status is what the daemon says of a task.
func (c *containerd) status(id string) string {
	for line := range strings.Lines(c.must("tasks", "ls")) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == id {
			return f[2]
		}
	}
	return "missing"
}

// TestContainerd is for cgroups as they are: the weights that ctr always asks for
// need a CPU controller, which a private view of cgroup v2 lacks.
func TestContainerd(t *testing.T) {
	h := linuxtest.One(t)
	c := startContainerd(t, h, withoutCRI)
	defer c.end()
	if t.Failed() {
		return
	}
	h.Sub(t, "run", func(t *testing.T, h *linuxtest.Host) { c.in(t).options(h) })
	h.Sub(t, "life", func(t *testing.T, h *linuxtest.Host) { c.in(t).life(h.ID("l")) })
	h.Sub(t, "attach", func(t *testing.T, h *linuxtest.Host) { c.in(t).attach(h.ID("t")) })
	if systemd() { // where the kernel has what CRIU needs
		h.Sub(t, "systemd", func(t *testing.T, h *linuxtest.Host) { c.in(t).checkpoint(h) })
	}
}

// in is the same daemon for a subtest.
func (c *containerd) in(t *testing.T) *containerd {
	o := *c
	o.t = t
	return &o
}

func (c *containerd) options(h *linuxtest.Host) {
	t := c.t
	out, status := c.sh(h.ID("a"), nil, "echo hello; echo there >&2; exit 7")
	if status != 7 {
		t.Errorf("status %d, want 7: %s", status, out)
	}
	contains(t, "output", out, "hello", "there")
	contains(t, "seccomp", c.ok(c.sh(h.ID("s"), []string{"--seccomp"}, "grep Seccomp: /proc/self/status")), "2")
	contains(t, "read-only root", c.ok(c.sh(h.ID("r"), []string{"--read-only"}, "touch /x || echo refused")), "refused")
	contains(t, "mount", c.ok(c.sh(h.ID("m"), []string{"--mount", "type=bind,src=/etc,dst=/tmp,options=rbind:ro"}, "ls /tmp")), "passwd")
	out, status = c.run(h.ID("n"), []string{"--rm"}, "/nowhere")
	if status == 0 {
		t.Errorf("a missing program ran: %s", out)
	}
	contains(t, "missing program", out, "OCI runtime create failed", "no such file or directory")
}

// attach reads what a container says that was started by another client.
func (c *containerd) attach(id string) {
	c.ok(c.run(id, []string{"--detach"}, "/bin/sh", "-c", "while ! test -e /tmp/go; do sleep 0.1; done; echo late; sleep 3; exit 4"))
	said := make(chan string)
	var wg sync.WaitGroup
	c.h.Go(&wg, func() { said <- c.want(4, "tasks", "attach", id) })
	c.must("tasks", "exec", "--exec-id", "go", id, "/bin/touch", "/tmp/go")
	contains(c.t, "attach", <-said, "late")
	wg.Wait()
	c.must("containers", "rm", id)
}

// life leads one container through what a client can do with it.
func (c *containerd) life(id string) {
	t := c.t
	c.ok(c.run(id, []string{"--detach"}, "/bin/sleep", "1000"))
	if s := c.status(id); s != "RUNNING" {
		t.Errorf("after run: %s", s)
	}
	out, status := c.do("tasks", "exec", "--exec-id", "x", id, "/bin/sh", "-c", "echo inside; sleep 0.2; exit 3")
	if status != 3 {
		t.Errorf("exec: status %d, want 3: %s", status, out)
	}
	contains(t, "exec", out, "inside")
	contains(t, "ps", c.must("tasks", "ps", id), "PID")
	contains(t, "metrics", c.must("tasks", "metrics", id), id)
	c.must("tasks", "pause", id)
	if s := c.status(id); s != "PAUSED" {
		t.Errorf("after pause: %s", s)
	}
	if out, status := c.do("tasks", "exec", "--exec-id", "y", id, "/bin/true"); status == 0 {
		t.Errorf("exec while paused: %s", out)
	}
	c.must("tasks", "resume", id)
	if s := c.status(id); s != "RUNNING" {
		t.Errorf("after resume: %s", s)
	}
	c.must("tasks", "kill", "--signal", "KILL", id)
	if !linuxtest.Until(func() bool { return c.status(id) == "STOPPED" }) {
		t.Errorf("after kill: %s", c.status(id))
	}
	c.do("tasks", "rm", id) // whose status is the task's
	c.must("containers", "rm", id)
	if s := c.status(id); s != "missing" {
		t.Errorf("after rm: %s", s)
	}
}
