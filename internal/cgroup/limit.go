package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/cgroups/fs2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Limit puts linux.resources into force: device rules always, the rest when
// there is any. It must have returned before the container's first
// instruction. Without systemd it can run before or after Join, and beside
// the rest of the set-up; with systemd, after Join.
func (g *Group) Limit() error {
	if len(g.hierarchies) == 0 {
		return nil
	}
	if err := g.set(g.resources); err != nil {
		return err
	}
	return g.limitDevices()
}

// Update changes the limits of a running container; what res does not name
// stays, and device rules always stay, as with runc's update.
func (g *Group) Update(res *specs.LinuxResources) error {
	r, err := convert(res, g.unified)
	if err != nil {
		return err
	}
	if len(g.hierarchies) == 0 && isSet(r) {
		return errors.New("cannot set limits: the container has no cgroup")
	}
	if g.systemd != nil && isSet(r) {
		if err := g.updateUnit(r); err != nil {
			return err
		}
	}
	return g.set(r)
}

// set writes resource files, without devices.
func (g *Group) set(r *cgroups.Resources) error {
	if !isSet(r) {
		return nil
	}
	var m cgroups.Manager
	var err error
	config := &cgroups.Cgroup{Resources: r, Rootless: g.rootless}
	switch {
	case g.unified:
		m, err = fs2.NewManager(config, g.hierarchies[0].Dir)
	default:
		m, err = fs.NewManager(config, g.Paths())
	}
	if err == nil {
		err = m.Set(r)
	}
	return g.explain(nameField(err))
}

func (g *Group) limitDevices() error {
	dir := g.dir("devices")
	if g.unified {
		dir = g.dir("")
	}
	var err error
	switch {
	case dir == "":
		err = errors.New("there is no devices cgroup")
	case g.unified:
		err = g.attachDevices()
	default:
		err = g.devices.writeV1(dir)
	}
	if err == nil || (isForbidden(err) && (g.rootless || inUserNamespace())) {
		// Without privileges there is no way to limit devices, and none
		// to make them: the kernel refuses mknod in a user namespace.
		return nil
	}
	return fmt.Errorf("linux.resources.devices: %w", err)
}

// attachDevices loads and attaches the device program to the v2 cgroup.
func (g *Group) attachDevices() error {
	prog, err := loadDeviceProgram(g.devices.program())
	if err != nil {
		return fmt.Errorf("cannot load device program: %w", err)
	}
	defer unix.Close(prog)
	dir, err := g.open()
	if err != nil {
		return err
	}
	var old []uint32
	if !g.made {
		// Someone else's directory, or a systemd unit: a program may be
		// attached. All attached ones must agree, so it has to go, but
		// only when ours is there.
		if old, err = devicePrograms(dir); err != nil {
			return fmt.Errorf("cannot list device programs: %w", err)
		}
	}
	if err := attachProgram(dir, prog); err != nil {
		return fmt.Errorf("cannot attach device program: %w", err)
	}
	for _, id := range old {
		if err := detachProgram(dir, id); err != nil && !isForbidden(err) && !isGone(err) {
			return fmt.Errorf("cannot detach device program %d: %w", id, err)
		}
	}
	return nil
}

// inUserNamespace tells whether root here is not root of the host: only the
// first user namespace maps all numbers (user_namespaces(7)).
func inUserNamespace() bool {
	text, err := readFile("/proc/self", "uid_map")
	var inside, outside, size uint64
	n, _ := fmt.Sscan(text, &inside, &outside, &size)
	return err == nil && (n != 3 || inside != 0 || outside != 0 || size != 1<<32-1)
}

// nameField begins an error with the field whose control file it was about.
func nameField(err error) error {
	if err == nil {
		return nil
	}
	var pe *os.PathError
	if errors.As(err, &pe) {
		if field := fieldOf(filepath.Base(pe.Path)); field != "" {
			if errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("linux.resources.%s: cannot set: the controller is not available in the cgroup: %w", field, pe)
			}
			return fmt.Errorf("linux.resources.%s: cannot set: %w", field, err)
		}
	}
	return fmt.Errorf("linux.resources: cannot set: %w", err)
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

// TryDevices loads the program that allows the default devices, and asks for those
// of the root cgroup, which takes the rights to attach one.
func TryDevices() error {
	policy, err := newDevicePolicy(nil)
	if err != nil {
		return err
	}
	prog, err := loadDeviceProgram(policy.program())
	if err != nil {
		return fmt.Errorf("cannot load: %w", err)
	}
	unix.Close(prog)
	dir, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", root, err)
	}
	defer unix.Close(dir)
	if _, err := devicePrograms(dir); err != nil {
		return fmt.Errorf("cannot list: %w", err)
	}
	return nil
}
