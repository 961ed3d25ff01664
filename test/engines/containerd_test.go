// Package engines runs containers through the engines that tongs is made for,
// as their users do: with Debian's packages, and images made on the spot.
//
// It deliberately does not test the engines: only that they get from tongs what
// they expect.
package engines

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tongs/internal/linuxtest"
)

func TestMain(m *testing.M) { linuxtest.Main(m) }

// containerd is a daemon with directories of its own.
type containerd struct {
	h      *linuxtest.Host
	t      *testing.T
	socket string
	rootfs string
	daemon *exec.Cmd
}

func startContainerd(t *testing.T, h *linuxtest.Host) *containerd {
	t.Helper()
	dir := filepath.Join(h.Dir, "containerd")
	if err := os.Mkdir(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	c := &containerd{h: h, t: t, socket: dir + "/c.sock", rootfs: h.Bundle() + "/rootfs"}
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n[ttrpc]\naddress = %q\n",
		dir+"/root", dir+"/state", c.socket, c.socket+".ttrpc")
	if err := os.WriteFile(dir+"/config.toml", []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c.daemon = exec.Command("containerd", "--config", dir+"/config.toml")
	c.daemon.Stdout, c.daemon.Stderr = log, log
	if err := c.daemon.Start(); err != nil {
		t.Fatalf("cannot start containerd: %v", err)
	}
	ready := linuxtest.Until(func() bool { return exec.Command("ctr", "--address", c.socket, "version").Run() == nil })
	if !ready {
		text, _ := os.ReadFile(log.Name())
		t.Errorf("containerd is not ready: %s", text)
	}
	return c
}

// end stops the daemon; its shims have ended with their containers.
func (c *containerd) end() {
	c.daemon.Process.Signal(syscall.SIGTERM)
	c.daemon.Wait()
	os.RemoveAll(filepath.Dir(c.socket))
}

// ctr runs the client and returns what it printed and its exit status.
func (c *containerd) ctr(args ...string) (string, int) {
	c.t.Helper()
	cmd := exec.Command("ctr", append([]string{"--address", c.socket}, args...)...)
	timer := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer timer.Stop()
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		c.t.Fatalf("ctr %q: %v", args, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// run makes and starts a container whose runtime is tongs.
func (c *containerd) run(id string, flags []string, args ...string) (string, int) {
	c.t.Helper()
	all := append([]string{"run", "--runtime", "io.containerd.runc.v2", "--runc-binary", c.h.Argv()[0]}, flags...)
	all = append(all, "--rootfs", c.rootfs, id)
	return c.ctr(append(all, args...)...)
}

func (c *containerd) must(out string, status int) string {
	c.t.Helper()
	if status != 0 {
		c.t.Errorf("status %d: %s", status, out)
	}
	return out
}

func (c *containerd) expect(what, text string, wanted ...string) {
	c.t.Helper()
	for _, w := range wanted {
		if !strings.Contains(text, w) {
			c.t.Errorf("%s: got %q, want %q", what, text, w)
		}
	}
}

// status is what the daemon says of a task.
func (c *containerd) status(id string) string {
	for line := range strings.Lines(c.must(c.ctr("tasks", "ls"))) {
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
	c := startContainerd(t, h)
	defer c.end()
	if t.Failed() {
		return
	}
	out, status := c.run(h.ID("a"), []string{"--rm"}, "/bin/sh", "-c", "echo hello; echo there >&2; exit 7")
	if status != 7 {
		t.Errorf("status %d, want 7: %s", status, out)
	}
	c.expect("output", out, "hello", "there")
	c.expect("seccomp", c.must(c.run(h.ID("s"), []string{"--rm", "--seccomp"}, "/bin/grep", "Seccomp:", "/proc/self/status")), "2")
	c.expect("read-only root", c.must(c.run(h.ID("r"), []string{"--rm", "--read-only"}, "/bin/sh", "-c", "touch /x || echo refused")), "refused")
	c.expect("mount", c.must(c.run(h.ID("m"), []string{"--rm", "--mount", "type=bind,src=/etc,dst=/tmp,options=rbind:ro"}, "/bin/ls", "/tmp")), "passwd")
	out, status = c.run(h.ID("n"), []string{"--rm"}, "/nowhere")
	if status == 0 {
		t.Errorf("a missing program ran: %s", out)
	}
	c.expect("missing program", out, "OCI runtime create failed", "no such file or directory")
	c.life(h.ID("l"))
}

// life leads one container through what a client can do with it.
func (c *containerd) life(id string) {
	t := c.t
	c.must(c.run(id, []string{"--detach"}, "/bin/sleep", "1000"))
	if s := c.status(id); s != "RUNNING" {
		t.Errorf("after run: %s", s)
	}
	out, status := c.ctr("tasks", "exec", "--exec-id", "x", id, "/bin/sh", "-c", "echo inside; exit 3")
	if status != 3 {
		t.Errorf("exec: status %d, want 3: %s", status, out)
	}
	c.expect("exec", out, "inside")
	c.expect("ps", c.must(c.ctr("tasks", "ps", id)), "PID")
	c.expect("metrics", c.must(c.ctr("tasks", "metrics", id)), id)
	c.must(c.ctr("tasks", "pause", id))
	if s := c.status(id); s != "PAUSED" {
		t.Errorf("after pause: %s", s)
	}
	if out, status := c.ctr("tasks", "exec", "--exec-id", "y", id, "/bin/true"); status == 0 {
		t.Errorf("exec while paused: %s", out)
	}
	c.must(c.ctr("tasks", "resume", id))
	if s := c.status(id); s != "RUNNING" {
		t.Errorf("after resume: %s", s)
	}
	c.must(c.ctr("tasks", "kill", "--signal", "KILL", id))
	if !linuxtest.Until(func() bool { return c.status(id) == "STOPPED" }) {
		t.Errorf("after kill: %s", c.status(id))
	}
	c.ctr("tasks", "rm", id) // whose status is the task's
	c.must(c.ctr("containers", "rm", id))
	if s := c.status(id); s != "missing" {
		t.Errorf("after rm: %s", s)
	}
}
