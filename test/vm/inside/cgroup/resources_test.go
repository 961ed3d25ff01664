package cgroup

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// setting is a way to fill linux.resources.
type setting struct {
	name string
	set  func(r *specs.LinuxResources)
	want map[string]string // files, as runc writes them too
	// differ names files in which runc 1.1.5 differs, with the reason.
	differ map[string]string
	// withSystemd is the same of that driver.
	withSystemd map[string]string
	// unit names properties of the systemd unit that must be so.
	unit map[string]string
}

const newWeight = "cpu.shares are converted as since runc 1.3.2"

func pointer[T any](v T) *T { return &v }

// settings are all fields that mean something on cgroup v2.
func settings(t *testing.T) []setting {
	linuxtest.WeighDisk(t)
	major, minor := disk(t)
	device := major + ":" + minor
	throttle := func(rate uint64) []specs.LinuxThrottleDevice {
		var d specs.LinuxThrottleDevice
		var st unix.Stat_t
		if err := unix.Stat("/dev/vda", &st); err != nil {
			t.Fatal(err)
		}
		d.Major, d.Minor, d.Rate = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev)), rate
		return []specs.LinuxThrottleDevice{d}
	}
	return append(settingsRDMA(t), []setting{
		{name: "nothing", set: func(r *specs.LinuxResources) {}, want: map[string]string{"memory.max": "max", "cpu.weight": "100"}},
		{name: "memory and pids", set: func(r *specs.LinuxResources) {
			r.Memory = &specs.LinuxMemory{Limit: pointer[int64](64 << 20), Reservation: pointer[int64](32 << 20), Swap: pointer[int64](96 << 20)}
			r.Pids = &specs.LinuxPids{Limit: pointer[int64](77)}
		}, want: map[string]string{"memory.max": "67108864", "memory.low": "33554432", "memory.swap.max": "33554432", "pids.max": "77"},
			unit: map[string]string{"MemoryMax": "67108864", "MemoryLow": "33554432", "MemorySwapMax": "33554432", "TasksMax": "77"}},
		{name: "no limits and the least shares", set: func(r *specs.LinuxResources) {
			r.Memory = &specs.LinuxMemory{Limit: pointer[int64](-1), Swap: pointer[int64](-1)}
			r.Pids = &specs.LinuxPids{Limit: pointer[int64](-1)}
			r.CPU = &specs.LinuxCPU{Shares: pointer[uint64](2)}
		}, want: map[string]string{"memory.max": "max", "memory.swap.max": "max", "pids.max": "max", "cpu.weight": "1"},
			unit: map[string]string{"MemoryMax": "infinity", "TasksMax": "infinity", "CPUWeight": "1"}},
		{name: "cpu", set: func(r *specs.LinuxResources) {
			r.CPU = &specs.LinuxCPU{Shares: pointer[uint64](1024), Quota: pointer[int64](50_123), Period: pointer[uint64](200_000), Cpus: "1", Mems: "0"}
		}, want: map[string]string{"cpu.weight": "100", "cpuset.cpus": "1", "cpuset.mems": "0"},
			differ: map[string]string{"cpu.weight": newWeight, "cpu.weight.nice": newWeight},
			// Otherwise the value would change when systemd is reloaded.
			withSystemd: map[string]string{"cpu.max": "whole percents, as since runc 1.2"},
			unit:        map[string]string{"CPUWeight": "100", "CPUQuotaPerSecUSec": "260ms", "CPUQuotaPeriodUSec": "200ms", "AllowedCPUs": "1", "AllowedMemoryNodes": "0"}},
		{name: "quota alone and the most shares", set: func(r *specs.LinuxResources) {
			r.CPU = &specs.LinuxCPU{Quota: pointer[int64](20_000), Shares: pointer[uint64](262144)}
		}, want: map[string]string{"cpu.max": "20000 100000", "cpu.weight": "10000"}, unit: map[string]string{"CPUQuotaPerSecUSec": "200ms", "CPUWeight": "10000"}},
		{name: "period alone", set: func(r *specs.LinuxResources) { r.CPU = &specs.LinuxCPU{Period: pointer[uint64](50_000)} },
			want: map[string]string{"cpu.max": "max 50000"}},
		{name: "block I/O and huge pages", set: func(r *specs.LinuxResources) {
			r.BlockIO = &specs.LinuxBlockIO{Weight: pointer[uint16](300), ThrottleReadBpsDevice: throttle(1 << 20), ThrottleWriteBpsDevice: throttle(2 << 20),
				ThrottleReadIOPSDevice: throttle(300), ThrottleWriteIOPSDevice: throttle(400)}
			r.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 8 << 20}}
		}, want: map[string]string{"io.max": device + " rbps=1048576 wbps=2097152 riops=300 wiops=400", "hugetlb.2MB.max": "8388608",
			"io.bfq.weight": "default 300"},
			differ: map[string]string{"hugetlb.2MB.rsvd.max": "reservations are limited, too, as since runc 1.2"}},
		{name: "unified", set: func(r *specs.LinuxResources) {
			r.Unified = map[string]string{"memory.high": "50331648", "memory.min": "1048576", "cpu.max": "30000 100000", "cpu.weight": "33", "cpuset.cpus": "0",
				"pids.max": "55", "memory.oom.group": "1", "memory.swap.max": "max"}
		}, want: map[string]string{"memory.high": "50331648", "memory.min": "1048576", "cpu.max": "30000 100000", "cpu.weight": "33", "cpuset.cpus": "0",
			"pids.max": "55", "memory.oom.group": "1"},
			unit: map[string]string{"MemoryHigh": "50331648", "MemoryMin": "1048576", "CPUQuotaPerSecUSec": "300ms", "CPUWeight": "33", "AllowedCPUs": "0", "TasksMax": "55"}},
	}...)
}

