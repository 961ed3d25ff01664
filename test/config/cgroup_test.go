package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
	"tongs/test/inside/report"
)

// resources uses each controller that this machine's v1 hierarchies have.
func resources() linuxtest.Edit {
	limit, reservation, swap, swappiness := int64(64<<20), int64(32<<20), int64(-1), uint64(10)
	shares, quota, period, pids := uint64(512), int64(50_000), uint64(100_000), int64(77)
	return func(s *specs.Spec) {
		r := s.Linux.Resources
		r.Memory = &specs.LinuxMemory{Limit: &limit, Reservation: &reservation, Swap: &swap, Swappiness: &swappiness}
		r.CPU = &specs.LinuxCPU{Shares: &shares, Quota: &quota, Period: &period, Cpus: "0", Mems: "0"}
		r.Pids = &specs.LinuxPids{Limit: &pids}
	}
}

// settings are the files that tell of resources, by controller of v1.
func settings() map[string][]string {
	return map[string][]string{
		"memory":  {"memory.limit_in_bytes", "memory.soft_limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.swappiness", "memory.oom_control"},
		"cpu":     {"cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us"},
		"cpuset":  {"cpuset.cpus", "cpuset.mems", "cpuset.cpu_exclusive"},
		"pids":    {"pids.max"},
		"devices": {"devices.list"},
		"blkio":   {"blkio.weight"},
		"freezer": {"freezer.state"},
	}
}

// readSettings reads them of the cgroups of a process, as seen from outside.
func readSettings(h *linuxtest.Host, pid int) map[string]string {
	values := make(map[string]string)
	for controller, files := range settings() {
		dir := h.CgroupDir(pid, controller)
		for _, f := range files {
			if data, err := os.ReadFile(filepath.Join(dir, f)); err == nil { // not every kernel has each
				list := strings.Split(strings.TrimSpace(string(data)), "\n")
				slices.Sort(list) // devices.list has no order
				values[f] = strings.Join(list, "\n")
			}
		}
	}
	return values
}

