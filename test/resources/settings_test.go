package resources

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

// setting is one configuration of linux.resources that both runtimes get.
type setting struct {
	name string
	set  func(*specs.LinuxResources)
	want map[string]string // by file
	// unlike names files with another value than runc 1.1.5 gives them, and why.
	unlike map[string]string
	newer  string // what runc has only since then
	// untouched is a file that is left alone, for which systemd has a default.
	untouched string
}

func ptr[T any](v T) *T { return &v }

// settings covers every field that this machine's v1 hierarchies have a file for.
func settings() []setting {
	const disk = "254:0" // of the machine
	onDisk := specs.LinuxBlockIODevice{Major: 254, Minor: 0}
	throttle := func(rate uint64) []specs.LinuxThrottleDevice {
		return []specs.LinuxThrottleDevice{{LinuxBlockIODevice: onDisk, Rate: rate}}
	}
	memory := func(m specs.LinuxMemory) func(*specs.LinuxResources) {
		return func(r *specs.LinuxResources) { r.Memory = &m }
	}
	cpu := func(c specs.LinuxCPU) func(*specs.LinuxResources) {
		return func(r *specs.LinuxResources) { r.CPU = &c }
	}
	pids := func(limit int64) func(*specs.LinuxResources) {
		return func(r *specs.LinuxResources) { r.Pids = &specs.LinuxPids{Limit: &limit} }
	}
	const unlimited = "9223372036854771712"
	return []setting{
		{name: "default", set: func(*specs.LinuxResources) {}, want: map[string]string{"pids.max": "max", "memory.limit_in_bytes": unlimited, "cpu.shares": "1024"}, untouched: "pids.max"},
		{name: "no resources at all", set: nil, want: map[string]string{"pids.max": "max"}},
		{name: "empty parts", set: func(r *specs.LinuxResources) {
			r.Memory, r.CPU, r.BlockIO, r.Network = &specs.LinuxMemory{}, &specs.LinuxCPU{}, &specs.LinuxBlockIO{}, &specs.LinuxNetwork{}
		}, want: map[string]string{"pids.max": "max", "memory.limit_in_bytes": unlimited}},

		{name: "memory limit", set: memory(specs.LinuxMemory{Limit: ptr(int64(64<<20 + 1))}), want: map[string]string{"memory.limit_in_bytes": "67108864"}},
		{name: "memory limit 0", set: memory(specs.LinuxMemory{Limit: ptr(int64(0))}), want: map[string]string{"memory.limit_in_bytes": unlimited}},
		{name: "memory unlimited", set: memory(specs.LinuxMemory{Limit: ptr(int64(-1))}), want: map[string]string{"memory.limit_in_bytes": unlimited, "memory.memsw.limit_in_bytes": unlimited}},
		{name: "memory and swap", set: memory(specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Swap: ptr(int64(96 << 20))}),
			want: map[string]string{"memory.limit_in_bytes": "67108864", "memory.memsw.limit_in_bytes": "100663296"}},
		{name: "no swap", set: memory(specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Swap: ptr(int64(64 << 20))}), want: map[string]string{"memory.memsw.limit_in_bytes": "67108864"}},
		{name: "swap unlimited", set: memory(specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Swap: ptr(int64(-1))}), want: map[string]string{"memory.memsw.limit_in_bytes": unlimited}},
		{name: "memory reservation", set: memory(specs.LinuxMemory{Reservation: ptr(int64(32 << 20))}), want: map[string]string{"memory.soft_limit_in_bytes": "33554432"}},
		{name: "swappiness", set: memory(specs.LinuxMemory{Swappiness: ptr(uint64(7))}), want: map[string]string{"memory.swappiness": "7"}},
		{name: "swappiness 0", set: memory(specs.LinuxMemory{Swappiness: ptr(uint64(0))}), want: map[string]string{"memory.swappiness": "0"}},
		{name: "no OOM killer", set: memory(specs.LinuxMemory{Limit: ptr(int64(64 << 20)), DisableOOMKiller: ptr(true)}),
			want: map[string]string{"memory.oom_control": "oom_kill 0\noom_kill_disable 1\nunder_oom 0"}},
		{name: "OOM killer", set: memory(specs.LinuxMemory{DisableOOMKiller: ptr(false)}), want: map[string]string{"memory.oom_control": "oom_kill 0\noom_kill_disable 0\nunder_oom 0"}},
		{name: "kernel memory", set: memory(specs.LinuxMemory{Kernel: ptr(int64(9 << 20)), KernelTCP: ptr(int64(8 << 20)), UseHierarchy: ptr(true), CheckBeforeUpdate: ptr(true)}),
			want: map[string]string{"memory.kmem.limit_in_bytes": unlimited, "memory.kmem.tcp.limit_in_bytes": unlimited}},

		{name: "cpu shares", set: cpu(specs.LinuxCPU{Shares: ptr(uint64(512))}), want: map[string]string{"cpu.shares": "512"}},
		{name: "cpu shares 0", set: cpu(specs.LinuxCPU{Shares: ptr(uint64(0))}), want: map[string]string{"cpu.shares": "1024"}},
		{name: "most cpu shares", set: cpu(specs.LinuxCPU{Shares: ptr(uint64(262144))}), want: map[string]string{"cpu.shares": "262144"}},
		{name: "cpu quota", set: cpu(specs.LinuxCPU{Quota: ptr(int64(50_000))}), want: map[string]string{"cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "100000"}},
		{name: "cpu quota and period", set: cpu(specs.LinuxCPU{Quota: ptr(int64(7_000)), Period: ptr(uint64(20_000))}), want: map[string]string{"cpu.cfs_quota_us": "7000", "cpu.cfs_period_us": "20000"}},
		{name: "cpu quota unlimited", set: cpu(specs.LinuxCPU{Quota: ptr(int64(-1)), Period: ptr(uint64(20_000))}), want: map[string]string{"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "20000"}},
		{name: "cpu burst", set: cpu(specs.LinuxCPU{Quota: ptr(int64(50_000)), Burst: ptr(uint64(10_000))}), want: map[string]string{"cpu.cfs_burst_us": "10000"}, newer: "1.2"},
		{name: "cpu idle", set: cpu(specs.LinuxCPU{Idle: ptr(int64(1))}), want: map[string]string{"cpu.idle": "1"}, newer: "1.2"},
		{name: "cpuset", set: cpu(specs.LinuxCPU{Cpus: "1", Mems: "0"}), want: map[string]string{"cpuset.cpus": "1", "cpuset.mems": "0"}},
		{name: "cpuset ranges", set: cpu(specs.LinuxCPU{Cpus: "0,1"}), want: map[string]string{"cpuset.cpus": "0-1", "cpuset.mems": "0"}},

		{name: "all of the cpuset", set: cpu(specs.LinuxCPU{Cpus: "all"}), want: map[string]string{"cpuset.cpus": "0-1", "cpuset.mems": "0"}},

		{name: "pids limit", set: pids(77), want: map[string]string{"pids.max": "77"}},
		{name: "pids unlimited", set: pids(-1), want: map[string]string{"pids.max": "max"}},
		{name: "pids limit 0", set: pids(0), want: map[string]string{"pids.max": "1"}, unlike: map[string]string{"pids.max": "0 is a limit, as since runc 1.3"}},

		{name: "block I/O weight", set: func(r *specs.LinuxResources) { r.BlockIO = &specs.LinuxBlockIO{Weight: ptr(uint16(500))} }, want: map[string]string{"blkio.bfq.weight": "500"}},
		{name: "block I/O weight 0", set: func(r *specs.LinuxResources) { r.BlockIO = &specs.LinuxBlockIO{Weight: ptr(uint16(0))} }, want: map[string]string{"blkio.bfq.weight": "100"}, untouched: "blkio.bfq.weight"},
		{name: "block I/O throttles", set: func(r *specs.LinuxResources) {
			r.BlockIO = &specs.LinuxBlockIO{ThrottleReadBpsDevice: throttle(1 << 30), ThrottleWriteBpsDevice: throttle(2 << 30), ThrottleReadIOPSDevice: throttle(30000), ThrottleWriteIOPSDevice: throttle(40000)}
		}, want: map[string]string{"blkio.throttle.read_bps_device": disk + " 1073741824", "blkio.throttle.write_bps_device": disk + " 2147483648",
			"blkio.throttle.read_iops_device": disk + " 30000", "blkio.throttle.write_iops_device": disk + " 40000"}},

		{name: "device rules", set: func(r *specs.LinuxResources) {
			r.Devices = []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}, {Allow: true, Type: "c", Major: ptr(int64(10)), Minor: ptr(int64(229)), Access: "rw"}}
		}, want: map[string]string{}},
		{name: "all devices", set: func(r *specs.LinuxResources) { r.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}} }, want: map[string]string{}},
	}
}

