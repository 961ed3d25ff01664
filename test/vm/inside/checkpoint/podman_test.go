package checkpoint

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tongs/internal/linuxtest"
)

// Podman's own commands, with tongs as its runtime.
func TestPodman(t *testing.T) {
	h := linuxtest.One(t)
	const locks = "/dev/shm/libpod_lock" // which Podman makes once for all
	if _, err := os.Stat(locks); os.IsNotExist(err) {
		t.Cleanup(func() { os.Remove(locks) })
	}
	b := newBox(t, h)
	program := filepath.Join(h.Dir, "tongs")
	if err := linuxtest.Program(program, "cmd/tongs"); err != nil {
		t.Fatal(err)
	}
	podman := func(args ...string) string {
		t.Helper()
		base := []string{"--runtime", program, "--root", h.Dir + "/podman", "--runroot", h.Dir + "/podman-run", "--storage-driver", "vfs",
			"--events-backend", "file", "--cgroup-manager", "cgroupfs"}
		out, err := exec.Command("podman", append(base, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("podman %q: %v\n%s\n%s", args, err, out, b.criuLog())
		}
		return strings.TrimSpace(string(out))
	}
	name := h.ID("podman")
	tar := filepath.Join(h.Dir, "root.tar")
	if out, err := exec.Command("tar", "-C", b.bundle+"/rootfs", "-cf", tar, ".").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	podman("import", tar, "localhost/counter:1")
	podman("run", "-d", "--name", name, "--network", "none", "--log-driver", "none", "-v", b.bundle+"/rootfs/tmp:/tmp", "localhost/counter:1", "/bin/sh", "-c", counter)
	defer podman("rm", "-f", "-t", "0", name)
	b.passes(20)
	podman("container", "checkpoint", name)
	if got := podman("inspect", "-f", "{{.State.Status}} {{.State.Checkpointed}}", name); !strings.HasSuffix(got, " true") {
		t.Errorf("the state is %q", got)
	}
	n := b.count()
	b.forget()
	podman("container", "restore", name)
	n = b.passes(n)
	if got := podman("exec", name, "/bin/echo", "hello"); got != "hello" {
		t.Errorf("exec gives %q", got)
	}
	// Again, through an archive, into another container.
	archive := filepath.Join(h.Dir, "archive.tar.gz")
	podman("container", "checkpoint", "--export", archive, name)
	n = b.count()
	b.forget()
	podman("container", "restore", "--import", archive, "--name", name+"-2")
	defer podman("rm", "-f", "-t", "0", name+"-2")
	b.passes(n)
}