func TestResourcesV1(t *testing.T) {
	h := linuxtest.One(t)
	if h.V2 {
		t.Skip("this machine has no v1 hierarchies")
	}
	for _, c := range []struct {
		name string
		edit linuxtest.Edit
		want map[string]string
	}{
		{"all", resources(), map[string]string{"memory.limit_in_bytes": "67108864", "memory.soft_limit_in_bytes": "33554432", "memory.swappiness": "10",
			"cpu.shares": "512", "cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "100000", "cpuset.cpus": "0", "cpuset.mems": "0", "pids.max": "77"}},
		{"default", func(*specs.Spec) {}, map[string]string{"freezer.state": "THAWED"}},
		{"no resources", func(s *specs.Spec) { s.Linux.Resources = nil }, nil},
	} {
		h.Sub(t, c.name, func(t *testing.T, h *linuxtest.Host) {
			bundle := h.Bundle(linuxtest.Args("/bin/sleep", "1000"), c.edit)
			read := func(h *linuxtest.Host) map[string]string {
				h.Must("create", "--bundle", bundle, h.ID("a"))
				st, _ := h.State(h.ID("a"))
				values := readSettings(h, st.PID)
				h.Must("start", h.ID("a"))
				for f, v := range readSettings(h, st.PID) {
					linuxtest.Equal(t, f+" after start", v, values[f])
				}
				h.Must("delete", "--force", h.ID("a"))
				return values
			}
			tongs, runc := read(h), read(h.With("runc"))
			for f, want := range c.want {
				linuxtest.Equal(t, f, tongs[f], want)
			}
			for f, want := range runc {
				linuxtest.Equal(t, f+" with runc", tongs[f], want)
			}
			linuxtest.Equal(t, "number of settings with runc", len(tongs), len(runc))
		})
	}
}

// The container sees its own limits, where its configuration mounts them.
func TestResourcesFromInside(t *testing.T) {
	h := linuxtest.One(t)
	if h.V2 {
		t.Skip("this machine has no v1 hierarchies")
	}
	paths := []string{"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/cpu/cpu.shares", "/sys/fs/cgroup/cpuset/cpuset.cpus",
		"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/systemd"}
	for _, namespace := range []bool{false, true} {
		edits := []linuxtest.Edit{linuxtest.Inside(paths...), resources()}
		name := "host's cgroup namespace"
		if namespace {
			edits, name = append(edits, linuxtest.Namespace(specs.CgroupNamespace, "")), "own cgroup namespace"
		}
		each(t, h, []row{{name: name, edits: edits, differences: []difference{{"Paths :sys:fs:cgroup:* WriteError", "runc mounts it so that it may be written to"}},
			check: func(t *testing.T, r *report.Report) {
				for i, want := range []string{"67108864", "77", "512", "0"} {
					linuxtest.Equal(t, paths[i], strings.TrimSpace(r.Paths[paths[i]].Content), want)
				}
				linuxtest.Equal(t, "affinity", r.Affinity, "0")
			}}})
	}
}

// A mount of v1 hierarchies may be hidden by a later mount, and need not be the only
// one.
func TestCgroupMounts(t *testing.T) {
	h := linuxtest.One(t)
	if h.V2 {
		t.Skip("this machine has no v1 hierarchies")
	}
	root := h.Bundle() + "/rootfs"
	flags := []string{"nosuid", "noexec", "nodev", "relatime"}
	const standard, other = "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/cg/memory/memory.limit_in_bytes"
	differences := []difference{{"Mount :cg options", "the directory of the hierarchies has the flags of the mount"},
		{"Mount :sys:fs:cgroup+ options", "ro is for the directory of the hierarchies, too"},
		{"Mount :*:systemd* source", "the source of each v1 hierarchy is named cgroup"}}
	rows := []row{
		{name: "below the host's sysfs", edits: []linuxtest.Edit{linuxtest.Mount("/sys", "bind", "/sys", "rbind", "ro")},
			differences: []difference{{"Mount :sys:fs:cgroup* *", "of two mounts, that which was copied first is listed first: the host's, which is on top"}}},
		{name: "below a tmpfs on the directory above", edits: []linuxtest.Edit{linuxtest.Mount("/sys/fs", "tmpfs", "tmpfs", "mode=755")}},
		{name: "below a tmpfs", edits: []linuxtest.Edit{linuxtest.Mount("/sys/fs/cgroup", "tmpfs", "tmpfs", "mode=755")}},
		{name: "below another", edits: []linuxtest.Edit{linuxtest.Mount("/sys/fs/cgroup", "cgroup", "cgroup", append(flags, "ro")...)}, differences: differences,
			check: func(t *testing.T, r *report.Report) {
				linuxtest.Equal(t, "limit", strings.TrimSpace(r.Paths[standard].Content), "67108864")
			}},
		{name: "below a tmpfs, elsewhere", edits: []linuxtest.Edit{linuxtest.Mount("/cg/v1", "cgroup", "cgroup", flags...), linuxtest.Mount("/cg", "tmpfs", "tmpfs", "mode=755")}, differences: differences},
		{name: "two", edits: []linuxtest.Edit{linuxtest.Mount("/cg", "cgroup", "cgroup", flags...)}, differences: differences,
			check: func(t *testing.T, r *report.Report) {
				linuxtest.Equal(t, "limit", strings.TrimSpace(r.Paths[other].Content), "67108864")
				for point, want := range map[string]string{"/sys/fs/cgroup": "ro", "/sys/fs/cgroup/memory": "ro", "/cg": "rw", "/cg/memory": "rw"} {
					m, _ := r.At(point)
					linuxtest.Equal(t, point, m.Options, want+",nosuid,nodev,noexec,relatime")
				}
			}},
		{name: "below a root", edits: []linuxtest.Edit{linuxtest.Mount("/", "bind", root, "rbind"), linuxtest.Mount("/proc", "proc", "proc")},
			onlyTongs: "to runc 1.1.5 the root stays what it was"},
		{name: "below a tmpfs, no mount namespace", edits: []linuxtest.Edit{linuxtest.WithoutNamespace(specs.MountNamespace),
			func(s *specs.Spec) { s.Linux.MaskedPaths, s.Linux.ReadonlyPaths, s.Root.Readonly = nil, nil, false },
			linuxtest.Mount("/cg", "cgroup", "cgroup", flags...), linuxtest.Mount("/sys/fs/cgroup", "tmpfs", "tmpfs", "mode=755")},
			onlyTongs: "runc 1.1.5 mounts on the host"},
	}
	eachCgroupNamespace(t, h, rows, linuxtest.Inside(standard, other), resources())
}

// eachCgroupNamespace runs the rows, whose containers have the edits, with the host's
// cgroup namespace and with their own.
func eachCgroupNamespace(t *testing.T, h *linuxtest.Host, rows []row, edits ...linuxtest.Edit) {
	t.Helper()
	for _, c := range rows {
		c.edits = append(slices.Clone(edits), c.edits...)
		own := c
		own.name += ", own namespace"
		own.edits = append(slices.Clone(c.edits), linuxtest.Namespace(specs.CgroupNamespace, ""))
		each(t, h, []row{c, own})
	}
}

// The recursive options of a mount of v1 hierarchies are theirs, too, and win over
// the others.
func TestCgroupMountOptions(t *testing.T) {
	h := linuxtest.One(t)
	if h.V2 {
		t.Skip("this machine has no v1 hierarchies")
	}
	var rows []row
	for options, want := range map[string]string{
		"rro":                              "ro,relatime",
		"nosuid rnoexec rnodev":            "rw,nosuid,nodev,noexec,relatime",
		"ro noexec rrw":                    "rw,noexec,relatime",
		"rw rro rnosuid nosymfollow":       "ro,nosuid,relatime,nosymfollow",
		"noatime":                          "rw,noatime",
		"strictatime rnoatime":             "rw,noatime",
		"ro nosuid noexec nodev rrelatime": "ro,nosuid,nodev,noexec,relatime",
	} {
		rows = append(rows, row{name: options, onlyTongs: "runc ignores recursive options of a v1 cgroup mount",
			edits: []linuxtest.Edit{linuxtest.Inside("/sys/fs/cgroup", "/sys/fs/cgroup/cpu"), func(s *specs.Spec) {
				for i := range s.Mounts {
					if s.Mounts[i].Type == "cgroup" {
						s.Mounts[i].Options = strings.Fields(options)
					}
				}
			}},
			check: func(t *testing.T, r *report.Report) {
				for _, point := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/systemd"} {
					m, _ := r.At(point)
					linuxtest.Equal(t, point, m.Options, want)
				}
				for p, path := range r.Paths {
					linuxtest.Equal(t, "writing to "+p, path.WriteError == "read-only file system", strings.HasPrefix(want, "ro"))
				}
			}})
	}
	eachCgroupNamespace(t, h, rows)
}

// Limits are more than files: what exceeds them is ended or refused.
func TestLimitsWork(t *testing.T) {
	h := linuxtest.One(t)
	if h.V2 {
		t.Skip("this machine has no v1 hierarchies")
	}
	limit, pids := int64(8<<20), int64(3)
	memory := func(s *specs.Spec) {
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit, Swap: &limit}
	}
	r := h.Run("run", "--bundle", h.Bundle(memory, linuxtest.Args("/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=32M", "count=1")), h.ID("memory"))
	if r.Status != 137 {
		t.Errorf("32 MiB in 8: status %d, want 137; stderr %s", r.Status, r.Stderr)
	}
	few := func(s *specs.Spec) { s.Linux.Resources.Pids = &specs.LinuxPids{Limit: &pids} }
	r = h.Run("run", "--bundle", h.Bundle(few, linuxtest.Shell("for i in 1 2 3 4; do sleep 1000 & done; echo all")), h.ID("pids"))
	if strings.Contains(r.Stdout, "all") || !strings.Contains(r.Stderr, "fork") {
		t.Errorf("5 processes of 3: status %d, stdout %q, stderr %q", r.Status, r.Stdout, r.Stderr)
	}
}