// settingsRDMA needs a device.
func settingsRDMA(t *testing.T) []setting {
	device := linuxtest.RDMADevice(t)
	if device == "" {
		return nil
	}
	limit := func(l specs.LinuxRdma) func(r *specs.LinuxResources) {
		return func(r *specs.LinuxResources) { r.Rdma = map[string]specs.LinuxRdma{device: l} }
	}
	return []setting{
		{name: "RDMA", set: limit(specs.LinuxRdma{HcaHandles: pointer[uint32](3), HcaObjects: pointer[uint32](10_000)}),
			want: map[string]string{"rdma.max": device + " hca_handle=3 hca_object=10000"}},
		{name: "RDMA handles", set: limit(specs.LinuxRdma{HcaHandles: pointer[uint32](0)}), want: map[string]string{"rdma.max": device + " hca_handle=0 hca_object=max"}},
	}
}

// disk is the number of the machine's first disk.
func disk(t *testing.T) (major, minor string) {
	t.Helper()
	data, err := os.ReadFile("/sys/class/block/vda/dev")
	if err != nil {
		t.Fatal(err)
	}
	major, minor, _ = strings.Cut(strings.TrimSpace(string(data)), ":")
	return major, minor
}

// show prints what the container sees of its own settings.
const show = `cd /sys/fs/cgroup && for f in *.max *.low *.min *.high *.weight cpuset.cpus cpuset.mems memory.oom.group; do echo "$f $(cat $f)"; done`

func TestResources(t *testing.T) {
	h := linuxtest.One(t)
	each(t, h, func(t *testing.T, h *linuxtest.Host, d driver) {
		for _, s := range settings(t) {
			h.Sub(t, s.name, func(t *testing.T, h *linuxtest.Host) { testSetting(t, h, d, s) })
		}
	})
}

func testSetting(t *testing.T, h *linuxtest.Host, d driver, s setting) {
	name := h.ID("a")
	edits := []linuxtest.Edit{linuxtest.Shell(show), linuxtest.Namespace(specs.CgroupNamespace, ""), d.place(name),
		func(spec *specs.Spec) { s.set(spec.Linux.Resources) }}
	read := func(h *linuxtest.Host) (outside, properties map[string]string, inside string) {
		r := d.must(t, h, "create", "--bundle", h.Bundle(edits...), name)
		st, _ := h.State(name)
		outside = files(t, h.CgroupDir(st.PID, ""))
		if d.flags != nil {
			properties = unit(t, "e2e-"+name+".scope")
		}
		d.must(t, h, "start", name)
		h.WaitFor(name, "stopped")
		r.Reread()
		d.must(t, h, "delete", name)
		return outside, properties, r.Stdout
	}
	tongs, unitTongs, inside := read(h)
	runc, unitRunc, _ := read(h.With("runc"))
	for f, want := range s.want {
		if tongs[f] != want {
			t.Errorf("%s is %q, want %q", f, tongs[f], want)
		}
		if !strings.Contains(inside, f+" "+want) {
			t.Errorf("%s is not %q from inside:\n%s", f, want, inside)
		}
	}
	differ := maps.Clone(s.differ)
	if d.flags != nil && s.withSystemd != nil {
		maps.Copy(differ, s.withSystemd)
	}
	equal(t, tongs, runc, differ)
	for p, want := range s.unit {
		if d.flags != nil && unitTongs[p] != want {
			t.Errorf("the property %s is %q, want %q", p, unitTongs[p], want)
		}
	}
	if d.flags != nil {
		compareUnits(t, unitTongs, unitRunc, s)
	}
}

