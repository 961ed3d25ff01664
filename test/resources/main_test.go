// Package resources compares limits, device rules and statistics of containers
// with those that Debian's runc sets and reports for the same configuration, and
// tries them from inside.
//
// What this machine's kernel has no controller for is tested in the virtual
// machine.
package resources

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tongs/internal/linuxtest"
)

func TestMain(m *testing.M) { linuxtest.Main(m) }

// cgroupDirs are the directories that a process is in, one of each hierarchy.
func cgroupDirs(t *testing.T, h *linuxtest.Host, pid int) []string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for line := range strings.Lines(string(data)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		mount := "/sys/fs/cgroup/" + strings.TrimPrefix(f[1], "name=")
		switch {
		case h.V2 && f[1] != "":
			continue
		case h.V2:
			mount = "/sys/fs/cgroup"
		case f[1] == "":
			mount = "/sys/fs/cgroup/unified"
		}
		if _, err := os.Stat(mount); err == nil {
			dirs = append(dirs, filepath.Join(mount, f[2]))
		}
	}
	return dirs
}

// processes counts those in the cgroup of a process.
func processes(h *linuxtest.Host, pid int) int {
	data, err := os.ReadFile(filepath.Join(h.CgroupDir(pid, "freezer"), "cgroup.procs"))
	if err != nil {
		return 0
	}
	return strings.Count(string(data), "\n")
}

// has tells whether cgroup v1 has a hierarchy of the controller, or a file in one.
func has(controller string) bool {
	_, err := os.Stat("/sys/fs/cgroup/" + controller)
	return err == nil
}

// forever is a program that waits to be killed.
func forever() linuxtest.Edit { return linuxtest.Args("/bin/sleep", "1000") }

// same fails the test if two values differ.
func same[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
