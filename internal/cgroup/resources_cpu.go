package cgroup

import (
	"fmt"
	"strings"

	"github.com/opencontainers/cgroups"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func convertCPU(r *cgroups.Resources, c *specs.LinuxCPU, unified bool) error {
	if c == nil {
		return nil
	}
	if c.Shares != nil {
		// v1 has a range; it would be clamped in silence. v2's weight is
		// converted into one.
		if s := *c.Shares; !unified && s != 0 && (s < 2 || s > 262144) {
			return fmt.Errorf("linux.resources.cpu.shares: %d is not between 2 and 262144", s)
		}
		r.CpuShares = *c.Shares
		// Quadratic, with 1024 shares as weight 100 (runc#4772).
		r.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(*c.Shares)
	}
	if c.Quota != nil {
		r.CpuQuota = *c.Quota
	}
	if c.Period != nil {
		r.CpuPeriod = *c.Period
	}
	r.CpuBurst, r.CPUIdle = c.Burst, c.Idle
	if c.RealtimeRuntime != nil {
		r.CpuRtRuntime = *c.RealtimeRuntime
	}
	if c.RealtimePeriod != nil {
		r.CpuRtPeriod = *c.RealtimePeriod
	}
	if !isList(c.Cpus) {
		return fmt.Errorf("linux.resources.cpu.cpus: %q is not a list like 0-3,7", c.Cpus)
	}
	if !isList(c.Mems) {
		return fmt.Errorf("linux.resources.cpu.mems: %q is not a list like 0-1", c.Mems)
	}
	r.CpusetCpus, r.CpusetMems = c.Cpus, c.Mems
	if b := c.Burst; b != nil && r.CpuQuota > 0 && *b > uint64(r.CpuQuota) {
		return fmt.Errorf("linux.resources.cpu.burst: %d is above quota %d", *b, r.CpuQuota)
	}
	if i := c.Idle; i != nil && *i != 0 && *i != 1 {
		return fmt.Errorf("linux.resources.cpu.idle: %d is not 0 or 1", *i)
	}
	return nil
}

// isList admits the characters of cpuset(7)'s list format, with "all" and "N"
// (5.12); the kernel judges the rest.
func isList(s string) bool { return strings.Trim(s, "0123456789,-:/ \nalN") == "" }
