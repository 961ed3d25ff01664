package cgroup

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"

	"tongs/internal/dbus"
)

// property is (sv) of StartTransientUnit and SetUnitProperties.
type property struct {
	Name  string
	Value dbus.Variant
}

func prop(name string, value any) property { return property{name, dbus.MakeVariant(value)} }

// infinity is what systemd calls no limit.
const infinity = uint64(math.MaxUint64)

// usualPeriod of the CPU quota in microseconds, in the kernel and in systemd.
const usualPeriod = 100_000

// properties are the limits that systemd has a property for, see
// systemd.resource-control(5). It would otherwise write its own idea of them
// into the files when it is reloaded. The quota in r is rounded as systemd does,
// so that the file gets the same value from both.
func (g *Group) properties(b *bus, r *cgroups.Resources) ([]property, error) {
	var list []property
	add := func(name string, value any) { list = append(list, prop(name, value)) }
	if g.unified {
		if r.Memory != 0 {
			add("MemoryMax", uint64(r.Memory))
		}
		if r.MemoryReservation != 0 {
			add("MemoryLow", uint64(r.MemoryReservation))
		}
		swap, err := cgroups.ConvertMemorySwapToCgroupV2Value(r.MemorySwap, r.Memory)
		if err != nil {
			return nil, fmt.Errorf("linux.resources.memory.swap: %w", err)
		}
		if swap != 0 {
			add("MemorySwapMax", uint64(swap))
		}
		if r.CPUIdle != nil && *r.CPUIdle == 1 && b.hasIdle() {
			add("CPUWeight", uint64(0))
		} else if r.CpuWeight != 0 {
			add("CPUWeight", r.CpuWeight)
		}
	} else {
		if r.Memory != 0 {
			add("MemoryLimit", uint64(r.Memory))
		}
		if r.CpuShares != 0 {
			add("CPUShares", r.CpuShares)
		}
		if r.BlkioWeight != 0 {
			add("BlockIOWeight", uint64(r.BlkioWeight))
		}
	}
	list = append(list, quotaProperties(&r.CpuQuota, r.CpuPeriod)...)
	if r.PidsLimit != nil {
		add("TasksMax", tasks(*r.PidsLimit))
	}
	for name, set := range map[string]string{"AllowedCPUs": r.CpusetCpus, "AllowedMemoryNodes": r.CpusetMems} {
		if set == "" {
			continue
		}
		bits, err := setBits(set)
		if err != nil {
			return nil, fmt.Errorf("linux.resources.cpu: %q is not a list like 0-3,7: %w", set, err)
		}
		add(name, bits)
	}
	unified, err := unifiedProperties(b, r.Unified)
	return append(list, unified...), err
}

// quotaProperties makes the two properties of a CPU quota.
func quotaProperties(quota *int64, period uint64) []property {
	var list []property
	if period != 0 {
		list = append(list, prop("CPUQuotaPeriodUSec", period))
	}
	if *quota == 0 && period == 0 {
		return list
	}
	perSecond := infinity
	if *quota > 0 {
		period = cmp.Or(period, usualPeriod)
		// systemd keeps whole percents of a CPU.
		const percent = 10_000
		perSecond = uint64(*quota) * 1_000_000 / period
		if perSecond%percent != 0 {
			perSecond += percent - perSecond%percent
			*quota = int64(perSecond * period / 1_000_000)
		}
	}
	return append(list, prop("CPUQuotaPerSecUSec", perSecond))
}

// tasks: 0 would be nothing at all to systemd, and is one process to the kernel's
// users.
func tasks(limit int64) uint64 {
	if limit < 0 {
		return infinity
	}
	return uint64(max(1, limit))
}

// hasIdle: weight 0 is cpu.idle since systemd 252.
func (b *bus) hasIdle() bool { return b.version() >= 252 }

// version is the leading number of systemd's version, or 0.
func (b *bus) version() int {
	text, err := b.managerProperty("Version")
	if err != nil {
		return 0
	}
	text = strings.TrimLeft(text, "v")
	if i := strings.IndexFunc(text, func(c rune) bool { return c < '0' || c > '9' }); i >= 0 {
		text = text[:i]
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return n
}

// unifiedProperties translates linux.resources.unified. Files without a property
// are only written.
func unifiedProperties(b *bus, files map[string]string) ([]property, error) {
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	var list []property
	for _, name := range names {
		value := strings.TrimSpace(files[name])
		p, err := unifiedProperty(b, name, value)
		if err != nil {
			return nil, fmt.Errorf("linux.resources.unified[%q]: cannot understand %q: %w", name, value, err)
		}
		list = append(list, p...)
	}
	return list, nil
}

func unifiedProperty(b *bus, name, value string) ([]property, error) {
	number := map[string]string{"memory.high": "MemoryHigh", "memory.low": "MemoryLow", "memory.min": "MemoryMin", "memory.max": "MemoryMax",
		"memory.swap.max": "MemorySwapMax", "pids.max": "TasksMax", "cpu.weight": "CPUWeight"}
	set := map[string]string{"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}
	switch {
	case number[name] != "":
		n := infinity
		if value != "max" {
			var err error
			if n, err = strconv.ParseUint(value, 10, 64); err != nil {
				return nil, err
			}
		}
		if name == "pids.max" {
			n = max(1, n)
		}
		return []property{prop(number[name], n)}, nil
	case set[name] != "":
		bits, err := setBits(value)
		return []property{prop(set[name], bits)}, err
	case name == "cpu.idle" && value == "1" && b.hasIdle():
		return []property{prop("CPUWeight", uint64(0))}, nil
	case name == "cpu.max":
		return unifiedQuota(value)
	}
	return nil, nil
}

// unifiedQuota reads "quota [period]".
func unifiedQuota(value string) ([]property, error) {
	fields := strings.Fields(value)
	n, period := int64(-1), uint64(usualPeriod)
	var err error
	if len(fields) > 0 && fields[0] != "max" {
		n, err = strconv.ParseInt(fields[0], 10, 64)
	}
	if err == nil && len(fields) == 2 {
		period, err = strconv.ParseUint(fields[1], 10, 64)
	}
	if err != nil || len(fields) < 1 || len(fields) > 2 || period == 0 {
		return nil, fmt.Errorf("it is not a quota and a period: %w", err)
	}
	return quotaProperties(&n, period), nil
}