// Where a controller is not there, a limit is an error that names it and not
// silence. (The v2 view here has no controllers: they are bound to v1.)
func TestResourcesWithoutController(t *testing.T) {
	h := linuxtest.OneV2(t)
	data, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	if err != nil {
		t.Fatal(err)
	}
	limit := int64(64 << 20)
	bundle := h.Bundle(linuxtest.Args("/bin/true"), func(s *specs.Spec) { s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit} })
	r := h.Run("run", "--bundle", bundle, h.ID("a"))
	if strings.Contains(string(data), "memory") {
		linuxtest.Equal(t, "status", r.Status, 0)
		return
	}
	if r.Status != 1 || !strings.Contains(r.Stderr, "memory") {
		t.Errorf("status %d, want 1; stderr %s", r.Status, r.Stderr)
	}
	linuxtest.Equal(t, "status of runc", h.With("runc").Run("run", "--bundle", bundle, h.ID("a")).Status, 1)
}

// linux.cgroupsPath says where. Directories above the container's own stay, as
// with runc, since others may be using them.
func TestCgroupsPath(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		for name, path := range map[string]string{"absolute": "/" + h.ID("group"), "relative": h.ID("group"), "deep": "/" + h.ID("above") + "/below"} {
			h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
				bundle := h.Bundle(linuxtest.Inside(), func(s *specs.Spec) { s.Linux.CgroupsPath = path })
				tongs := h.Look(h.Must("run", "--bundle", bundle, h.ID("a")).Stdout)
				for _, line := range tongs.Cgroup {
					if !h.V2 && !strings.HasSuffix(line, path) {
						t.Errorf("cgroup %s", line)
					}
				}
				linuxtest.Compare(t, tongs, h.Look(h.With("runc").Must("run", "--bundle", bundle, h.ID("a")).Stdout))
				h.RemoveCgroups(filepath.Base(filepath.Dir(path)))
			})
		}
	})
}
