package config

import (
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

func memoryLimit(kib int64) linuxtest.Edit {
	return func(s *specs.Spec) {
		limit := kib << 10
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit}
	}
}

// The smallest limits that a program runs in.
func TestSmallestLimits(t *testing.T) {
	one := int64(1)
	pids := func(s *specs.Spec) { s.Linux.Resources.Pids = &specs.LinuxPids{Limit: &one} }
	h := linuxtest.One(t)
	for name, edit := range map[string]linuxtest.Edit{"1 MiB": memoryLimit(1024), "512 KiB": memoryLimit(512), "one process": pids} {
		id, bundle := h.ID("a"), h.Bundle(linuxtest.Args("/bin/true"), edit)
		if r := h.Run("run", "--bundle", bundle, id); r.Status != 0 || r.Stderr != "" {
			t.Errorf("%s: run: status %d, %s", name, r.Status, r.Stderr)
		}
		h.Must("create", "--bundle", bundle, id)
		if r := h.Must("start", id); r.Stderr != "" {
			t.Errorf("%s: start: %s", name, r.Stderr)
		}
		h.WaitFor(id, "stopped")
		h.Must("delete", id)
	}
}

// A first process that the kernel kills for lack of memory says so, wherever
// that happens, with the limit and what it has used.
func TestOutOfMemory(t *testing.T) {
	h := linuxtest.One(t)
	for _, c := range []struct {
		name    string
		kib     int64
		program linuxtest.Edit
		status  int
		want    string
	}{
		{"set-up", 32, linuxtest.Args("/bin/true"), 1, "container init was OOM-killed (memory limit too low?): the kernel has killed for lack of memory; " +
			"linux.resources.memory.limit is 32768 bytes; it has used up to "},
		{"program", 4096, linuxtest.Shell("exec dd if=/dev/zero of=/dev/null bs=64M count=1"), 137,
			"the container has ended: the kernel has killed for lack of memory; linux.resources.memory.limit is 4194304 bytes; it has used up to "},
	} {
		bundle := h.Bundle(c.program, memoryLimit(c.kib))
		if r := h.Run("run", "--bundle", bundle, h.ID("a")); r.Status != c.status || !strings.Contains(r.Stderr, c.want) && !tooLate(r.Stderr) {
			t.Errorf("%s: status %d, %s", c.name, r.Status, r.Stderr)
		}
	}
	if r := h.Run("create", "--bundle", h.Bundle(memoryLimit(32)), h.ID("b")); r.Status != 1 || !strings.Contains(r.Stderr, "container init was OOM-killed") && !tooLate(r.Stderr) {
		t.Errorf("create: status %d, %s", r.Status, r.Stderr)
	}
}

// tooLate says that the process had more memory than the limit of 32 KiB when
// that was set, which the kernel then refuses: the limit comes while the process
// makes its namespaces.
func tooLate(text string) bool {
	return strings.Contains(text, "linux.resources.memory.limit: unable to set memory limit to 32768 (current usage: ")
}
