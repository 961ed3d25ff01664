package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// The module's errors as they come, and what is made of them.
func TestNameField(t *testing.T) {
	written := func(value, file string, errno unix.Errno) error {
		return fmt.Errorf("failed to write %q: %w", value, &fs.PathError{Op: "write", Path: "/sys/fs/cgroup/c1/" + file, Err: errno})
	}
	g := &Group{unified: true, fd: -1, hierarchies: []Hierarchy{{Names: []string{""}, Dir: "/sys/fs/cgroup/c1"}}}
	for _, c := range []struct {
		err  error
		want string
	}{
		{written("5", "memory.max", unix.EINVAL), `linux.resources.memory.limit: cannot set "5": write /sys/fs/cgroup/c1/memory.max: invalid argument`},
		{written("8:0 rbps=5", "io.max", unix.ENODEV), `linux.resources.blockIO.throttleReadBpsDevice: cannot set "8:0 rbps=5": write `},
		{written("8:0 wbps=5", "io.max", unix.ENODEV), "linux.resources.blockIO.throttleWriteBpsDevice: "},
		{written("8:0 riops=5", "io.max", unix.ENODEV), "linux.resources.blockIO.throttleReadIOPSDevice: "},
		{written("8:0 wiops=5", "io.max", unix.ENODEV), "linux.resources.blockIO.throttleWriteIOPSDevice: "},
		{written("5", "io.weight", unix.ERANGE), "linux.resources.blockIO.weight: "},
		{&fs.PathError{Op: "write", Path: "/sys/fs/cgroup/c1/io.bfq.weight", Err: unix.ERANGE}, "linux.resources.blockIO.weight: cannot set: write /sys/fs/cgroup/c1/io.bfq.weight: "},
		{fmt.Errorf("setting device weight %q: %w", "9:9 5", &fs.PathError{Op: "write", Path: "/sys/fs/cgroup/c1/io.bfq.weight", Err: unix.ENODEV}),
			`linux.resources.blockIO.weightDevice: cannot set "9:9 5": write /sys/fs/cgroup/c1/io.bfq.weight: no such device`},
		{written("5", "io.nonsense", unix.ERANGE), "linux.resources.blockIO: "},
		{written("5", "hugetlb.2MB.max", unix.EINVAL), "linux.resources.hugepageLimits: "},
		{written("5", "nonsense", unix.EINVAL), `linux.resources: cannot set: failed to write "5"`},
		{&fs.PathError{Op: "openat2", Path: "/sys/fs/cgroup/gone/cpu.max", Err: unix.ENOENT}, "linux.resources.cpu.quota: cannot set: openat2 /sys/fs/cgroup/gone/cpu.max: no such file or directory (the cgroup is gone)"},
		{errors.New("rejecting memory limit 5 <= usage 7"), "linux.resources.memory.limit: rejecting memory limit 5 <= usage 7"},
		{errors.New("rejecting memory+swap limit 5 <= usage 7"), "linux.resources.memory.swap: rejecting"},
		{errors.New("nonsense"), "linux.resources: cannot set: nonsense"},
	} {
		if got := g.nameField(c.err); !strings.HasPrefix(got.Error(), c.want) {
			t.Errorf("got %q, want %q…", got, c.want)
		}
		var errno unix.Errno
		if errors.As(c.err, &errno) && !errors.Is(g.nameField(c.err), errno) {
			t.Errorf("%v: the errno is lost", c.err)
		}
	}
	if g.nameField(nil) != nil {
		t.Error("no error became one")
	}
}

// What v1 has no hierarchy for is said before anything is written.
func TestCheckControllers(t *testing.T) {
	g := &Group{fd: -1, hierarchies: []Hierarchy{{Names: []string{"memory"}, Dir: "/sys/fs/cgroup/memory/c1"}}}
	err := g.checkControllers(&cgroups.Resources{Memory: 1, PidsLimit: ptr(int64(1)), CpusetMems: "0"})
	const want = "linux.resources.cpu.mems: cannot set: this host has no cpuset controller mounted (cgroup v1)\n" +
		"linux.resources.pids: cannot set: this host has no pids controller mounted (cgroup v1)"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	g.unified = true
	if err := g.checkControllers(&cgroups.Resources{PidsLimit: ptr(int64(1))}); err != nil {
		t.Errorf("on v2: %v", err)
	}
}

func TestIgnored(t *testing.T) {
	r := &cgroups.Resources{MemorySwappiness: ptr(uint64(5)), OomKillDisable: true, CpuRtPeriod: 1, CpuRtRuntime: 1, BlkioLeafWeight: 10, NetClsClassid: 1,
		NetPrioIfpriomap: []*cgroups.IfPrioMap{{}}, Memory: 5}
	if got := ignored(r, true); len(got) != 7 {
		t.Errorf("ignored %q", got)
	}
	if got := ignored(r, false); len(got) != 0 {
		t.Errorf("ignored on v1: %q", got)
	}
}
