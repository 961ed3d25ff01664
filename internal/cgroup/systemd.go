package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/opencontainers/cgroups"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// unit is a container's systemd scope. It is made around the container's process
// with all properties at once; what systemd has no property for is written to
// the files afterwards. Nobody but systemd creates or removes its directory.
//
// Device rules are not told to systemd on cgroup v2: it would make a device
// program of its own when it is reloaded, of what it understands of them, and
// only what all programs allow is allowed (runc#3708).
type unit struct {
	name  string
	slice string
	extra []property // from annotations
	user  bool       // of the user's service manager
	asked bool       // systemd may have the unit
}

// locateSystemd reads linux.cgroupsPath as slice:prefix:name. Parts left out
// are the default slice, "tongs" and the container's id: tongs-<id>.scope in
// system.slice, or in user.slice without root.
func (g *Group) locateSystemd(spec *specs.Spec, path string, o Options) error {
	u := &unit{user: isUserManager()}
	prefix, name := "tongs", o.ID
	if path != "" {
		parts := strings.Split(path, ":")
		if len(parts) != 3 || parts[2] == "" || strings.Contains(path, "/") {
			return fmt.Errorf("linux.cgroupsPath: %q is not of the form slice:prefix:name", path)
		}
		u.slice, prefix, name = parts[0], parts[1], parts[2]
	}
	if u.slice == "" {
		u.slice = "system.slice"
		if u.user {
			u.slice = "user.slice"
		}
	}
	dir, err := slicePath(u.slice)
	if err != nil {
		return fmt.Errorf("linux.cgroupsPath: %w", err)
	}
	if strings.HasSuffix(name, ".slice") {
		return fmt.Errorf("linux.cgroupsPath: %q is a slice, which holds no processes", name)
	}
	u.name = prefix + "-" + name + ".scope"
	if !runsSystemd() {
		return errors.New("cannot use the systemd cgroup driver: systemd is not running")
	}
	if u.extra, err = annotated(spec.Annotations); err != nil {
		return err
	}
	if u.user {
		above, err := u.managerGroup()
		if err != nil {
			return err
		}
		dir = above + dir
	}
	g.systemd = u
	dir = filepath.Join(dir, u.name)
	if g.unified {
		return g.locateUnified(dir, o.ID)
	}
	return g.locateV1(dir, o.ID)
}

// loadSystemd finds the unit's name in the path.
func (g *Group) loadSystemd() {
	g.systemd = &unit{name: filepath.Base(g.procsDir()), user: isUserManager(), asked: true}
}

// managerGroup is the cgroup of the user's service manager, below which its units
// are.
func (u *unit) managerGroup() (dir string, err error) {
	err = u.ask("cannot find the cgroups of the user's systemd", func(b *bus) error {
		dir, err = b.managerProperty("ControlGroup")
		return err
	})
	return dir, err
}

// ask connects to systemd for as long as f takes. The error begins with what
// could not be done.
func (u *unit) ask(what string, f func(*bus) error) error {
	b, err := connect(u.user)
	if err == nil {
		defer b.close()
		err = f(b)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// startUnit makes the unit around its first process, with the limits, and adds
// the controllers that systemd leaves alone.
func (g *Group) startUnit(pid int) error {
	u := g.systemd
	err := u.ask(fmt.Sprintf("cannot start systemd unit %q", u.name), func(b *bus) error {
		limits, err := g.properties(b, g.resources)
		if err != nil {
			return err
		}
		// The limits come last, and so prevail over annotations.
		all := append([]property{
			prop("Description", "tongs container "+u.name),
			prop("Slice", u.slice),
			prop("Delegate", true),
			prop("PIDs", []uint32{uint32(pid)}),
			prop("MemoryAccounting", true), prop("CPUAccounting", true), prop("IOAccounting", true), prop("TasksAccounting", true),
			prop("DefaultDependencies", false),
		}, u.extra...)
		if !g.unified {
			all = append(all, g.devices.properties()...)
		}
		u.asked = true
		return b.start(u.name, append(all, limits...))
	})
	if err != nil {
		return err
	}
	// systemd does not know of all controllers, and with v1 of all hierarchies.
	for _, h := range g.hierarchies {
		if err := g.createDir(h); err != nil && err != unix.EEXIST {
			return err
		}
	}
	if !g.unified {
		err = g.Enter(pid)
	}
	if err != nil {
		return err
	}
	in, err := g.Holds(pid)
	if err == nil && !in {
		err = fmt.Errorf("cannot start systemd unit %q: process %d is not in %q afterwards", u.name, pid, g.procsDir())
	}
	return err
}

// updateUnit sets other limits, and tells systemd of what the kernel has accepted.
func (g *Group) updateUnit(r *cgroups.Resources) error {
	var errSet error
	err := g.systemd.ask(fmt.Sprintf("cannot change systemd unit %q", g.systemd.name), func(b *bus) error {
		limits, err := g.properties(b, r) // may round what is set
		if err != nil {
			return err
		}
		if errSet = g.set(r); errSet != nil || len(limits) == 0 {
			return nil
		}
		_, err = b.call("SetUnitProperties", g.systemd.name, true, limits)
		return err
	})
	return errors.Join(err, errSet)
}

// stop ends the unit. That of a unit which has ended by itself is not an error.
func (u *unit) stop() error {
	if !u.asked {
		return nil
	}
	return u.ask(fmt.Sprintf("cannot stop systemd unit %q", u.name), func(b *bus) error { return b.stop(u.name) })
}
