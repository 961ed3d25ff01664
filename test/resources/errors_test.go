package resources

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

// mistake is a configuration that cannot be met, and what the error must say:
// the field, the file if there is one, and the kernel's words.
type mistake struct {
	name string
	set  func(*specs.LinuxResources)
	says []string
	runc string // why runc 1.1.5 takes it
}

func mistakesV1() []mistake {
	// Not one whose driver makes a device when it is asked for.
	nowhere := specs.LinuxBlockIODevice{Major: 240, Minor: 9}
	throttle := []specs.LinuxThrottleDevice{{LinuxBlockIODevice: nowhere, Rate: 100}}
	blockIO := func(b specs.LinuxBlockIO) func(*specs.LinuxResources) {
		return func(r *specs.LinuxResources) { r.BlockIO = &b }
	}
	cpu := func(c specs.LinuxCPU) func(*specs.LinuxResources) {
		return func(r *specs.LinuxResources) { r.CPU = &c }
	}
	memory := func(m specs.LinuxMemory) func(*specs.LinuxResources) {
		return func(r *specs.LinuxResources) { r.Memory = &m }
	}
	realTime := []string{`cpu.realtimeRuntime: cannot set "2000000": write `, "/cpu.rt_runtime_us: invalid argument"}
	if !has("cpu/cpu.rt_runtime_us") {
		realTime = []string{"cpu.realtimeRuntime: cannot set: ", "/cpu.rt_runtime_us: no such file or directory (this kernel has no such file)"}
	}
	return []mistake{
		{"swap without limit", memory(specs.LinuxMemory{Swap: ptr(int64(1 << 20))}), []string{`memory.swap: cannot set "1048576": write `, "/memory.memsw.limit_in_bytes: invalid argument"}, ""},
		{"swap below limit", memory(specs.LinuxMemory{Limit: ptr(int64(2 << 20)), Swap: ptr(int64(1 << 20))}), []string{"memory.swap: 1048576 is below"}, ""},
		{"swappiness", memory(specs.LinuxMemory{Swappiness: ptr(uint64(101))}), []string{"memory.swappiness: 101 is outside"}, ""},
		{"memory limit", memory(specs.LinuxMemory{Limit: ptr(int64(-2))}), []string{"memory.limit: -2 "}, ""},
		{"few cpu shares", cpu(specs.LinuxCPU{Shares: ptr(uint64(1))}), []string{"cpu.shares: 1 is not between 2 and 262144"}, ""},
		{"many cpu shares", cpu(specs.LinuxCPU{Shares: ptr(uint64(262145))}), []string{"cpu.shares: 262145 is not between"}, ""},
		{"quota", cpu(specs.LinuxCPU{Quota: ptr(int64(5))}), []string{`cpu.quota: cannot set "5": write `, "/cpu.cfs_quota_us: invalid argument"}, ""},
		{"period", cpu(specs.LinuxCPU{Period: ptr(uint64(5))}), []string{`cpu.period: cannot set "5": write `, "/cpu.cfs_period_us: invalid argument"}, ""},
		{"burst above quota", cpu(specs.LinuxCPU{Quota: ptr(int64(50_000)), Burst: ptr(uint64(50_001))}), []string{"cpu.burst: 50001 is above quota 50000"}, "knows no burst"},
		{"real-time", cpu(specs.LinuxCPU{RealtimeRuntime: ptr(int64(2_000_000))}), realTime, ""},
		{"idle", cpu(specs.LinuxCPU{Idle: ptr(int64(2))}), []string{"cpu.idle: 2 is neither 0 nor 1"}, "knows no idle"},
		{"missing CPU", cpu(specs.LinuxCPU{Cpus: "4000"}), []string{`cpu.cpus: cannot set "4000": write `, "/cpuset.cpus: numerical result out of range"}, ""},
		{"missing node", cpu(specs.LinuxCPU{Mems: "63"}), []string{`cpu.mems: cannot set "63": write `, "/cpuset.mems: invalid argument"}, ""},
		{"CPUs", cpu(specs.LinuxCPU{Cpus: "x"}), []string{`cpu.cpus: "x" is not a list`}, ""},
		{"pids", func(r *specs.LinuxResources) { r.Pids = &specs.LinuxPids{Limit: ptr(int64(99999999999))} }, []string{`pids.limit: cannot set "99999999999": write `, "/pids.max: invalid argument"}, ""},
		{"weight", blockIO(specs.LinuxBlockIO{Weight: ptr(uint16(9))}), []string{"blockIO.weight: 9 is outside 10 to 1000"}, "writes 9, of which the kernel makes a weight"},
		{"leaf weight", blockIO(specs.LinuxBlockIO{LeafWeight: ptr(uint16(100))}), []string{"blockIO.leafWeight: cannot set: ", "/blkio.leaf_weight: no such file or directory (this kernel has no such file)"}, ""},
		{"weight of no device", blockIO(specs.LinuxBlockIO{WeightDevice: []specs.LinuxWeightDevice{{LinuxBlockIODevice: nowhere, Weight: ptr(uint16(100))}}}),
			[]string{`blockIO.weightDevice: cannot set "240:9 100": write `, "weight_device: no such device"}, ""},
		{"read bytes of no device", blockIO(specs.LinuxBlockIO{ThrottleReadBpsDevice: throttle}), []string{`blockIO.throttleReadBpsDevice: cannot set "240:9 100": write `, "no such device"}, ""},
		{"write bytes of no device", blockIO(specs.LinuxBlockIO{ThrottleWriteBpsDevice: throttle}), []string{"blockIO.throttleWriteBpsDevice: cannot set", "no such device"}, ""},
		{"reads of no device", blockIO(specs.LinuxBlockIO{ThrottleReadIOPSDevice: throttle}), []string{"blockIO.throttleReadIOPSDevice: cannot set", "no such device"}, ""},
		{"writes of no device", blockIO(specs.LinuxBlockIO{ThrottleWriteIOPSDevice: throttle}), []string{"blockIO.throttleWriteIOPSDevice: cannot set", "no such device"}, ""},
		{"no controller for huge pages", func(r *specs.LinuxResources) {
			r.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 1 << 21}}
		}, []string{"hugepageLimits: cannot set: this host has no hugetlb controller"}, ""},
		{"size of huge pages", func(r *specs.LinuxResources) {
			r.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "../x", Limit: 1 << 21}}
		}, []string{`hugepageLimits[0].pageSize: "../x" is not a size`}, ""},
		{"no controllers for networks", func(r *specs.LinuxResources) {
			r.Network = &specs.LinuxNetwork{ClassID: ptr(uint32(5)), Priorities: []specs.LinuxInterfacePriority{{Name: "lo", Priority: 1}}}
		}, []string{"network.classID: cannot set: this host has no net_cls controller", "linux.resources.network.priorities: cannot set: this host has no net_prio controller"}, ""},
		{"no controller for rdma", func(r *specs.LinuxResources) {
			r.Rdma = map[string]specs.LinuxRdma{"mlx5_0": {HcaHandles: ptr(uint32(2))}}
		}, []string{"rdma: cannot set: this host has no rdma controller"}, ""},
		{"unified", func(r *specs.LinuxResources) { r.Unified = map[string]string{"memory.high": "1"} }, []string{"unified: this host has cgroup v1"}, ""},
	}
}