// settingsElsewhere covers what some kernels and machines have on v1, and others
// have errors for (see mistakesV1). The virtual machine's has all but the first.
func settingsElsewhere(t *testing.T) []setting {
	var list []setting
	if has("cpu/cpu.rt_runtime_us") {
		list = append(list, setting{name: "real-time", set: func(r *specs.LinuxResources) {
			r.CPU = &specs.LinuxCPU{RealtimeRuntime: ptr(int64(4_000)), RealtimePeriod: ptr(uint64(500_000))}
		}, want: map[string]string{"cpu.rt_runtime_us": "4000", "cpu.rt_period_us": "500000"}})
	}
	if has("hugetlb") {
		list = append(list, setting{name: "huge pages", set: func(r *specs.LinuxResources) {
			r.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}}
		}, want: map[string]string{"hugetlb.2MB.limit_in_bytes": "4194304", "hugetlb.2MB.rsvd.limit_in_bytes": "4194304"},
			unlike: map[string]string{"hugetlb.2MB.rsvd.limit_in_bytes": "set with the other one, as since runc 1.2"}})
	}
	if has("net_cls") && has("net_prio") {
		list = append(list, setting{name: "networks", set: func(r *specs.LinuxResources) {
			r.Network = &specs.LinuxNetwork{ClassID: ptr(uint32(0x100001)), Priorities: []specs.LinuxInterfacePriority{{Name: "lo", Priority: 7}}}
		}, want: map[string]string{"net_cls.classid": "1048577", "net_prio.ifpriomap": "lo 7"}})
	}
	if has("rdma") {
		device := linuxtest.RDMADevice(t)
		if device == "" {
			return list
		}
		list = append(list, setting{name: "RDMA", set: func(r *specs.LinuxResources) {
			r.Rdma = map[string]specs.LinuxRdma{device: {HcaHandles: ptr(uint32(3)), HcaObjects: ptr(uint32(10_000))}}
		}, want: map[string]string{"rdma.max": device + " hca_handle=3 hca_object=10000"}}, setting{name: "RDMA handles", set: func(r *specs.LinuxResources) {
			r.Rdma = map[string]specs.LinuxRdma{device: {HcaHandles: ptr(uint32(0))}}
		}, want: map[string]string{"rdma.max": device + " hca_handle=0 hca_object=max"}})
	}
	return list
}

