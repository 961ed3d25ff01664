package cgroup

import (
	"errors"
	"fmt"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/cgroups/fs2"
	"golang.org/x/sys/unix"
)

// Stats is what the cgroup's files tell about the use of resources. Keys, order
// and what is left out are those of runc's events: cadvisor and containerd's
// older shims decode it.
type Stats struct {
	CPU     CPUStats           `json:"cpu"`
	CPUSet  CPUSetStats        `json:"cpuset"`
	Memory  MemoryStats        `json:"memory"`
	Pids    PidsStats          `json:"pids"`
	BlockIO BlockIOStats       `json:"blkio"`
	Hugetlb map[string]Hugetlb `json:"hugetlb"` // by page size
}

// CPUStats is time in nanoseconds.
type CPUStats struct {
	Usage      CPUUsage          `json:"usage"`
	Throttling CPUThrottling     `json:"throttling"`
	PSI        *cgroups.PSIStats `json:"psi,omitempty"`
}

// CPUUsage has the parts for each processor on cgroup v1 only.
type CPUUsage struct {
	Total        uint64   `json:"total,omitempty"`
	PerCPU       []uint64 `json:"percpu,omitempty"`
	PerCPUKernel []uint64 `json:"percpu_kernel,omitempty"`
	PerCPUUser   []uint64 `json:"percpu_user,omitempty"`
	Kernel       uint64   `json:"kernel"`
	User         uint64   `json:"user"`
}

// CPUThrottling tells how often linux.resources.cpu.quota was used up.
type CPUThrottling struct {
	Periods          uint64 `json:"periods,omitempty"`
	ThrottledPeriods uint64 `json:"throttledPeriods,omitempty"`
	ThrottledTime    uint64 `json:"throttledTime,omitempty"`
}

// CPUSetStats is of cgroup v1 (cpuset(7)).
type CPUSetStats struct {
	CPUs                  []uint16 `json:"cpus,omitempty"`
	CPUExclusive          uint64   `json:"cpu_exclusive"`
	Mems                  []uint16 `json:"mems,omitempty"`
	MemHardwall           uint64   `json:"mem_hardwall"`
	MemExclusive          uint64   `json:"mem_exclusive"`
	MemoryMigrate         uint64   `json:"memory_migrate"`
	MemorySpreadPage      uint64   `json:"memory_spread_page"`
	MemorySpreadSlab      uint64   `json:"memory_spread_slab"`
	MemoryPressure        uint64   `json:"memory_pressure"`
	SchedLoadBalance      uint64   `json:"sched_load_balance"`
	SchedRelaxDomainLevel int64    `json:"sched_relax_domain_level"`
}

// MemoryStats is in bytes.
type MemoryStats struct {
	Cache     uint64            `json:"cache,omitempty"`
	Usage     MemoryUsage       `json:"usage"`
	Swap      MemoryUsage       `json:"swap"` // memory and swap together
	Kernel    MemoryUsage       `json:"kernel"`
	KernelTCP MemoryUsage       `json:"kernelTCP"`
	Raw       map[string]uint64 `json:"raw,omitempty"` // memory.stat
	PSI       *cgroups.PSIStats `json:"psi,omitempty"`
}

// MemoryUsage is one of the kernel's counters.
type MemoryUsage struct {
	Limit   uint64 `json:"limit"`
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	FailCnt uint64 `json:"failcnt"`
}

// PidsStats is numbers of tasks; a limit of 0 is none.
type PidsStats struct {
	Current uint64 `json:"current,omitempty"`
	Limit   uint64 `json:"limit,omitempty"`
}

// BlockIOStats is by device and kind of operation.
type BlockIOStats struct {
	ServiceBytes []BlockIOEntry    `json:"ioServiceBytesRecursive,omitempty"`
	Serviced     []BlockIOEntry    `json:"ioServicedRecursive,omitempty"`
	Queued       []BlockIOEntry    `json:"ioQueueRecursive,omitempty"`
	ServiceTime  []BlockIOEntry    `json:"ioServiceTimeRecursive,omitempty"`
	WaitTime     []BlockIOEntry    `json:"ioWaitTimeRecursive,omitempty"`
	Merged       []BlockIOEntry    `json:"ioMergedRecursive,omitempty"`
	Time         []BlockIOEntry    `json:"ioTimeRecursive,omitempty"`
	Sectors      []BlockIOEntry    `json:"sectorsRecursive,omitempty"`
	PSI          *cgroups.PSIStats `json:"psi,omitempty"`
}

