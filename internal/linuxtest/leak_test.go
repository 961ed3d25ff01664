package linuxtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { Main(m) }

// The check sees each kind of thing that it is for.
func TestLeaksAreFound(t *testing.T) {
	Each(t, func(t *testing.T, h *Host) {
		expect := func(what string, kinds ...string) {
			t.Helper()
			more, less := h.leaks(0)
			for _, kind := range kinds {
				if !strings.Contains("\n"+strings.Join(more, "\n"), "\n"+kind+" ") {
					t.Errorf("after %s no %s is found, only:\n%s", what, kind, strings.Join(more, "\n"))
				}
			}
			if len(less) > 0 {
				t.Errorf("after %s is missing: %s", what, less)
			}
		}
		id := h.ID("a")
		h.Must("create", "--bundle", h.Bundle(Args("/bin/sleep", "1000")), id)
		expect("create", "process", "cgroup", "state file", "key")
		h.Must("delete", "--force", id)
		h.CheckClean()

		point := filepath.Join(h.Dir, "point")
		if err := os.Mkdir(point, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("none", point, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		expect("a mount", "mount")
		if err := unix.Unmount(point, 0); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("/dev/shm/x", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		expect("a file", "shared memory")
		if err := os.Remove("/dev/shm/x"); err != nil {
			t.Fatal(err)
		}
	})
}

// Nothing of what a test mounts is seen by the rest of the machine.
func TestMountsArePrivate(t *testing.T) {
	own := mounts(t, "/proc/self/mountinfo") // of the process's other threads
	h := OneV2(t)
	if !strings.Contains(mounts(t, "/proc/thread-self/mountinfo"), " - cgroup2 none ") && own == mounts(t, "/proc/thread-self/mountinfo") {
		t.Error("the view is not the test's own")
	}
	if err := unix.Mount("none", h.Dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if now := mounts(t, "/proc/1/mountinfo"); strings.Contains(now, h.Dir) {
		t.Error("the mount is seen outside")
	}
	if err := unix.Unmount(h.Dir, 0); err != nil {
		t.Fatal(err)
	}
}

func mounts(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Of tests that run at the same time each finds what is its own.
func TestBesideFindsItsOwn(t *testing.T) {
	for _, name := range []string{"a", "b"} {
		t.Run(name, func(t *testing.T) {
			h := Beside(t)
			id := h.ID("a")
			h.Must("run", "--detach", "--bundle", h.Bundle(Args("/bin/sleep", "1000")), id)
			more, _ := h.leaks(0)
			if n := strings.Count(strings.Join(more, "\n"), "/bin/sleep"); n != 1 {
				t.Errorf("%d programs of the container are found in\n%s", n, strings.Join(more, "\n"))
			}
			h.Must("delete", "--force", id)
		})
	}
}
