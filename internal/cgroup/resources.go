package cgroup

import (
	"errors"
	"fmt"

	"github.com/opencontainers/cgroups"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// convert turns linux.resources into what the cgroups module takes, without
// devices, which are a devicePolicy. The error lists every wrong field.
func convert(res *specs.LinuxResources, unified bool) (*cgroups.Resources, error) {
	r := &cgroups.Resources{SkipDevices: true}
	if res == nil {
		return r, nil
	}
	return r, errors.Join(
		convertMemory(r, res.Memory, unified),
		convertCPU(r, res.CPU, unified),
		convertPids(r, res.Pids),
		convertBlockIO(r, res.BlockIO),
		convertHugepages(r, res.HugepageLimits),
		convertNetwork(r, res.Network),
		convertRdma(r, res.Rdma),
		convertUnified(r, res.Unified, unified),
	)
}

// Ignored lists the fields that are set and that the host's cgroup version has
// no file for. runc ignores them in silence.
func (g *Group) Ignored() []string { return ignored(g.resources, g.unified) }

func ignored(r *cgroups.Resources, unified bool) []string {
	if !unified {
		return nil
	}
	var list []string
	for _, f := range []struct {
		set   bool
		field string
	}{
		{r.MemorySwappiness != nil && int64(*r.MemorySwappiness) != -1, "memory.swappiness"},
		{r.OomKillDisable, "memory.disableOOMKiller"},
		{r.CpuRtRuntime != 0, "cpu.realtimeRuntime"},
		{r.CpuRtPeriod != 0, "cpu.realtimePeriod"},
		{r.BlkioLeafWeight != 0, "blockIO.leafWeight"},
		{r.NetClsClassid != 0, "network.classID"},
		{len(r.NetPrioIfpriomap) > 0, "network.priorities"},
	} {
		if f.set {
			list = append(list, "linux.resources."+f.field)
		}
	}
	return list
}

// isSet tells whether there is anything for the module to write. What cannot
// be set on the host's cgroup version counts too: the module knows.
func isSet(r *cgroups.Resources) bool {
	return needsController(r) || r.NetClsClassid != 0 || len(r.NetPrioIfpriomap) > 0
}

// needsController is isSet without the fields that v2 ignores.
func needsController(r *cgroups.Resources) bool {
	return r.Memory != 0 || r.MemoryReservation != 0 || r.MemorySwap != 0 ||
		r.MemorySwappiness != nil || r.OomKillDisable ||
		r.CpuShares != 0 || r.CpuWeight != 0 || r.CpuQuota != 0 || r.CpuPeriod != 0 || r.CpuBurst != nil ||
		r.CpuRtRuntime != 0 || r.CpuRtPeriod != 0 || r.CPUIdle != nil ||
		r.CpusetCpus != "" || r.CpusetMems != "" || r.PidsLimit != nil ||
		needsBlockIO(r) || len(r.HugetlbLimit) > 0 || len(r.Rdma) > 0 || len(r.Unified) > 0
}

func needsBlockIO(r *cgroups.Resources) bool {
	return r.BlkioWeight != 0 || r.BlkioLeafWeight != 0 || len(r.BlkioWeightDevice) > 0 ||
		len(r.BlkioThrottleReadBpsDevice) > 0 || len(r.BlkioThrottleWriteBpsDevice) > 0 ||
		len(r.BlkioThrottleReadIOPSDevice) > 0 || len(r.BlkioThrottleWriteIOPSDevice) > 0
}

func convertPids(r *cgroups.Resources, pids *specs.LinuxPids) error {
	if pids != nil {
		// The pointer keeps 0 (one process) and unset apart, runtime-spec
		// 1.3; negative is unlimited.
		r.PidsLimit = pids.Limit
	}
	return nil
}

func convertHugepages(r *cgroups.Resources, limits []specs.LinuxHugepageLimit) error {
	for i, l := range limits {
		// It becomes part of a file name.
		if !isPageSize(l.Pagesize) {
			return fmt.Errorf("linux.resources.hugepageLimits[%d].pageSize: %q is not a size like 2MB", i, l.Pagesize)
		}
		r.HugetlbLimit = append(r.HugetlbLimit, &cgroups.HugepageLimit{Pagesize: l.Pagesize, Limit: l.Limit})
	}
	return nil
}

// isPageSize: ^[1-9][0-9]*[KMG]B$ (config-linux § Huge page limits).
func isPageSize(s string) bool {
	n := len(s) - 2
	if n < 1 || s[0] == '0' || s[n+1] != 'B' || (s[n] != 'K' && s[n] != 'M' && s[n] != 'G') {
		return false
	}
	for _, c := range s[:n] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return n > 0
}

func convertRdma(r *cgroups.Resources, rdma map[string]specs.LinuxRdma) error {
	for device, l := range rdma {
		if device == "" || !isWord(device) {
			return fmt.Errorf("linux.resources.rdma: %q is not a device name", device)
		}
		if r.Rdma == nil {
			r.Rdma = make(map[string]cgroups.LinuxRdma, len(rdma))
		}
		r.Rdma[device] = cgroups.LinuxRdma{HcaHandles: l.HcaHandles, HcaObjects: l.HcaObjects}
	}
	return nil
}

// isWord keeps one name from being two in a space-separated control file.
func isWord(s string) bool {
	for _, c := range s {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}
