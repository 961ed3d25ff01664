package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// checkControllers finds what cgroup v1 has no hierarchy for: the module would
// not say which field that is. On v2 it is up to the files (see nameField).
func (g *Group) checkControllers(r *cgroups.Resources) error {
	if g.unified {
		return nil
	}
	var errs []error
	for _, c := range []struct {
		set               bool
		field, controller string
	}{
		{r.Memory != 0 || r.MemoryReservation != 0 || r.MemorySwap != 0 || r.MemorySwappiness != nil || r.OomKillDisable, "memory", "memory"},
		{r.CpuShares != 0 || r.CpuQuota != 0 || r.CpuPeriod != 0 || r.CpuBurst != nil || r.CpuRtRuntime != 0 || r.CpuRtPeriod != 0 || r.CPUIdle != nil, "cpu", "cpu"},
		{r.CpusetCpus != "", "cpu.cpus", "cpuset"},
		{r.CpusetMems != "", "cpu.mems", "cpuset"},
		{r.PidsLimit != nil, "pids", "pids"},
		{needsBlockIO(r), "blockIO", "blkio"},
		{len(r.HugetlbLimit) > 0, "hugepageLimits", "hugetlb"},
		{r.NetClsClassid != 0, "network.classID", "net_cls"},
		{len(r.NetPrioIfpriomap) > 0, "network.priorities", "net_prio"},
		{len(r.Rdma) > 0, "rdma", "rdma"},
	} {
		if c.set && g.dir(c.controller) == "" {
			errs = append(errs, fmt.Errorf("linux.resources.%s: cannot set: this host has no %s controller mounted (cgroup v1)", c.field, c.controller))
		}
	}
	return errors.Join(errs...)
}

// nameField begins an error of the module with the field whose control file it
// was about, and says what it means if the file is missing.
func (g *Group) nameField(err error) error {
	if err == nil {
		return nil
	}
	// The module's own judgements, which come without a file.
	for _, m := range []struct{ text, field string }{
		{"unable to set memory limit", "memory.limit"}, // it was EBUSY
		{"rejecting memory limit", "memory.limit"},     // memory.checkBeforeUpdate
		{"rejecting memory+swap limit", "memory.swap"},
	} {
		if strings.HasPrefix(err.Error(), m.text) {
			return fmt.Errorf("linux.resources.%s: %w", m.field, err)
		}
	}
	var pe *os.PathError
	if !errors.As(err, &pe) {
		return fmt.Errorf("linux.resources: cannot set: %w", err)
	}
	dir, file := filepath.Split(pe.Path)
	field := fieldOf(file)
	if field == "" {
		return fmt.Errorf("linux.resources: cannot set: %w", err)
	}
	// The module says which value it was, as `failed to write "value": …`.
	value, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "failed to write "), ": ")
	if !strings.HasPrefix(err.Error(), "failed to write ") {
		value = ""
	}
	return fmt.Errorf("linux.resources.%s: cannot set%s: %w%s", field, strings.TrimSuffix(" "+value, " "), pe, missing(dir, file, err))
}

// missing says why a control file is not there, if it is not.
func missing(dir, file string, err error) string {
	if !errors.Is(err, unix.ENOENT) {
		return ""
	}
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return " (the cgroup is gone)"
	}
	controller, _, _ := strings.Cut(file, ".")
	text, err := readFile(dir, "cgroup.controllers")
	if err == nil && controller != "cgroup" && !slices.Contains(strings.Fields(text), controller) {
		return fmt.Sprintf(" (the controller %s is not available in the cgroup, which has %q)", controller, strings.TrimSpace(text))
	}
	return " (this kernel has no such file)"
}

// setUnified writes the files of linux.resources.unified, line by line: of a
// file with a line for each device the kernel takes one at a time.
func (g *Group) setUnified(files map[string]string) error {
	dir := g.hierarchies[0].Dir
	for _, name := range sortedKeys(files) {
		for line := range strings.SplitAfterSeq(files[name], "\n") {
			if line == "" && files[name] != "" {
				continue // behind the last line's end
			}
			if err := writeFile(dir, name, line); err != nil {
				return fmt.Errorf("linux.resources.unified[%q]: cannot set %q: %w%s", name, line, err, missing(dir, name, err))
			}
		}
	}
	return nil
}

// fieldOf maps a control file to its field; "" for those of linux.resources.unified.
func fieldOf(file string) string {
	switch file {
	case "memory.max", "memory.limit_in_bytes":
		return "memory.limit"
	case "memory.low", "memory.soft_limit_in_bytes":
		return "memory.reservation"
	case "memory.swap.max", "memory.memsw.limit_in_bytes":
		return "memory.swap"
	case "memory.swappiness":
		return "memory.swappiness"
	case "memory.oom_control":
		return "memory.disableOOMKiller"
	case "cpu.weight", "cpu.shares":
		return "cpu.shares"
	case "cpu.max", "cpu.cfs_quota_us":
		return "cpu.quota"
	case "cpu.cfs_period_us":
		return "cpu.period"
	case "cpu.max.burst", "cpu.cfs_burst_us":
		return "cpu.burst"
	case "cpu.rt_runtime_us":
		return "cpu.realtimeRuntime"
	case "cpu.rt_period_us":
		return "cpu.realtimePeriod"
	case "cpu.idle":
		return "cpu.idle"
	case "cpuset.cpus":
		return "cpu.cpus"
	case "cpuset.mems":
		return "cpu.mems"
	case "pids.max":
		return "pids.limit"
	case "net_cls.classid":
		return "network.classID"
	case "net_prio.ifpriomap":
		return "network.priorities"
	case "rdma.max":
		return "rdma"
	}
	switch {
	case len(file) > 8 && file[:8] == "hugetlb.":
		return "hugepageLimits"
	case len(file) > 3 && file[:3] == "io.", len(file) > 6 && file[:6] == "blkio.":
		return "blockIO"
	}
	return ""
}
