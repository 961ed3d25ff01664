package cgroup

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestLifeCycle(t *testing.T) {
	g := newGroup(t, nil)
	if os.Getenv(unifiedEnv) != "" && !g.Unified() {
		t.Fatal("the second run is not on cgroup v2")
	}
	before := slices.Clone(g.Owned())
	if len(before) == 0 || len(before) != len(g.Hierarchies()) {
		t.Fatalf("Owned before Create: %q, hierarchies %+v", before, g.Hierarchies())
	}
	mustCreate(t, g)
	if got := g.Owned(); !slices.Equal(got, before) {
		t.Errorf("Owned changed from %q to %q", before, got)
	}
	c := startIn(t, g, "sleep 100")
	for pid, want := range map[int]bool{c.Process.Pid: true, os.Getpid(): false} {
		if got, err := g.Holds(pid); err != nil || got != want {
			t.Errorf("Holds(%d) = %v, %v; want %v", pid, got, err, want)
		}
	}
	own, err := readFile(fmt.Sprintf("/proc/%d", c.Process.Pid), "cgroup")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parseOwnCgroups(own)
	if err != nil {
		t.Fatal(err)
	}
	for name := range g.Paths() {
		if !strings.Contains(parsed[name], "/tongs-test-") {
			t.Errorf("controller %q: the process is in %q", name, parsed[name])
		}
	}

	// What a later command sees.
	l, err := Load(g.Paths(), false)
	if err != nil {
		t.Fatal(err)
	}
	if pids, err := l.PIDs(); err != nil || !slices.Contains(pids, c.Process.Pid) {
		t.Errorf("PIDs = %v, %v; want %d in it", pids, err, c.Process.Pid)
	}
	if frozen, err := l.Frozen(); err != nil || frozen {
		t.Errorf("Frozen = %v, %v", frozen, err)
	}
	if err := l.Freeze(true); err != nil {
		t.Fatal(err)
	}
	if frozen, err := l.Frozen(); err != nil || !frozen {
		t.Errorf("Frozen after Freeze = %v, %v", frozen, err)
	}
	if g2, err := New(&specs.Spec{}, Options{ID: "x"}); err == nil {
		g2.hierarchies = g.hierarchies
		if err := g2.Create(); err == nil {
			t.Error("Create accepted a cgroup in use")
		}
		if len(g2.Owned()) != 0 {
			t.Errorf("a cgroup in use is owned: %q", g2.Owned())
		}
	}

	// A frozen cgroup must die as well.
	if err := l.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	if err := l.Wait(5 * time.Second); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := l.Remove(); err != nil {
			t.Error(err)
		}
		if err := l.Kill(); err != nil {
			t.Error(err)
		}
	}
	if pids, err := l.PIDs(); err != nil || len(pids) != 0 {
		t.Errorf("PIDs of a removed cgroup = %v, %v", pids, err)
	}
	if frozen, err := l.Frozen(); err != nil || frozen {
		t.Errorf("Frozen of a removed cgroup = %v, %v", frozen, err)
	}
}

// The short way of a process that ends its own container: one call, which
// does nothing where it could do half.
func TestLifeRemoveEmpty(t *testing.T) {
	g := newGroup(t, nil)
	mustCreate(t, g)
	dir := g.Hierarchies()[0].Dir
	c := startIn(t, g, "sleep 100")
	if g.RemoveEmpty() {
		t.Error("removed with a process in it")
	}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	if err := g.Wait(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	l, err := Load(g.Paths(), false)
	if err != nil {
		t.Fatal(err)
	}
	if l.RemoveEmpty() {
		t.Error("removed by one that did not make it")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	}
	removed := g.RemoveEmpty()
	_, err = os.Stat(dir)
	if removed != g.Unified() || removed != errors.Is(err, os.ErrNotExist) {
		t.Errorf("unified %v: removed %v, then %v", g.Unified(), removed, err)
	}
}

func TestLifeReady(t *testing.T) {
	g := newGroup(t, nil)
	if !g.Unified() {
		return // TestLifeInUnified comes here again
	}
	mustCreate(t, g)
	dir := g.Hierarchies()[0].Dir
	below := dir + "/below"
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	want := func(dir string, existed, want bool) {
		t.Helper()
		if got, err := isReady(dir, existed); err != nil || got != want {
			t.Errorf("isReady(%q, %v) = %v, %v; want %v", dir, existed, got, err, want)
		}
	}
	want(dir, false, true)
	want(dir, true, true)
	all, err := readFile(root, "cgroup.controllers")
	if err != nil {
		t.Fatal(err)
	}
	want(below, false, all == "\n" || all == "") // nothing is passed on to it
	if err := os.Remove(below); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(dir, "cgroup.type", "threaded"); err != nil {
		t.Fatal(err)
	}
	want(dir, true, false)
	want(below, false, false)
}

func TestLifeKillWhileForking(t *testing.T) {
	g := newGroup(t, nil)
	mustCreate(t, g)
	// Forks for ever, each process in a session of its own.
	c := startIn(t, g, `i=0; while [ $i -lt 20 ]; do (while :; do /bin/true; done) & i=$((i+1)); done; wait`)
	deadline := time.Now().Add(10 * time.Second)
	for {
		if pids, _ := g.PIDs(); len(pids) > 20 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the test's processes do not start")
		}
		time.Sleep(time.Millisecond)
	}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	if err := g.Remove(); err != nil {
		t.Fatal(err)
	}
}