// mistakesElsewhere are about controllers that few machines have on v1; the
// virtual machine's has them.
func mistakesElsewhere(t *testing.T) []mistake {
	var list []mistake
	if has("hugetlb") {
		list = append(list, mistake{"no such huge pages", func(r *specs.LinuxResources) {
			r.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "4MB", Limit: 1 << 22}}
		}, []string{"hugepageLimits: cannot set: ", "/hugetlb.4MB.limit_in_bytes: no such file or directory (this kernel has no such file)"}, ""})
	}
	if has("net_prio") {
		list = append(list, mistake{"priority of no interface", func(r *specs.LinuxResources) {
			r.Network = &specs.LinuxNetwork{Priorities: []specs.LinuxInterfacePriority{{Name: "nowhere", Priority: 1}}}
		}, []string{`network.priorities: cannot set "nowhere 1": write `, "/net_prio.ifpriomap: no such device"}, ""})
	}
	if has("rdma") {
		rdma := func(device string, handles uint32) func(r *specs.LinuxResources) {
			return func(r *specs.LinuxResources) { r.Rdma = map[string]specs.LinuxRdma{device: {HcaHandles: &handles}} }
		}
		list = append(list, mistake{"no such RDMA device", rdma("mlx5_9", 1), []string{`rdma: cannot set "mlx5_9 hca_handle=1": write `, "/rdma.max: no such device"}, ""})
		if device := linuxtest.RDMADevice(t); device != "" {
			list = append(list, mistake{"too many RDMA handles", rdma(device, 1<<31), []string{"rdma: cannot set ", "/rdma.max: invalid argument"}, ""})
		}
	}
	return list
}

