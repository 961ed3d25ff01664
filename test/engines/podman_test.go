package engines

import (
	"os"
	"strings"
	"testing"

	"tongs/internal/linuxtest"
)

// podman is the client with directories of its own and an image.
type podman struct{ client }

func newPodman(t *testing.T, h *linuxtest.Host) *podman {
	t.Helper()
	privateRun(t)
	dir := directory(t, h, "podman")
	p := &podman{client{t: t, argv: []string{"podman", "--root", dir + "/root", "--runroot", dir + "/run", "--tmpdir", dir + "/tmp",
		"--cgroup-manager", "cgroupfs", "--storage-driver", "vfs", "--events-backend", "file"}}}
	p.env = []string{"CONTAINERS_CONF=" + snippet(t, h, "containers.conf")}
	const locks = "/dev/shm/libpod_lock" // which podman makes and leaves
	_, missing := os.Stat(locks)
	p.must("import", archive(t, h, dir), "image")
	t.Cleanup(func() {
		p.must("rm", "--all", "--force", "--time", "0")
		os.RemoveAll(dir)
		if missing != nil {
			os.Remove(locks)
		}
	})
	return p
}

// run runs a container of the image; the limits are those that a process
// without CAP_SYS_RESOURCE may set.
func (p *podman) run(flags []string, args ...string) (string, int) {
	p.t.Helper()
	all := append([]string{"run", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"}, flags...)
	return p.do(append(append(all, "image"), args...)...)
}

func (p *podman) expect(what string, flags []string, script string, status int, wanted ...string) {
	p.t.Helper()
	out, got := p.run(append([]string{"--rm"}, flags...), "/bin/sh", "-c", script)
	if got != status {
		p.t.Errorf("%s: status %d, want %d: %s", what, got, status, out)
	}
	for _, w := range wanted {
		if !strings.Contains(out, w) {
			p.t.Errorf("%s: got %q, want %q", what, out, w)
		}
	}
}

func TestPodman(t *testing.T) {
	h := linuxtest.One(t)
	p := newPodman(t, h)
	p.expect("output", nil, "echo hello; echo there >&2; exit 7", 7, "hello", "there")
	p.expect("user", []string{"--user", "1000:1001"}, "id -u; id -g", 0, "1000\n1001")
	p.expect("read-only root, volume, tmpfs", []string{"--read-only", "--volume", "/etc:/mnt:ro", "--tmpfs", "/scratch"},
		"touch /x; touch /mnt/x; touch /scratch/x && ls /mnt/passwd", 0, "/x: Read-only file system", "/mnt/x: Read-only file system", "/mnt/passwd")
	p.expect("user namespace", []string{"--uidmap", "0:100000:5000", "--gidmap", "0:100000:5000"}, "cat /proc/self/uid_map", 0, "100000")
	p.expect("limits", []string{"--memory", "32m", "--pids-limit", "20"}, "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max", 0, "33554432\n20")
	p.expect("seccomp", nil, "grep Seccomp: /proc/self/status", 0, "2")
	p.expect("init", []string{"--env", "A=b", "--workdir", "/dev", "--hostname", "name"}, "echo $A; pwd; hostname", 0, "b\n/dev\nname")
	if out, status := p.run([]string{"--rm"}, "/nowhere"); status != 127 {
		t.Errorf("a missing program: status %d, want 127: %s", status, out)
	}
	if out, status := p.run([]string{"--rm"}, "/etc/passwd"); status != 126 {
		t.Errorf("a file that is no program: status %d, want 126: %s", status, out)
	}
	p.life()
}

// life leads one container through what a user can do with it.
func (p *podman) life() {
	t := p.t
	if out, status := p.run([]string{"--detach", "--name", "life"}, "/bin/sleep", "1000"); status != 0 {
		t.Fatalf("run --detach: status %d: %s", status, out)
	}
	status := func() string {
		return strings.TrimSpace(p.must("inspect", "--format", "{{.State.Status}}", "life"))
	}
	check := func(when, want string) {
		t.Helper()
		if got := status(); got != want {
			t.Errorf("after %s: %s, want %s", when, got, want)
		}
	}
	check("run", "running")
	if out, status := p.do("exec", "life", "/bin/sh", "-c", "echo inside; exit 3"); status != 3 || !strings.Contains(out, "inside") {
		t.Errorf("exec: status %d: %s", status, out)
	}
	if out := p.must("top", "life"); !strings.Contains(out, "sleep 1000") {
		t.Errorf("top: %s", out)
	}
	p.must("pause", "life")
	check("pause", "paused")
	p.must("unpause", "life")
	check("unpause", "running")
	p.must("stop", "--time", "1", "life")
	check("stop", "exited")
	p.must("start", "life")
	check("start", "running")
	p.must("kill", "life")
	if !linuxtest.Until(func() bool { return status() == "exited" }) {
		t.Errorf("after kill: %s", status())
	}
	p.must("rm", "life")
}