func TestLifeSignal(t *testing.T) {
	g := newGroup(t, nil)
	mustCreate(t, g)
	c := startIn(t, g, `trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.05; done`)
	deadline := time.Now().Add(10 * time.Second)
	for {
		if err := g.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		var st unix.Siginfo
		unix.Waitid(unix.P_PID, c.Process.Pid, &st, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if st.Signo != 0 || time.Now().After(deadline) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.Wait()
	if got := c.ProcessState.ExitCode(); got != 3 && got != -1 {
		t.Errorf("exit code %d after SIGTERM, output %q", got, c.out.String())
	}
	if frozen, err := g.Frozen(); err != nil || frozen {
		t.Errorf("Signal left the cgroup frozen: %v, %v", frozen, err)
	}
}

func TestLifeDevices(t *testing.T) {
	if _, err := os.Stat("/dev/kmsg"); err != nil {
		t.Skip("no device that the default denies: /dev/kmsg is missing")
	}
	g := newGroup(t, &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}})
	mustCreate(t, g)
	c := startIn(t, g, `: </dev/null && echo null; : >/dev/zero && echo zero; : </dev/kmsg && echo kmsg; exit 0`)
	c.Wait()
	if got := c.out.String(); !strings.HasPrefix(got, "null\nzero\n") || strings.HasSuffix(got, "kmsg\n") {
		t.Errorf("default rules: got %q", got)
	}

	// Limit again must replace, not add.
	g.made = false
	var err error
	if g.devices, err = newDevicePolicy(&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true}}}); err != nil {
		t.Fatal(err)
	}
	if err := g.Limit(); err != nil {
		t.Fatal(err)
	}
	if g.Unified() {
		fd, _ := g.open()
		if ids, err := devicePrograms(fd); err != nil || len(ids) != 1 {
			t.Errorf("device programs %v, %v", ids, err)
		}
	}
	c = startIn(t, g, `: </dev/kmsg && echo kmsg; exit 0`)
	c.Wait()
	if got := c.out.String(); got != "kmsg\n" {
		t.Errorf("all allowed: got %q", got)
	}
}

