package cgroup

import (
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func ptr[T any](v T) *T { return &v }

func TestConvert(t *testing.T) {
	r, err := convert(&specs.LinuxResources{
		Memory:         &specs.LinuxMemory{Limit: ptr(int64(1 << 20)), Swap: ptr(int64(2 << 20)), Reservation: ptr(int64(4096)), Swappiness: ptr(uint64(7)), DisableOOMKiller: ptr(true), CheckBeforeUpdate: ptr(true)},
		CPU:            &specs.LinuxCPU{Shares: ptr(uint64(1024)), Quota: ptr(int64(5000)), Period: ptr(uint64(10000)), Burst: ptr(uint64(1)), Cpus: "0-1", Mems: "0", Idle: ptr(int64(1)), RealtimeRuntime: ptr(int64(3)), RealtimePeriod: ptr(uint64(4))},
		Pids:           &specs.LinuxPids{Limit: ptr(int64(0))},
		BlockIO:        &specs.LinuxBlockIO{Weight: ptr(uint16(500)), ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{{Rate: 9}}},
		HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 5}},
		Rdma:           map[string]specs.LinuxRdma{"mlx5_0": {HcaHandles: ptr(uint32(2))}},
		Network:        &specs.LinuxNetwork{ClassID: ptr(uint32(6)), Priorities: []specs.LinuxInterfacePriority{{Name: "eth0", Priority: 3}}},
		Unified:        map[string]string{"memory.high": "max"},
	}, true)
	if err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{
		"memory.limit": r.Memory == 1<<20, "memory.swap": r.MemorySwap == 2<<20, "memory.reservation": r.MemoryReservation == 4096,
		"memory.swappiness": *r.MemorySwappiness == 7, "memory.disableOOMKiller": r.OomKillDisable, "memory.checkBeforeUpdate": r.MemoryCheckBeforeUpdate,
		"cpu.shares": r.CpuShares == 1024, "cpu weight of 1024 shares": r.CpuWeight == 100, "cpu.quota": r.CpuQuota == 5000, "cpu.period": r.CpuPeriod == 10000,
		"cpu.burst": *r.CpuBurst == 1, "cpu.cpus": r.CpusetCpus == "0-1", "cpu.mems": r.CpusetMems == "0", "cpu.idle": *r.CPUIdle == 1,
		"cpu.realtimeRuntime": r.CpuRtRuntime == 3, "cpu.realtimePeriod": r.CpuRtPeriod == 4,
		"pids.limit 0 is not unset": r.PidsLimit != nil && *r.PidsLimit == 0,
		"blockIO.weight":            r.BlkioWeight == 500, "blockIO throttle": r.BlkioThrottleReadBpsDevice[0].Rate == 9,
		"hugepageLimits": r.HugetlbLimit[0].Limit == 5, "rdma": *r.Rdma["mlx5_0"].HcaHandles == 2 && r.Rdma["mlx5_0"].HcaObjects == nil,
		"network.classID": r.NetClsClassid == 6, "network.priorities": r.NetPrioIfpriomap[0].CgroupString() == "eth0 3",
		"unified": r.Unified["memory.high"] == "max", "devices are left to us": r.SkipDevices && r.Devices == nil,
	} {
		if !ok {
			t.Errorf("%s: wrong in %+v", name, r)
		}
	}
}

func TestConvertNothingIsNothingToWrite(t *testing.T) {
	for name, res := range map[string]*specs.LinuxResources{
		"no resources": nil, "empty": {},
		"devices only": {Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"}}},
		"empty parts":  {Memory: &specs.LinuxMemory{}, CPU: &specs.LinuxCPU{}, Pids: &specs.LinuxPids{}},
	} {
		r, err := convert(res, true)
		if err != nil || isSet(r) {
			t.Errorf("%s: isSet = %v, %v", name, isSet(r), err)
		}
	}
}

func TestConvertErrors(t *testing.T) {
	for want, res := range map[string]*specs.LinuxResources{
		`linux.resources.memory.limit: -2 `:            {Memory: &specs.LinuxMemory{Limit: ptr(int64(-2))}},
		`linux.resources.memory.swap: 5 `:              {Memory: &specs.LinuxMemory{Limit: ptr(int64(10)), Swap: ptr(int64(5))}},
		`linux.resources.memory.swappiness: 101 `:      {Memory: &specs.LinuxMemory{Swappiness: ptr(uint64(101))}},
		`linux.resources.cpu.cpus: "one"`:              {CPU: &specs.LinuxCPU{Cpus: "one"}},
		`linux.resources.cpu.mems: "x"`:                {CPU: &specs.LinuxCPU{Mems: "x"}},
		`linux.resources.cpu.idle: 2 `:                 {CPU: &specs.LinuxCPU{Idle: ptr(int64(2))}},
		`linux.resources.blockIO.weight: 5 `:           {BlockIO: &specs.LinuxBlockIO{Weight: ptr(uint16(5))}},
		`linux.resources.blockIO.weightDevice[0]: `:    {BlockIO: &specs.LinuxBlockIO{WeightDevice: []specs.LinuxWeightDevice{{}}}},
		`linux.resources.hugepageLimits[0].pageSize: `: {HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "../../x"}}},
		`linux.resources.rdma: "a b"`:                  {Rdma: map[string]specs.LinuxRdma{"a b": {}}},
		`linux.resources.network.priorities[0].name: `: {Network: &specs.LinuxNetwork{Priorities: []specs.LinuxInterfacePriority{{Name: "a\nb"}}}},
		`linux.resources.unified: "../memory.max"`:     {Unified: map[string]string{"../memory.max": "1"}},
		`linux.resources.unified: "cgroup.procs"`:      {Unified: map[string]string{"cgroup.procs": "1"}},
	} {
		_, err := convert(res, true)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got error %v, want %q…", err, want)
		}
	}
	if _, err := convert(&specs.LinuxResources{Unified: map[string]string{"memory.high": "1"}}, false); err == nil {
		t.Error("unified was accepted on v1")
	}
	_, err := convert(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(-2))}, CPU: &specs.LinuxCPU{Cpus: "x"}}, true)
	if err == nil || strings.Count(err.Error(), "linux.resources.") != 2 {
		t.Errorf("two wrong fields gave %v", err)
	}
}

func TestIsPageSize(t *testing.T) {
	for s, want := range map[string]bool{"2MB": true, "1GB": true, "64KB": true, "": false, "MB": false, "02MB": false, "2M": false, "2TB": false, "2 MB": false} {
		if got := isPageSize(s); got != want {
			t.Errorf("isPageSize(%q) = %v", s, got)
		}
	}
}
