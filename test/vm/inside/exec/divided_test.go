// Package exec tests further processes of containers that divide their own
// cgroup, for which cgroup v2 must have controllers.
package exec

import (
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

func TestMain(m *testing.M) { linuxtest.MainVM(m) }

// divide makes a cgroup below, moves the container's first process there and
// gives it a controller: at the top there can be no process any more (cgroup-v2
// document, "No Internal Process Constraint").
const divide = "cd /sys/fs/cgroup && mkdir below && echo $$ > below/cgroup.procs && echo +memory > cgroup.subtree_control && echo divided && exec sleep 1000"

func writable(s *specs.Spec) {
	for i, m := range s.Mounts {
		if m.Destination == "/sys/fs/cgroup" {
			s.Mounts[i].Options = []string{"nosuid", "noexec", "nodev", "rw"}
		}
	}
}

// exec goes where the first process is, if it cannot be in the container's
// cgroup; not if --cgroup says where, and never elsewhere.
func TestExecOfDividedCgroup(t *testing.T) {
	h := linuxtest.One(t)
	for _, program := range []string{"tongs", "runc"} {
		h.Sub(t, program, func(t *testing.T, h *linuxtest.Host) {
			if program == "runc" {
				h = h.With("runc")
			}
			id := h.ID(program)
			r := h.Must("run", "--detach", "--bundle", h.Bundle(linuxtest.Shell(divide), writable, linuxtest.Namespace(specs.CgroupNamespace, "")), id)
			if !linuxtest.Until(func() bool { r.Reread(); return r.Stdout == "divided\n" }) {
				t.Fatalf("the cgroup is not divided: %s%s", r.Stdout, r.Stderr)
			}
			for range 3 {
				if r := h.Run("exec", id, "cat", "/proc/self/cgroup"); r.Stdout != "0::/below\n" {
					t.Errorf("status %d, %s%s", r.Status, r.Stdout, r.Stderr)
				}
			}
			if r := h.Run("exec", "--cgroup", "below", id, "cat", "/proc/self/cgroup"); r.Stdout != "0::/below\n" {
				t.Errorf("--cgroup below: status %d, %s%s", r.Status, r.Stdout, r.Stderr)
			}
			if r := h.Run("exec", "--cgroup", "/", id, "true"); r.Status != 255 || !strings.Contains(r.Stderr, "device or resource busy") {
				t.Errorf("--cgroup /: status %d, %s", r.Status, r.Stderr)
			}
			h.Must("delete", "--force", id)
		})
	}
}