func TestLifeLimits(t *testing.T) {
	needRoot(t)
	res := &specs.LinuxResources{}
	want := map[string]string{} // file to content
	unified, err := isUnified()
	if err != nil {
		t.Fatal(err)
	}
	if unified {
		have, err := readFile(root, "cgroup.controllers")
		if err != nil {
			t.Fatal(err)
		}
		for c := range strings.FieldsSeq(have) {
			switch c {
			case "memory":
				res.Memory = &specs.LinuxMemory{Limit: ptr(int64(8 << 20)), Swap: ptr(int64(16 << 20))}
				want[":memory.max"] = "8388608"
			case "cpu":
				res.CPU = &specs.LinuxCPU{Shares: ptr(uint64(1024)), Quota: ptr(int64(50000)), Period: ptr(uint64(100000))}
				want[":cpu.weight"], want[":cpu.max"] = "100", "50000 100000"
			case "pids":
				res.Pids = &specs.LinuxPids{Limit: ptr(int64(17))}
				want[":pids.max"] = "17"
			case "hugetlb":
				if _, err := os.Stat("/sys/kernel/mm/hugepages/hugepages-2048kB"); err == nil {
					res.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}}
					want[":hugetlb.2MB.max"] = "4194304"
				}
			}
		}
		if len(want) == 0 {
			t.Skip("no controller on cgroup v2")
		}
	} else {
		res.Memory = &specs.LinuxMemory{Limit: ptr(int64(8 << 20)), Reservation: ptr(int64(4 << 20))}
		res.CPU = &specs.LinuxCPU{Shares: ptr(uint64(512)), Quota: ptr(int64(50000)), Period: ptr(uint64(100000)), Cpus: "0"}
		res.Pids = &specs.LinuxPids{Limit: ptr(int64(17))}
		want["memory:memory.limit_in_bytes"] = "8388608"
		want["memory:memory.soft_limit_in_bytes"] = "4194304"
		want["cpu:cpu.shares"], want["cpu:cpu.cfs_quota_us"], want["cpu:cpu.cfs_period_us"] = "512", "50000", "100000"
		want["cpuset:cpuset.cpus"] = "0"
		want["pids:pids.max"] = "17"
		want["devices:devices.list"] = "b *:* m\nc *:* m\nc 10:200 rwm\nc 136:* rwm\nc 1:3 rwm\nc 1:5 rwm\nc 1:7 rwm\nc 1:8 rwm\nc 1:9 rwm\nc 5:0 rwm\nc 5:2 rwm"
	}
	g := newGroup(t, res)
	mustCreate(t, g)
	for at, content := range want {
		controller, file, _ := strings.Cut(at, ":")
		got, err := readFile(g.dir(controller), file)
		lines := strings.Split(strings.TrimSpace(got), "\n")
		slices.Sort(lines)
		if got = strings.Join(lines, "\n"); err != nil || got != content {
			t.Errorf("%s is %q, %v; want %q", file, got, err, content)
		}
	}
	if !unified {
		if _, err := g.Update(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(-1))}}); err != nil {
			t.Fatal(err)
		}
		if got, err := readFile(g.dir("pids"), "pids.max"); got != "max\n" {
			t.Errorf("pids.max after Update is %q, %v", got, err)
		}
		_, err := g.Update(&specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "4000"}})
		if err == nil || !strings.HasPrefix(err.Error(), "linux.resources.cpu.cpus: ") {
			t.Errorf("an impossible CPU gave %v", err)
		}
	} else if _, err := os.Stat(g.dir("") + "/memory.max"); err != nil {
		_, err := g.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(1 << 20))}})
		if err == nil || !strings.HasPrefix(err.Error(), "linux.resources.memory.") {
			t.Errorf("a limit without its controller gave %v", err)
		}
	}
}

func TestLifeParentsAndChildren(t *testing.T) {
	needRoot(t)
	parent := fmt.Sprintf("tongs-test-%d-parent", os.Getpid())
	g, err := New(&specs.Spec{Linux: &specs.Linux{CgroupsPath: "/" + parent + "/a"}}, Options{ID: "id"})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range g.Hierarchies() {
		if h.Dir != h.Mountpoint+"/"+parent+"/a" {
			t.Errorf("an absolute path became %q below %q", h.Dir, h.Mountpoint)
		}
		t.Cleanup(func() { unix.Rmdir(strings.TrimSuffix(h.Dir, "/a")) })
	}
	mustCreate(t, g)
	// A container that made cgroups of its own, with a process in one.
	dir := g.dir("")
	if dir == "" {
		dir = g.procsDir()
	}
	if err := os.MkdirAll(dir+"/b/c", 0o755); err != nil {
		t.Fatal(err)
	}
	c := startIn(t, g, "sleep 100")
	if err := writeFile(dir+"/b/c", "cgroup.procs", fmt.Sprint(c.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	if pids, err := g.PIDs(); err != nil || !slices.Contains(pids, c.Process.Pid) {
		t.Errorf("PIDs = %v, %v; want %d in it", pids, err, c.Process.Pid)
	}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	if err := g.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", dir, err)
	}
}

func BenchmarkLife(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("making cgroups needs root")
	}
	spec := &specs.Spec{Linux: &specs.Linux{Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"}}}}}
	var step [5]time.Duration
	for i := range b.N {
		last := time.Now()
		lap := func(n int, err error) {
			if err != nil {
				b.Fatal(err)
			}
			now := time.Now()
			step[n] += now.Sub(last)
			last = now
		}
		g, err := New(spec, Options{ID: fmt.Sprintf("tongs-test-bench-%d-%d", os.Getpid(), i)})
		lap(0, err)
		g.Owned()
		lap(1, g.Create())
		_, err = g.FD()
		lap(2, err)
		lap(3, g.Limit())
		lap(4, g.Remove())
	}
	for n, name := range []string{"New", "Create", "FD", "Limit", "Remove"} {
		b.ReportMetric(float64(step[n].Microseconds())/float64(b.N), name+"-µs")
	}
}

// BenchmarkBare is what the kernel needs for a directory that comes and goes.
func BenchmarkBare(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("making cgroups needs root")
	}
	g, err := New(&specs.Spec{}, Options{ID: "tongs-test-bare"})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for _, h := range g.Hierarchies() {
			if err := unix.Mkdir(h.Dir, 0o755); err != nil {
				b.Fatal(err)
			}
		}
		for _, h := range g.Hierarchies() {
			if err := unix.Rmdir(h.Dir); err != nil {
				b.Fatal(err)
			}
		}
	}
}
