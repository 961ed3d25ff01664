package cgroup

import (
	"slices"
	"strings"

	"github.com/opencontainers/cgroups"
)

// settings are the contents of control files.
type settings []struct{ dir, file, value string }

// save reads the control files that Update may write for r.
func (g *Group) save(r *cgroups.Resources) settings {
	files := []string{
		"memory.max", "memory.swap.max", "memory.low",
		"memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.soft_limit_in_bytes", "memory.swappiness", "memory.oom_control",
		"cpu.max", "cpu.max.burst", "cpu.weight", "cpu.idle",
		"cpu.shares", "cpu.cfs_period_us", "cpu.cfs_quota_us", "cpu.cfs_burst_us", "cpu.rt_period_us", "cpu.rt_runtime_us",
		"cpuset.cpus", "cpuset.mems", "pids.max", "blkio.weight", "blkio.bfq.weight", "net_cls.classid",
	}
	for _, f := range keyed() {
		files = append(files, f.file)
	}
	for _, name := range sortedKeys(r.Unified) {
		if !slices.Contains(files, name) {
			files = append(files, name)
		}
	}
	for _, h := range r.HugetlbLimit {
		for _, suffix := range []string{".max", ".rsvd.max", ".limit_in_bytes", ".rsvd.limit_in_bytes"} {
			files = append(files, "hugetlb."+h.Pagesize+suffix)
		}
	}
	var s settings
	for _, h := range g.hierarchies {
		for _, file := range files {
			if value, err := readFile(h.Dir, file); err == nil { // each hierarchy has some of them
				s = append(s, struct{ dir, file, value string }{h.Dir, file, value})
			}
		}
	}
	return s
}

// keyed lists the control files with a line for each device or interface, which
// take one at a time, and what to write behind the name of one that had no line
// before. No line of the others ever goes.
func keyed() []struct{ file, unset string } {
	return []struct{ file, unset string }{
		{"io.max", "rbps=max wbps=max riops=max wiops=max"},
		{"io.weight", "default"}, {"io.bfq.weight", "default"}, {"blkio.bfq.weight_device", "default"},
		{"blkio.throttle.read_bps_device", "0"}, {"blkio.throttle.write_bps_device", "0"},
		{"blkio.throttle.read_iops_device", "0"}, {"blkio.throttle.write_iops_device", "0"},
		{"rdma.max", ""}, {"net_prio.ifpriomap", ""}, {"misc.max", ""},
	}
}

// restore writes back what is not as it was. The kernel may refuse one value
// until another has been written, so it goes round twice.
func (s settings) restore() {
	for range 2 {
		for _, f := range s {
			now, err := readFile(f.dir, f.file)
			if err != nil || now == f.value {
				continue
			}
			for _, text := range back(f.file, f.value, now) {
				_ = writeFile(f.dir, f.file, text) // the caller tells what went wrong first
			}
		}
	}
}

// back gives what has to be written for a file to be as it was.
func back(file, old, now string) []string {
	for _, k := range keyed() {
		if k.file == file {
			return backByLine(k.unset, old, now)
		}
	}
	if file == "memory.oom_control" { // one line of it can be written
		_, old, _ = strings.Cut(old, "oom_kill_disable ")
		old, _, _ = strings.Cut(old, "\n")
	}
	return []string{old}
}

func backByLine(unset, old, now string) []string {
	lines := func(text string) map[string]string {
		m := make(map[string]string)
		for line := range strings.Lines(text) {
			if key, _, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
				m[key] = strings.TrimSpace(line)
			}
		}
		return m
	}
	was, is := lines(old), lines(now)
	var list []string
	for _, key := range sortedKeys(is) {
		switch {
		case was[key] == is[key]:
		case was[key] != "":
			list = append(list, was[key])
		case unset != "":
			list = append(list, key+" "+unset)
		}
	}
	for _, key := range sortedKeys(was) {
		if is[key] == "" {
			list = append(list, was[key])
		}
	}
	return list
}
