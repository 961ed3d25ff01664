package setup

import (
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/kernel"
)

// A path is looked up from the mount that it lies in, the last on its way.
func TestMountOf(t *testing.T) {
	proc, sys := specs.Mount{Destination: "/proc", Type: "proc"}, specs.Mount{Destination: "/sys", Type: "sysfs"}
	cgroup := specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup2"}
	host := specs.Mount{Destination: "/proc", Type: "bind", Source: "/proc"}
	other := specs.Mount{Destination: "/proc", Type: "bind", Source: "/other"}
	root := specs.Mount{Destination: "/", Type: "tmpfs"}
	stat := specs.Mount{Destination: "/proc/stat", Type: "bind", Source: "/lxcfs/stat"}
	for _, c := range []struct {
		name   string
		mounts []specs.Mount
		path   string
		index  int // -1: none
		rel    string
	}{
		{"no mount", nil, "/proc/keys", -1, ""},
		{"proc", []specs.Mount{sys, proc}, "/proc/keys", 1, "keys"},
		{"deep", []specs.Mount{proc}, "/proc/sys/kernel", 0, "sys/kernel"},
		{"itself", []specs.Mount{proc}, "/proc", 0, "."},
		{"sysfs", []specs.Mount{proc, sys}, "/sys/firmware", 1, "firmware"},
		{"elsewhere", []specs.Mount{proc, sys}, "/etc/shadow", -1, ""},
		{"beginning only", []specs.Mount{proc}, "/processes", -1, ""},
		{"another file system in it", []specs.Mount{sys, cgroup}, "/sys/fs/cgroup/x", 1, "x"},
		{"beside another file system", []specs.Mount{sys, cgroup}, "/sys/fs/x", 0, "fs/x"},
		{"a file in it is covered", []specs.Mount{proc, stat}, "/proc/keys", 0, "keys"},
		{"the file", []specs.Mount{proc, stat}, "/proc/stat", -1, ""},
		{"the second on top", []specs.Mount{proc, proc}, "/proc/keys", 1, "keys"},
		{"the host's", []specs.Mount{host}, "/proc/keys", 0, "keys"},
		{"a bind", []specs.Mount{other}, "/proc/keys", 0, "keys"},
		{"covered by a root", []specs.Mount{proc, root}, "/proc/keys", 1, "proc/keys"},
		{"over a root", []specs.Mount{root, proc}, "/proc/keys", 1, "keys"},
	} {
		e := &Env{Spec: &specs.Spec{Mounts: c.mounts}, sources: make([]source, len(c.mounts))}
		for i, m := range c.mounts {
			e.sources[i].proc = m.Source == "/proc"
		}
		for _, m := range e.plan() {
			m.h, m.file = kernel.NewHandle(5, "mount"), m.Destination == "/proc/stat"
		}
		m, rel := e.mountOf(c.path)
		e.anyBent = true // paths do not show where binds are then
		if linked, _ := e.mountOf(c.path); linked != nil && (linked != m || !e.isKernels(m)) {
			t.Errorf("%s: got mounts[%d] behind a link", c.name, linked.index)
		}
		index := -1
		if m != nil {
			index = m.index
		}
		if index != c.index || rel != c.rel {
			t.Errorf("%s: got mounts[%d] and %q, want mounts[%d] and %q", c.name, index, rel, c.index, c.rel)
		}
	}
}