// BlockIOEntry is one line of a blkio file.
type BlockIOEntry struct {
	Major uint64 `json:"major,omitempty"`
	Minor uint64 `json:"minor,omitempty"`
	Op    string `json:"op,omitempty"`
	Value uint64 `json:"value,omitempty"`
}

// Hugetlb is the use of huge pages of one size, in bytes.
type Hugetlb struct {
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	FailCnt uint64 `json:"failcnt"`
}

// Stats reads the use of resources. What a missing controller would tell is 0.
func (g *Group) Stats() (*Stats, error) {
	if len(g.hierarchies) == 0 {
		return nil, errors.New("cannot read statistics: the container has no cgroup")
	}
	// Of a missing cgroup the module reports a use of 0.
	var st unix.Stat_t
	if err := unix.Stat(g.procsDir(), &st); err != nil {
		return nil, fmt.Errorf("cannot read statistics: stat %q: %w", g.procsDir(), err)
	}
	var m cgroups.Manager
	var err error
	config := &cgroups.Cgroup{Resources: &cgroups.Resources{}}
	if g.unified {
		m, err = fs2.NewManager(config, g.hierarchies[0].Dir)
	} else {
		m, err = fs.NewManager(config, g.Paths())
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read statistics: %w", err)
	}
	s, err := m.GetStats()
	if err != nil {
		return nil, fmt.Errorf("cannot read statistics: %w", err)
	}
	return newStats(s), nil
}

func newStats(s *cgroups.Stats) *Stats {
	cpu, mem, io := &s.CpuStats, &s.MemoryStats, &s.BlkioStats
	stats := &Stats{
		CPU: CPUStats{
			Usage: CPUUsage{Total: cpu.CpuUsage.TotalUsage, PerCPU: cpu.CpuUsage.PercpuUsage,
				PerCPUKernel: cpu.CpuUsage.PercpuUsageInKernelmode, PerCPUUser: cpu.CpuUsage.PercpuUsageInUsermode,
				Kernel: cpu.CpuUsage.UsageInKernelmode, User: cpu.CpuUsage.UsageInUsermode},
			Throttling: CPUThrottling(cpu.ThrottlingData), PSI: cpu.PSI},
		CPUSet: CPUSetStats(s.CPUSetStats),
		Memory: MemoryStats{Cache: mem.Cache, Usage: memoryUsage(mem.Usage), Swap: memoryUsage(mem.SwapUsage),
			Kernel: memoryUsage(mem.KernelUsage), KernelTCP: memoryUsage(mem.KernelTCPUsage), Raw: mem.Stats, PSI: mem.PSI},
		Pids: PidsStats(s.PidsStats),
		BlockIO: BlockIOStats{ServiceBytes: blockIOEntries(io.IoServiceBytesRecursive), Serviced: blockIOEntries(io.IoServicedRecursive),
			Queued: blockIOEntries(io.IoQueuedRecursive), ServiceTime: blockIOEntries(io.IoServiceTimeRecursive),
			WaitTime: blockIOEntries(io.IoWaitTimeRecursive), Merged: blockIOEntries(io.IoMergedRecursive),
			Time: blockIOEntries(io.IoTimeRecursive), Sectors: blockIOEntries(io.SectorsRecursive), PSI: io.PSI},
		Hugetlb: make(map[string]Hugetlb, len(s.HugetlbStats)),
	}
	for size, h := range s.HugetlbStats {
		stats.Hugetlb[size] = Hugetlb{Usage: h.Usage, Max: h.MaxUsage, FailCnt: h.Failcnt}
	}
	return stats
}

func memoryUsage(m cgroups.MemoryData) MemoryUsage {
	return MemoryUsage{Limit: m.Limit, Usage: m.Usage, Max: m.MaxUsage, FailCnt: m.Failcnt}
}

func blockIOEntries(list []cgroups.BlkioStatEntry) []BlockIOEntry {
	var entries []BlockIOEntry
	for _, e := range list {
		entries = append(entries, BlockIOEntry(e))
	}
	return entries
}