// settingsV2 covers what this machine's v2 tree has.
func settingsV2() []setting {
	huge := func(r *specs.LinuxResources) {
		r.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}, {Pagesize: "1GB", Limit: 0}}
	}
	const unlimited = "9223372036854771712"
	rsvd := map[string]string{"hugetlb.2MB.rsvd.max": "set with hugetlb.2MB.max, as since runc 1.2", "hugetlb.1GB.rsvd.max": "the same"}
	return []setting{
		{name: "default", set: func(*specs.LinuxResources) {}, want: map[string]string{"hugetlb.2MB.max": unlimited, "cgroup.type": "domain", "cgroup.freeze": "0"}},
		{name: "no resources at all", want: map[string]string{"hugetlb.2MB.max": unlimited}},
		{name: "huge pages", set: huge, want: map[string]string{"hugetlb.2MB.max": "4194304", "hugetlb.2MB.rsvd.max": "4194304", "hugetlb.1GB.max": "0", "hugetlb.1GB.rsvd.max": "0"}, unlike: rsvd},
		{name: "unified", set: func(r *specs.LinuxResources) {
			r.Unified = map[string]string{"cgroup.max.depth": "5", "cgroup.max.descendants": "77", "hugetlb.2MB.max": "2097152"}
		}, want: map[string]string{"cgroup.max.depth": "5", "cgroup.max.descendants": "77", "hugetlb.2MB.max": "2097152", "hugetlb.2MB.rsvd.max": unlimited}},
		{name: "unified wins", set: func(r *specs.LinuxResources) {
			huge(r)
			r.Unified = map[string]string{"hugetlb.2MB.max": "max"}
		}, want: map[string]string{"hugetlb.2MB.max": "max", "hugetlb.2MB.rsvd.max": "4194304"}, unlike: rsvd},
		{name: "of v1", set: func(r *specs.LinuxResources) {
			r.Network = &specs.LinuxNetwork{ClassID: ptr(uint32(5)), Priorities: []specs.LinuxInterfacePriority{{Name: "lo", Priority: 1}}}
			r.Memory = &specs.LinuxMemory{Swappiness: ptr(uint64(5)), DisableOOMKiller: ptr(true)}
			r.CPU = &specs.LinuxCPU{RealtimeRuntime: ptr(int64(5)), RealtimePeriod: ptr(uint64(50))}
		}, want: map[string]string{"hugetlb.2MB.max": unlimited}},
	}
}