// own are properties that belong to one unit alone.
func own() []string {
	return []string{"Id", "Names", "Description", "InvocationID", "ControlGroup", "ControlGroupId", "*Timestamp", "*TimestampMonotonic", "FragmentPath", "Where",
		"MemoryCurrent", "MemoryAvailable", "CPUUsageNSec", "TasksCurrent", "IO*Bytes", "IO*Operations", "Controller"}
}

// compareUnits compares with runc's.
func compareUnits(t *testing.T, tongs, runc map[string]string, s setting) {
	t.Helper()
	differ := map[string]string{
		"DevicePolicy":     "systemd is not told of devices",
		"DeviceAllow":      "the same",
		"DropInPaths":      "runc makes the unit and then changes it; these files are the changes",
		"NeedDaemonReload": "the same",
	}
	if s.differ["cpu.weight"] != "" {
		differ["CPUWeight"] = newWeight
	}
	for _, values := range []map[string]string{tongs, runc} {
		for key := range values {
			if matches(own(), key) {
				delete(values, key)
			}
		}
	}
	equal(t, tongs, runc, differ)
}

// An error names the field, the file and what the kernel said.
func TestWrongResources(t *testing.T) {
	rdma := linuxtest.RDMADevice(t)
	h := linuxtest.One(t)
	each(t, h, func(t *testing.T, h *linuxtest.Host, d driver) {
		for _, c := range []struct {
			name  string
			set   func(r *specs.LinuxResources)
			words []string
		}{
			{"no such CPU", func(r *specs.LinuxResources) { r.CPU = &specs.LinuxCPU{Cpus: "7"} }, []string{"linux.resources.cpu.cpus", "cpuset.cpus"}},
			{"period", func(r *specs.LinuxResources) {
				r.CPU = &specs.LinuxCPU{Quota: pointer[int64](1), Period: pointer[uint64](1)}
			}, []string{"linux.resources.cpu", "cpu.max", syscall.EINVAL.Error()}},
			{"huge pages", func(r *specs.LinuxResources) {
				r.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "3MB", Limit: 1}}
			}, []string{"linux.resources.hugepageLimits", "hugetlb.3MB.max"}},
			{"RDMA device", func(r *specs.LinuxResources) {
				r.Rdma = map[string]specs.LinuxRdma{"mlx5_9": {HcaHandles: pointer[uint32](1)}}
			}, []string{"linux.resources.rdma: cannot set ", "mlx5_9 hca_handle=1", "rdma.max: no such device"}},
			{"RDMA limit", func(r *specs.LinuxResources) {
				r.Rdma = map[string]specs.LinuxRdma{rdma: {HcaHandles: pointer[uint32](1 << 31)}}
			}, []string{"linux.resources.rdma: cannot set ", rdma + " hca_handle=2147483648", "rdma.max: invalid argument"}},
			{"unified", func(r *specs.LinuxResources) { r.Unified = map[string]string{"memory.nonsense": "1"} }, []string{"linux.resources.unified", "memory.nonsense"}},
			{"unknown controller", func(r *specs.LinuxResources) { r.Unified = map[string]string{"nonsense.max": "1"} }, []string{"linux.resources.unified", "nonsense"}},
			{"unified value", func(r *specs.LinuxResources) { r.Unified = map[string]string{"memory.high": "many"} }, []string{"linux.resources.unified", "memory.high", "many"}},
		} {
			if c.name == "RDMA limit" && rdma == "" {
				continue
			}
			h.Sub(t, c.name, func(t *testing.T, h *linuxtest.Host) {
				name := h.ID("a")
				r := d.run(h, "run", "--bundle", h.Bundle(linuxtest.Args("/bin/true"), d.place(name), func(s *specs.Spec) { c.set(s.Linux.Resources) }), name)
				if r.Status != 1 {
					t.Errorf("status %d, want 1", r.Status)
				}
				for _, w := range c.words {
					if !strings.Contains(r.Stderr, w) {
						t.Errorf("no %q in: %s", w, r.Stderr)
					}
				}
				h.CheckClean()
			})
		}
	})
}

