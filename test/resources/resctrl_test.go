package resources

import (
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

// Without a resctrl file system, linux.intelRdt is an error that says so and
// leaves nothing, in create and update. (What happens in one is tested in
// internal/resctrl, since hardly a machine has it.)
func TestNoResctrl(t *testing.T) {
	h := linuxtest.One(t)
	const want = "linux.intelRdt: cannot set: no file system of type resctrl is mounted"
	for name, rdt := range map[string]specs.LinuxIntelRdt{
		"nothing": {}, "default group": {ClosID: "/"}, "schema": {L3CacheSchema: "L3:0=f", MemBwSchema: "MB:0=50"},
		"schemata": {Schemata: []string{"L3:0=f"}}, "monitoring": {EnableMonitoring: true},
	} {
		r := h.Run("create", "--bundle", h.Bundle(forever(), func(s *specs.Spec) { s.Linux.IntelRdt = &rdt }), h.ID("a"))
		if r.Status != 1 || !strings.Contains(r.Stderr, want) {
			t.Errorf("%s: status %d, stderr %s", name, r.Status, r.Stderr)
		}
	}
	h.CheckClean()
	id := h.ID("b")
	h.Must("run", "--detach", "--bundle", h.Bundle(forever()), id)
	for _, args := range [][]string{{"--l3-cache-schema", "L3:0=f"}, {"--mem-bw-schema", "MB:0=50"}} {
		r := h.Run("update", args[0], args[1], id)
		if r.Status != 1 || !strings.Contains(r.Stderr, want) {
			t.Errorf("%q: status %d, stderr %s", args, r.Status, r.Stderr)
		}
	}
	h.Must("exec", id, "true")
	h.Must("delete", "--force", id)
}
