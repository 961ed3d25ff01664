package resources

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

// event is a line of `events`, with the paths of data's values.
type event struct {
	Type, ID string
	Data     map[string]any
}

func decodeEvents(t *testing.T, text string) []event {
	t.Helper()
	var list []event
	for line := range strings.Lines(text) {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		list = append(list, e)
	}
	return list
}

// paths gives every value of an object by its keys, joined by dots.
func paths(into map[string]string, prefix string, value any) map[string]string {
	if object, ok := value.(map[string]any); ok {
		into[prefix+"{}"] = ""
		for k, v := range object {
			paths(into, prefix+"."+k, v)
		}
		return into
	}
	into[prefix] = fmt.Sprint(value)
	return into
}

// mayMiss tells the keys that are left out for 0, and those that runc has since
// 1.1.5.
func mayMiss(path string) bool {
	return strings.HasPrefix(path, ".memory.cache") || strings.HasPrefix(path, ".cpu.throttling.") || strings.HasPrefix(path, ".blkio.") || path == ".memory.usage.max" || strings.Contains(path, ".psi")
}

// varies tells the values that depend on what the runtime has done in the
// container's cgroup, and on time: only their keys are compared.
func varies(path string) bool {
	for _, p := range []string{".cpu.usage.", ".cpu.throttling.", ".memory.cache", ".memory.raw.", ".memory.usage.usage", ".memory.usage.max", ".memory.swap.usage", ".memory.swap.max",
		".memory.kernel.usage", ".memory.kernel.max", ".blkio."} {
		if strings.HasPrefix(path, p) && !strings.HasPrefix(path, ".memory.raw.hierarchical") {
			return true
		}
	}
	return false
}

// Statistics have runc's keys and, where these are settings or counts, its
// values, also of one container that both runtimes look at.
func TestStats(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		limit, pids, quota, period := int64(64<<20), int64(77), int64(50_000), uint64(100_000)
		bundle := h.Bundle(linuxtest.Shell("sleep 1000 & wait"), func(s *specs.Spec) {
			if h.V2 {
				return // no controllers there
			}
			s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit}
			s.Linux.Resources.Pids = &specs.LinuxPids{Limit: &pids}
			s.Linux.Resources.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period, Cpus: "0"}
		})
		stats := func(h *linuxtest.Host) map[string]string {
			id := h.ID("a")
			h.Must("run", "--detach", "--bundle", bundle, id)
			st, _ := h.State(id)
			if !linuxtest.Until(func() bool { return processes(h, st.PID) == 2 }) {
				t.Fatal("the container does not start")
			}
			list := decodeEvents(t, h.Must("events", "--stats", id).Stdout)
			h.Must("delete", "--force", id)
			if len(list) != 1 || list[0].Type != "stats" || list[0].ID != id {
				t.Fatalf("events %+v", list)
			}
			return paths(map[string]string{}, "", list[0].Data)
		}
		tongs, runc := stats(h), stats(h.With("runc"))
		for _, path := range slices.Sorted(maps.Keys(runc)) {
			got, ok := tongs[path]
			if !ok && !mayMiss(path) {
				t.Errorf("%s is missing; runc has %q", path, runc[path])
			} else if ok && got != runc[path] && !varies(path) {
				t.Errorf("%s: got %s, runc has %s", path, got, runc[path])
			}
		}
		for path := range tongs {
			if _, ok := runc[path]; !ok && !mayMiss(path) {
				t.Errorf("%s: runc has no such key", path)
			}
		}
		if !h.V2 {
			same(t, "memory limit", tongs[".memory.usage.limit"], "6.7108864e+07")
			same(t, "pids limit", tongs[".pids.limit"], "77")
			same(t, "processes", tongs[".pids.current"], "2")
			same(t, "CPUs", tongs[".cpuset.cpus"], "[0]")
		}
	})
}

// Statistics come at intervals, until the container ends.
func TestEventsAtIntervals(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		id := h.ID("a")
		h.Must("run", "--detach", "--bundle", h.Bundle(forever()), id)
		p := h.Start(linuxtest.Command{Args: []string{"events", "--interval", "10ms", id}})
		if !linuxtest.Until(func() bool { return strings.Count(p.Output(), "\n") > 3 }) {
			t.Errorf("events %q", p.Output())
		}
		h.Must("delete", "--force", id)
		r := p.Wait()
		if r.Status != 0 || r.Stderr != "" {
			t.Errorf("status %d, stderr %s", r.Status, r.Stderr)
		}
		for _, e := range decodeEvents(t, r.Stdout) {
			if e.Type != "stats" || e.ID != id || e.Data["cpu"] == nil {
				t.Errorf("event %+v", e)
			}
		}
		same(t, "status for no container", h.Run("events", id).Status, 1)
	})
}

// Lack of memory is an event, also when the container ends of it.
func TestEventsOfMemory(t *testing.T) {
	h := linuxtest.One(t)
	limit := int64(16 << 20)
	few := func(s *specs.Spec) { s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit, Swap: &limit} }
	const eat = "dd if=/dev/zero of=/dev/null bs=64M count=1"
	for name, script := range map[string]string{
		"one process of several": "while [ ! -e /dev/go ]; do sleep 0.01; done; " + eat + "; sleep 1000",
		"the first process":      "while [ ! -e /dev/go ]; do sleep 0.01; done; exec " + eat,
	} {
		h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
			id := h.ID("a")
			h.Must("run", "--detach", "--bundle", h.Bundle(linuxtest.Shell(script), few), id)
			p := h.Start(linuxtest.Command{Args: []string{"events", "--interval", "1ms", id}})
			if !linuxtest.Until(func() bool { return strings.Contains(p.Output(), "stats") }) {
				t.Fatalf("events %q", p.Output())
			}
			r := h.Run("exec", id, "touch", "/dev/go")
			ended := name == "the first process" && r.Status == 137 // with the container
			if r.Status != 0 && !ended {
				t.Errorf("touch: status %d, %s", r.Status, r.Stderr)
			}
			if !linuxtest.Until(func() bool { return strings.Contains(p.Output(), `{"type":"oom","id":"`+id+`"}`+"\n") }) {
				t.Error("no event of type oom")
			}
			h.Must("delete", "--force", id)
			same(t, "status", p.Wait().Status, 0)
		})
	}
}
