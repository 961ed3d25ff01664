package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOutOfMemory(t *testing.T) {
	const v1, v2 = "memory", ""
	for name, c := range map[string]struct {
		controller string
		files      map[string]string
		want       string
	}{
		"v2": {v2, map[string]string{"memory.events": "low 0\noom 1\noom_kill 2\noom_group_kill 0\n", "memory.max": "4096\n", "memory.peak": "4095\n"},
			"the kernel has killed for lack of memory; linux.resources.memory.limit is 4096 bytes; it has used up to 4095 bytes"},
		"v2 without a limit and a peak": {v2, map[string]string{"memory.events": "oom_kill 1\n", "memory.max": "max\n"},
			"the kernel has killed for lack of memory"},
		"v2 none": {v2, map[string]string{"memory.events": "oom 3\noom_kill 0\n", "memory.max": "4096\n"}, ""},
		"v1": {v1, map[string]string{"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", "memory.limit_in_bytes": "8192\n", "memory.max_usage_in_bytes": "8000\n"},
			"the kernel has killed for lack of memory; linux.resources.memory.limit is 8192 bytes; it has used up to 8000 bytes"},
		"v1 none":     {v1, map[string]string{"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"}, ""},
		"gone":        {v1, nil, ""},
		"other trees": {"pids", map[string]string{"memory.oom_control": "oom_kill 1\n"}, ""},
	} {
		dir := t.TempDir()
		for file, text := range c.files {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		g := &Group{unified: c.controller == v2, hierarchies: []Hierarchy{{Names: []string{c.controller}, Dir: dir}}}
		if got := g.OutOfMemory(); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