// varying tells the files whose content depends on time and on what the runtime
// did.
func varying(file string) bool {
	for _, part := range []string{"usage", "stat", "procs", "tasks", "threads", "slabinfo", "pressure", "current", "peak", "events", "serviced", "service_bytes", "event_control", "failcnt", "prioidx"} {
		if strings.Contains(file, part) {
			return true
		}
	}
	return false
}

// readAll gives the content of every file of the cgroups of a process that can
// be read and compared. The hierarchy "misc" is unknown to runc 1.1.5, which
// leaves the process where it is.
func readAll(t *testing.T, h *linuxtest.Host, pid int) map[string]string {
	t.Helper()
	values := make(map[string]string)
	for _, dir := range cgroupDirs(t, h, pid) {
		if strings.HasPrefix(dir+"/", "/sys/fs/cgroup/misc/") {
			continue
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.IsDir() || varying(e.Name()) {
				continue
			}
			if data, err := os.ReadFile(filepath.Join(dir, e.Name())); err == nil { // some are for writing only
				values[e.Name()] = sorted(string(data))
			}
		}
	}
	return values
}

// sorted gives the lines of a file in an order of their own.
func sorted(text string) string {
	list := strings.Split(strings.TrimSpace(text), "\n")
	slices.Sort(list)
	return strings.Join(list, "\n")
}

// readInside reads files where the container's own cgroup mount shows them: on v1
// also by the links to a hierarchy with several controllers.
func readInside(t *testing.T, h *linuxtest.Host, pid int, file string) string {
	t.Helper()
	pattern := fmt.Sprintf("/proc/%d/root/sys/fs/cgroup/*/%s", pid, file)
	if h.V2 {
		pattern = fmt.Sprintf("/proc/%d/root/sys/fs/cgroup/%s", pid, file)
	}
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Errorf("%s inside: %q, %v", file, found, err)
		return ""
	}
	var first os.FileInfo
	for _, name := range found {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = info
		}
		same(t, name+" is "+found[0], os.SameFile(info, first), true)
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		t.Error(err)
	}
	return sorted(string(data))
}

// Each setting is where the specification says, before and after start, from
// outside and inside, and no file of any controller differs from what runc makes
// of the same configuration.
func TestSettings(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		linuxtest.WeighDisk(t)
		list := settingsV2()
		if !h.V2 {
			list = append(settings(), settingsElsewhere(t)...)
		}
		for _, d := range drivers() {
			h.Sub(t, d.name, func(t *testing.T, h *linuxtest.Host) {
				for _, s := range list {
					h.Sub(t, s.name, func(t *testing.T, h *linuxtest.Host) { compareSetting(t, h, d, s) })
				}
			})
		}
	})
}

// driver is a way to make cgroups.
type driver struct {
	name, path string // of linux.cgroupsPath
	flags      []string
}

// drivers are the host's: there may be no systemd.
func drivers() []driver {
	list := []driver{{name: "cgroupfs", path: "/"}}
	if _, err := os.Stat("/run/systemd/system"); err == nil { // sd_booted(3)
		list = append(list, driver{name: "systemd", path: "system.slice:e2e:", flags: []string{"--systemd-cgroup"}})
	}
	return list
}

func compareSetting(t *testing.T, h *linuxtest.Host, d driver, s setting) {
	t.Helper()
	bundle := h.Bundle(forever(), func(spec *specs.Spec) {
		spec.Linux.CgroupsPath = d.path + h.ID("a")
		if s.set == nil {
			spec.Linux.Resources = nil
		} else {
			s.set(spec.Linux.Resources)
		}
	})
	values := func(h *linuxtest.Host) map[string]string {
		id := h.ID("a")
		h.Must(append(d.flags, "create", "--bundle", bundle, id)...)
		st, _ := h.State(id)
		before := readAll(t, h, st.PID)
		h.Must("start", id)
		for file, after := range readAll(t, h, st.PID) {
			same(t, file+" after start", after, before[file])
		}
		for file := range s.want {
			same(t, file+" from inside", readInside(t, h, st.PID, file), before[file])
		}
		h.Must("delete", "--force", id)
		return before
	}
	tongs := values(h)
	for file, want := range s.want {
		if file != s.untouched || d.flags == nil {
			same(t, file, tongs[file], want)
		}
	}
	if s.newer != "" {
		return
	}
	runc := values(h.With("runc"))
	for _, file := range slices.Sorted(maps.Keys(runc)) {
		switch reason := s.unlike[file]; {
		case reason == "":
			same(t, file+", beside runc", tongs[file], runc[file])
		case tongs[file] == runc[file] && !h.V2: // whose root others change at the same time
			t.Errorf("%s: no difference any more: %s", file, reason)
		}
	}
	same(t, "number of files", len(tongs), len(runc))
}