func mistakesV2() []mistake {
	unified := func(file, value string) func(*specs.LinuxResources) {
		return func(r *specs.LinuxResources) { r.Unified = map[string]string{file: value} }
	}
	missing := func(controller string) string {
		return "no such file or directory (the controller " + controller + " is not available in the cgroup, which has "
	}
	return []mistake{
		{"no controller for memory", func(r *specs.LinuxResources) { r.Memory = &specs.LinuxMemory{Limit: ptr(int64(1 << 26))} }, []string{"memory.limit: cannot set: ", missing("memory")}, ""},
		{"no controller for reservations", func(r *specs.LinuxResources) { r.Memory = &specs.LinuxMemory{Reservation: ptr(int64(1 << 26))} }, []string{"memory.reservation: cannot set: ", missing("memory")}, ""},
		{"swap without limit", func(r *specs.LinuxResources) { r.Memory = &specs.LinuxMemory{Swap: ptr(int64(1 << 26))} }, []string{"memory.swap: 67108864 counts memory and swap together"}, ""},
		{"no controller for cpu", func(r *specs.LinuxResources) { r.CPU = &specs.LinuxCPU{Quota: ptr(int64(50_000))} }, []string{"cpu.quota: cannot set: ", missing("cpu")}, ""},
		{"no controller for shares", func(r *specs.LinuxResources) { r.CPU = &specs.LinuxCPU{Shares: ptr(uint64(10))} }, []string{"cpu.shares: cannot set: ", missing("cpu")}, ""},
		{"no controller for cpus", func(r *specs.LinuxResources) { r.CPU = &specs.LinuxCPU{Cpus: "0"} }, []string{"cpu.cpus: cannot set: ", missing("cpuset")}, ""},
		{"no controller for pids", func(r *specs.LinuxResources) { r.Pids = &specs.LinuxPids{Limit: ptr(int64(5))} }, []string{"pids.limit: cannot set: ", missing("pids")}, ""},
		{"no controller for weights", func(r *specs.LinuxResources) { r.BlockIO = &specs.LinuxBlockIO{Weight: ptr(uint16(50))} }, []string{"blockIO.weight: cannot set: ", missing("io")}, ""},
		{"no controller for rdma", func(r *specs.LinuxResources) {
			r.Rdma = map[string]specs.LinuxRdma{"mlx5_0": {HcaHandles: ptr(uint32(2))}}
		}, []string{"rdma: cannot set: ", missing("rdma")}, ""},
		{"size of huge pages", func(r *specs.LinuxResources) {
			r.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "4MB", Limit: 1 << 22}}
		}, []string{"hugepageLimits: cannot set: ", "hugetlb.4MB.max: no such file or directory (this kernel has no such file)"}, ""},
		{"unknown controller", unified("bogus.high", "1"), []string{`unified["bogus.high"]: cannot set "1": `, missing("bogus")}, ""},
		{"unknown file", unified("hugetlb.bogus", "1"), []string{`unified["hugetlb.bogus"]: cannot set "1": `, "(this kernel has no such file)"}, ""},
		{"value", unified("hugetlb.2MB.max", "much"), []string{`unified["hugetlb.2MB.max"]: cannot set "much": write `, "invalid argument"}, ""},
		{"second line", unified("cgroup.max.depth", "5\n-3"), []string{`unified["cgroup.max.depth"]: cannot set "-3": write `, "numerical result out of range"}, ""},
		{"no file", unified("memory", "1"), []string{`unified: "memory" is not a file name`}, ""},
		{"path", unified("../memory.max", "1"), []string{`unified: "../memory.max" is not the name of a file`}, ""},
		{"not a limit", unified("cgroup.procs", "1"), []string{`unified: "cgroup.procs" is not a limit`}, "writes it"},
		{"frozen", unified("cgroup.freeze", "1"), []string{`unified: "cgroup.freeze" is not a limit`}, "waits for ever"},
	}
}

