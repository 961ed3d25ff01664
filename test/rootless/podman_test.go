package rootless

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"tongs/internal/linuxtest"
)

// Podman calls the runtime as root of a user namespace that it has made, with the
// user's sub-ids, for containers in that namespace and in others.
func TestPodman(t *testing.T) {
	h := linuxtest.One(t).AsUser()
	rootfs := filepath.Join(h.Bundle(), "rootfs")
	program := filepath.Join(h.Dir, "tongs")
	h.CopyProgram(program)
	podman := func(args ...string) *linuxtest.Result {
		t.Helper()
		all := []string{"--runtime", program, "--cgroup-manager", "cgroupfs", "--storage-driver", "vfs", "--events-backend", "file"}
		return h.Tool("podman", append(all, args...)...)
	}
	t.Cleanup(func() {
		defer os.Remove("/dev/shm/libpod_rootless_lock_" + strconv.Itoa(int(h.User.ID)))
		podman("rm", "--all", "--force", "--time", "0")
		linuxtest.AwaitNone(" container cleanup ") // conmon's, which would start the next one anew
		// The process that keeps the user namespace.
		text, err := os.ReadFile(filepath.Join(h.User.Home, "libpod", "tmp", "pause.pid"))
		pid, _ := strconv.Atoi(string(text)) // 0 is not signalled
		if err != nil || pid <= 1 {
			t.Errorf("cannot find Podman's process: %v, %q", err, text)
			return
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	})
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"default", []string{"--network", "none"}, "0 0 0 54321 1 1 200000 65536"},
		{"host's network", []string{"--network", "host"}, "0 0 0 54321 1 1 200000 65536"},
		{"user", []string{"--network", "none", "--user", "7:8"}, "7 8 0 54321 1 1 200000 65536"},
		{"keep-id", []string{"--network", "none", "--userns", "keep-id"}, "54321 54321 0 1 54321 54321 0 1 54322 54322 11215"},
		{"privileged", []string{"--network", "none", "--privileged"}, "0 0 0 54321 1 1 200000 65536"},
		{"volume", []string{"--network", "none", "--volume", h.User.Home + ":/mnt:ro"}, "0 0 0 54321 1 1 200000 65536"},
	} {
		r := podman(append(append([]string{"run", "--rm"}, c.args...), "--rootfs", rootfs, "/bin/sh", "-c", "id -u; id -g; cat /proc/self/uid_map")...)
		if got := linuxtest.Words(r.Stdout); r.Status != 0 || got != c.want {
			t.Errorf("%s: status %d, got %q, want %q: %s", c.name, r.Status, got, c.want, r.Stderr)
		}
	}
	linuxtest.Equal(t, "status", podman("run", "--rm", "--network", "none", "--rootfs", rootfs, "/bin/sh", "-c", "exit 7").Status, 7)

	r := podman("run", "--detach", "--name", "a", "--network", "none", "--rootfs", rootfs, "/bin/sleep", "1000")
	if r.Status != 0 {
		t.Fatal(r.Stderr)
	}
	linuxtest.Equal(t, "exec", podman("exec", "a", "/bin/echo", "inside").Stdout, "inside\n")
	contains(t, podman("top", "a").Stdout, "sleep")
	contains(t, podman("ps").Stdout, "Up")
	linuxtest.Equal(t, "stop", strings.TrimSpace(podman("stop", "--time", "0", "a").Stdout), "a")
	contains(t, podman("ps", "--all").Stdout, "Exited")
}
