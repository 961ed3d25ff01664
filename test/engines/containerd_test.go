package engines

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tongs/internal/linuxtest"
)

// containerd is a daemon with directories of its own, and its client.
type containerd struct {
	client
	h      *linuxtest.Host
	socket string
	rootfs string
	stop   func()
}

// startContainerd starts the daemon with the configuration of docs/engines; the
// lines are added to the test's own.
func startContainerd(t *testing.T, h *linuxtest.Host, lines string) *containerd {
	t.Helper()
	dir := directory(t, h, "containerd")
	c := &containerd{h: h, socket: dir + "/c.sock", rootfs: h.Bundle() + "/rootfs"}
	c.client = client{t: t, argv: []string{"ctr", "--address", c.socket}}
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\nimports = [%q]\n%s\n[grpc]\naddress = %q\n[ttrpc]\naddress = %q\n",
		dir+"/root", dir+"/state", snippet(t, h, "containerd-v2.toml"), lines, c.socket, c.socket+".ttrpc")
	if err := os.WriteFile(dir+"/config.toml", []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	ready := func() bool { return exec.Command(debian("ctr"), "--address", c.socket, "version").Run() == nil }
	c.stop = daemon(t, ready, dir, "containerd", "--config", dir+"/config.toml")
	return c
}

// end stops the daemon; its shims have ended with their containers.
func (c *containerd) end() {
	c.stop()
	os.RemoveAll(filepath.Dir(c.socket))
}

// withoutCRI leaves out what only Kubernetes needs.
const withoutCRI = `disabled_plugins = ["io.containerd.grpc.v1.cri"]`

// run makes and starts a container whose runtime is tongs.
func (c *containerd) run(id string, flags []string, args ...string) (string, int) {
	c.t.Helper()
	all := append([]string{"run", "--runtime", "io.containerd.runc.v2", "--runc-binary", c.h.Argv()[0]}, flags...)
	all = append(all, "--rootfs", c.rootfs, id)
	return c.do(append(all, args...)...)
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
	out, status := c.run(h.ID("a"), []string{"--rm"}, "/bin/sh", "-c", "echo hello; echo there >&2; exit 7")
	if status != 7 {
		t.Errorf("status %d, want 7: %s", status, out)
	}
	contains(t, "output", out, "hello", "there")
	contains(t, "seccomp", c.ok(c.run(h.ID("s"), []string{"--rm", "--seccomp"}, "/bin/grep", "Seccomp:", "/proc/self/status")), "2")
	contains(t, "read-only root", c.ok(c.run(h.ID("r"), []string{"--rm", "--read-only"}, "/bin/sh", "-c", "touch /x || echo refused")), "refused")
	contains(t, "mount", c.ok(c.run(h.ID("m"), []string{"--rm", "--mount", "type=bind,src=/etc,dst=/tmp,options=rbind:ro"}, "/bin/ls", "/tmp")), "passwd")
	out, status = c.run(h.ID("n"), []string{"--rm"}, "/nowhere")
	if status == 0 {
		t.Errorf("a missing program ran: %s", out)
	}
	contains(t, "missing program", out, "OCI runtime create failed", "no such file or directory")
	c.life(h.ID("l"))
}

// life leads one container through what a client can do with it.
func (c *containerd) life(id string) {
	t := c.t
	c.ok(c.run(id, []string{"--detach"}, "/bin/sleep", "1000"))
	if s := c.status(id); s != "RUNNING" {
		t.Errorf("after run: %s", s)
	}
	out, status := c.do("tasks", "exec", "--exec-id", "x", id, "/bin/sh", "-c", "echo inside; exit 3")
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
