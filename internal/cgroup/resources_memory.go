package cgroup

import (
	"fmt"

	"github.com/opencontainers/cgroups"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// convertMemory: kernel, kernelTCP and useHierarchy are ignored as in runc;
// the kernel has removed them.
func convertMemory(r *cgroups.Resources, m *specs.LinuxMemory, unified bool) error {
	if m == nil {
		return nil
	}
	const field = "linux.resources.memory."
	for _, f := range []struct {
		name string
		from *int64
		to   *int64
	}{
		{"limit", m.Limit, &r.Memory},
		{"reservation", m.Reservation, &r.MemoryReservation},
		{"swap", m.Swap, &r.MemorySwap},
	} {
		if f.from == nil {
			continue
		}
		if *f.from < -1 {
			return fmt.Errorf("%s%s: %d is not a number of bytes or -1", field, f.name, *f.from)
		}
		*f.to = *f.from
	}
	if unified {
		// memory.swap is memory and swap together, v2's file is swap alone.
		if r.MemorySwap > 0 && r.Memory == 0 {
			return fmt.Errorf("%sswap: %d counts memory and swap together: cgroup v2 needs limit, too", field, r.MemorySwap)
		}
		if _, err := cgroups.ConvertMemorySwapToCgroupV2Value(r.MemorySwap, r.Memory); err != nil {
			return fmt.Errorf("%sswap: %d does not fit limit %d: it counts memory and swap together", field, r.MemorySwap, r.Memory)
		}
	} else if r.Memory > 0 && r.MemorySwap > 0 && r.MemorySwap < r.Memory {
		return fmt.Errorf("%sswap: %d is below limit %d: it counts memory and swap together", field, r.MemorySwap, r.Memory)
	}
	if s := m.Swappiness; s != nil {
		if *s > 100 && int64(*s) != -1 {
			return fmt.Errorf("%sswappiness: %d is not between 0 and 100", field, *s)
		}
		r.MemorySwappiness = s
	}
	r.OomKillDisable = m.DisableOOMKiller != nil && *m.DisableOOMKiller
	r.MemoryCheckBeforeUpdate = m.CheckBeforeUpdate != nil && *m.CheckBeforeUpdate
	return nil
}
