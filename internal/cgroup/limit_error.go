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
	field := fieldOf(file, err.Error())
	if field == "" {
		return fmt.Errorf("linux.resources: cannot set: %w", err)
	}
	// The module says which value it was.
	value := ""
	for _, prefix := range []string{"failed to write ", weightOfDevice} {
		if rest, ok := strings.CutPrefix(err.Error(), prefix); ok {
			value, _, _ = strings.Cut(rest, ": ")
		}
	}
	return fmt.Errorf("linux.resources.%s: cannot set%s: %w%s", field, strings.TrimSuffix(" "+value, " "), pe, missing(dir, file, err))
}

// weightOfDevice begins what the module says if a line of io.bfq.weight is refused.
const weightOfDevice = "setting device weight "

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
// The module's text tells the fields of v2's io.max and io.bfq.weight apart.
func fieldOf(file, text string) string {
	for _, f := range []struct{ file, field string }{
		{"memory.max", "memory.limit"}, {"memory.limit_in_bytes", "memory.limit"},
		{"memory.low", "memory.reservation"}, {"memory.soft_limit_in_bytes", "memory.reservation"},
		{"memory.swap.max", "memory.swap"}, {"memory.memsw.limit_in_bytes", "memory.swap"},
		{"memory.swappiness", "memory.swappiness"}, {"memory.oom_control", "memory.disableOOMKiller"},
		{"cpu.weight", "cpu.shares"}, {"cpu.shares", "cpu.shares"},
		{"cpu.max", "cpu.quota"}, {"cpu.cfs_quota_us", "cpu.quota"}, {"cpu.cfs_period_us", "cpu.period"},
		{"cpu.max.burst", "cpu.burst"}, {"cpu.cfs_burst_us", "cpu.burst"},
		{"cpu.rt_runtime_us", "cpu.realtimeRuntime"}, {"cpu.rt_period_us", "cpu.realtimePeriod"},
		{"cpu.idle", "cpu.idle"}, {"cpuset.cpus", "cpu.cpus"}, {"cpuset.mems", "cpu.mems"},
		{"pids.max", "pids.limit"}, {"net_cls.classid", "network.classID"}, {"net_prio.ifpriomap", "network.priorities"}, {"rdma.max", "rdma"},
		{"blkio.weight", "blockIO.weight"}, {"blkio.bfq.weight", "blockIO.weight"}, {"io.weight", "blockIO.weight"},
		{"blkio.leaf_weight", "blockIO.leafWeight"},
		{"blkio.weight_device", "blockIO.weightDevice"}, {"blkio.bfq.weight_device", "blockIO.weightDevice"},
		{"blkio.leaf_weight_device", "blockIO.weightDevice"},
		{"blkio.throttle.read_bps_device", "blockIO.throttleReadBpsDevice"}, {"blkio.throttle.write_bps_device", "blockIO.throttleWriteBpsDevice"},
		{"blkio.throttle.read_iops_device", "blockIO.throttleReadIOPSDevice"}, {"blkio.throttle.write_iops_device", "blockIO.throttleWriteIOPSDevice"},
	} {
		if f.file == file {
			return f.field
		}
	}
	if strings.HasPrefix(file, "hugetlb.") {
		return "hugepageLimits"
	}
	if file == "io.bfq.weight" {
		if strings.HasPrefix(text, weightOfDevice) {
			return "blockIO.weightDevice"
		}
		return "blockIO.weight"
	}
	if file == "io.max" {
		for _, f := range []struct{ key, field string }{{" rbps=", "ReadBps"}, {" wbps=", "WriteBps"}, {" riops=", "ReadIOPS"}, {" wiops=", "WriteIOPS"}} {
			if strings.Contains(text, f.key) {
				return "blockIO.throttle" + f.field + "Device"
			}
		}
	}
	if strings.HasPrefix(file, "io.") || strings.HasPrefix(file, "blkio.") {
		return "blockIO"
	}
	return ""
}
