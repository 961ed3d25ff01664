package linuxtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// CgroupDir is the directory of a process in the hierarchy of a controller of
// v1; "" means the v2 tree, or whatever there is in a pure v2 view.
func (h *Host) CgroupDir(pid int, controller string) string {
	h.t.Helper()
	if h.V2 {
		controller = ""
	}
	for _, line := range lines(fmt.Sprintf("/proc/%d/cgroup", pid)) {
		f := strings.SplitN(line, ":", 3)
		if len(f) != 3 || f[1] != controller {
			continue
		}
		switch {
		case h.V2:
			return filepath.Join(cgroupRoot, f[2])
		case controller == "":
			return filepath.Join(cgroupRoot, "unified", f[2])
		}
		return filepath.Join(cgroupRoot, controller, f[2])
	}
	h.t.Fatalf("process %d is in no cgroup of %q", pid, controller)
	return ""
}

// Freeze freezes or thaws the cgroup of a process, as `pause` and `resume` do.
func (h *Host) Freeze(pid int, frozen bool) {
	h.t.Helper()
	file, value, done := "freezer.state", "THAWED", "THAWED"
	if frozen {
		value, done = "FROZEN", "FROZEN"
	}
	state := file
	if h.V2 {
		file, state, value, done = "cgroup.freeze", "cgroup.events", "0", "frozen 0"
		if frozen {
			value, done = "1", "frozen 1"
		}
	}
	dir := h.CgroupDir(pid, "freezer")
	write := func(value string) {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0); err != nil {
			h.t.Fatalf("cannot freeze: %v", err)
		}
	}
	tries := 0
	if !Until(func() bool {
		if tries++; tries%50 == 0 && !h.V2 && frozen {
			// A process that is just executing a program may stay in between for
			// ever; it has to be let go and tried again.
			write("THAWED")
			time.Sleep(time.Millisecond)
		}
		write(value)
		data, _ := os.ReadFile(filepath.Join(dir, state)) // compared
		return strings.Contains(string(data), done)
	}) {
		h.t.Fatalf("%q does not become %q", filepath.Join(dir, state), done)
	}
}