// What cannot be set stops the creation, and nothing is left of it.
func TestMistakes(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		linuxtest.WeighDisk(t)
		list := append(mistakesV1(), mistakesElsewhere(t)...)
		if h.V2 {
			list = mistakesV2()
		}
		// A machine that has these has no mistake in asking for them.
		controllers := map[string]string{"no controller for huge pages": "hugetlb", "no controllers for networks": "net_cls", "no controller for rdma": "rdma"}
		for _, m := range list {
			if c := controllers[m.name]; !h.V2 && c != "" && has(c) {
				continue
			}
			h.Sub(t, m.name, func(t *testing.T, h *linuxtest.Host) {
				bundle := h.Bundle(forever(), func(s *specs.Spec) { m.set(s.Linux.Resources) })
				id := h.ID("a")
				r := h.Run("create", "--bundle", bundle, id)
				same(t, "status", r.Status, 1)
				for i, text := range m.says {
					if i == 0 {
						text = "linux.resources." + text
					}
					if !strings.Contains(strings.ReplaceAll(r.Stderr, `\"`, `"`), text) {
						t.Errorf("%q is not in: %s", text, r.Stderr)
					}
				}
				if m.runc == "" {
					runc := h.With("runc")
					same(t, "status of runc", runc.Run("create", "--bundle", bundle, id).Status, 1)
					runc.Run("delete", "--force", id)
				}
				if r.Status == 0 {
					h.Must("delete", "--force", id)
				}
				h.CheckCleanButKeys()
			})
		}
	})
}

// A limit that the container's first process cannot live with: either the kernel
// kills that, or it has more by then already, which the kernel refuses.
func TestMemoryTooLow(t *testing.T) {
	h := linuxtest.One(t)
	bundle := h.Bundle(forever(), func(s *specs.Spec) { s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: ptr(int64(4096))} })
	r := h.Run("create", "--bundle", bundle, h.ID("a"))
	same(t, "status", r.Status, 1)
	const (
		killed  = "container init was OOM-killed (memory limit too low?): the kernel has killed for lack of memory; linux.resources.memory.limit is 4096 bytes; it has used up to "
		refused = "linux.resources.memory.limit: unable to set memory limit to 4096 (current usage: "
	)
	if !strings.Contains(r.Stderr, killed) && (h.V2 || !strings.Contains(r.Stderr, refused)) {
		t.Errorf("neither %q nor %q is in: %s", killed, refused, r.Stderr)
	}
	runc := h.With("runc")
	same(t, "status of runc", runc.Run("create", "--bundle", bundle, h.ID("a")).Status, 1)
	runc.Run("delete", "--force", h.ID("a"))
}

// A cgroup file system that is read-only takes no container, unless it is v2 and
// the container has a place which is there already and no limits to write.
func TestReadOnlyCgroups(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		bundle := h.Bundle(linuxtest.Args("/bin/true"), func(s *specs.Spec) { s.Linux.CgroupsPath, s.Linux.Resources = "/"+h.ID("group"), nil })
		there := "/sys/fs/cgroup/devices/" + h.ID("group")
		if h.V2 {
			there = "/sys/fs/cgroup/" + h.ID("group")
		}
		if err := os.Mkdir(there, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.RemoveCgroups(h.ID("group")) })
		h.ReadOnlyCgroups()
		if r := h.Run("run", "--bundle", bundle, h.ID("a")); h.V2 && r.Status != 0 || !h.V2 && (r.Status != 1 || !strings.Contains(r.Stderr, "read-only file system")) {
			t.Errorf("in a cgroup that is there: status %d, stderr %s", r.Status, r.Stderr)
		}
		r := h.Run("run", "--bundle", h.Bundle(linuxtest.Args("/bin/true")), h.ID("a"))
		if r.Status != 1 || !strings.Contains(r.Stderr, "linux.cgroupsPath: cannot create cgroup") || !strings.Contains(r.Stderr, "read-only file system") {
			t.Errorf("status %d, stderr %s", r.Status, r.Stderr)
		}
		if left, _ := filepath.Glob(h.Root() + "/*"); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
}
