package cgroup

import (
	"errors"
	"fmt"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/cgroups/fs2"
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

// set writes resource files, without devices. Those of linux.resources.unified
// come last, and win over other fields.
func (g *Group) set(r *cgroups.Resources) error {
	if !isSet(r) {
		return nil
	}
	if err := g.checkControllers(r); err != nil {
		return err
	}
	config := &cgroups.Cgroup{Resources: r, Rootless: g.rootless}
	if !g.unified {
		m, err := fs.NewManager(config, g.Paths())
		if err == nil {
			err = m.Set(r)
		}
		return g.explain(g.nameField(err))
	}
	files := r.Unified
	r.Unified = nil
	m, err := fs2.NewManager(config, g.hierarchies[0].Dir)
	if err == nil {
		err = m.Set(r)
	}
	r.Unified = files
	if err != nil {
		return g.explain(g.nameField(err))
	}
	return g.explain(g.setUnified(files))
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