// A program that grows at once meets its limits: they are there before its first
// instruction.
func TestLimitsBeforeFirstInstruction(t *testing.T) {
	h := linuxtest.One(t)
	each(t, h, func(t *testing.T, h *linuxtest.Host, d driver) {
		name := h.ID("a")
		limit := func(s *specs.Spec) {
			s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: pointer[int64](8 << 20), Swap: pointer[int64](8 << 20)}
			s.Linux.Resources.Pids = &specs.LinuxPids{Limit: pointer[int64](3)}
		}
		bundle := h.Bundle(limit, d.place(name), linuxtest.Args("/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=32M", "count=1"))
		if r := d.run(h, "run", "--bundle", bundle, name); r.Status != 137 {
			t.Errorf("32 MiB of 8: status %d, want 137; stderr %s", r.Status, r.Stderr)
		}
		bundle = h.Bundle(limit, d.place(name), linuxtest.Shell("for i in 1 2 3 4; do sleep 1000 & done; echo all"))
		if r := d.run(h, "run", "--bundle", bundle, name); strings.Contains(r.Stdout, "all") || !strings.Contains(r.Stderr, "fork") {
			t.Errorf("5 processes of 3: status %d, stdout %q, stderr %q", r.Status, r.Stdout, r.Stderr)
		}
	})
}

// The container's user gets the cgroup where it is to be divided further, and
// only then.
func TestDelegatedCgroup(t *testing.T) {
	h := linuxtest.One(t)
	mapped := func(s *specs.Spec) {
		linuxtest.Namespace(specs.UserNamespace, "")(s)
		s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100_000, Size: 65536}}
		s.Linux.GIDMappings = s.Linux.UIDMappings
	}
	writable := func(s *specs.Spec) {
		for i, m := range s.Mounts {
			if m.Destination == "/sys/fs/cgroup" {
				s.Mounts[i].Options = []string{"nosuid", "noexec", "nodev", "rw"}
			}
		}
	}
	const divide = "cd /sys/fs/cgroup && mkdir below && echo $$ >below/cgroup.procs && echo +memory >cgroup.subtree_control && echo 1048576 >below/memory.low && echo divided"
	each(t, h, func(t *testing.T, h *linuxtest.Host, d driver) {
		name := h.ID("a")
		edits := []linuxtest.Edit{mapped, writable, linuxtest.Namespace(specs.CgroupNamespace, ""), d.place(name)}
		r := d.run(h, "run", "--bundle", h.Bundle(append(edits, linuxtest.Shell(divide))...), name)
		if strings.TrimSpace(r.Stdout) != "divided" {
			t.Errorf("status %d, stdout %q, stderr %s", r.Status, r.Stdout, r.Stderr)
		}
		r = d.run(h, "run", "--bundle", h.Bundle(append(edits, linuxtest.Shell("echo 1 >/sys/fs/cgroup/memory.max"))...), name)
		if !strings.Contains(r.Stderr, "ermission denied") {
			t.Errorf("the container may change its own limit: %q", r.Stderr)
		}
		look := func(h *linuxtest.Host) map[string]string {
			d.must(t, h, "create", "--bundle", h.Bundle(append(edits, linuxtest.Args("/bin/true"))...), name)
			st, _ := h.State(name)
			list := owners(t, h.CgroupDir(st.PID, ""))
			d.must(t, h, "delete", "--force", name)
			return list
		}
		got := look(h)
		if d.flags != nil { // runc 1.1.5 does it with this driver only
			equal(t, got, look(h.With("runc")), nil)
		}
	})
}

// owners lists what in a directory is not root's.
func owners(t *testing.T, dir string) map[string]string {
	t.Helper()
	list := make(map[string]string)
	all, err := filepath.Glob(dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(all, dir) {
		var st unix.Stat_t
		if err := unix.Lstat(f, &st); err == nil && st.Uid != 0 {
			list[filepath.Base(f)] = "the user's"
		}
	}
	if len(list) == 0 {
		t.Errorf("all of %s is root's", dir)
	}
	return list
}
