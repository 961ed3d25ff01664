package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/systemd"
)

// unit is a container's systemd scope (or slice), through the cgroups module.
type unit struct {
	manager cgroups.Manager
}

// locateSystemd reads linux.cgroupsPath as slice:prefix:name. Parts left out
// are the default slice, "tongs" and the container's id: tongs-<id>.scope in
// system.slice, or in user.slice without root.
func (g *Group) locateSystemd(path string, o Options) error {
	slice, prefix, name := "", "tongs", o.ID
	if path != "" {
		parts := strings.Split(path, ":")
		if len(parts) != 3 || parts[2] == "" || strings.Contains(path, "/") {
			return fmt.Errorf("linux.cgroupsPath: %q is not of the form slice:prefix:name", path)
		}
		slice, prefix, name = parts[0], parts[1], parts[2]
	}
	if slice != "" {
		if _, err := systemd.ExpandSlice(slice); err != nil {
			return fmt.Errorf("linux.cgroupsPath: %q is not the name of a slice", slice)
		}
	}
	config := &cgroups.Cgroup{
		Name: name, ScopePrefix: prefix, Parent: slice,
		Resources: g.resources, Systemd: true, Rootless: o.Rootless,
	}
	return g.manageSystemd(config, nil)
}

// loadSystemd finds the unit's name and slice in the path.
func (g *Group) loadSystemd() error {
	dir := g.procsDir()
	config := &cgroups.Cgroup{
		Name: filepath.Base(dir), Parent: filepath.Base(filepath.Dir(dir)),
		Resources: &cgroups.Resources{SkipDevices: true}, Systemd: true, Rootless: g.rootless,
	}
	if scope, ok := strings.CutSuffix(config.Name, ".scope"); ok {
		// The module puts prefix and name together with a "-" again.
		config.ScopePrefix, config.Name, ok = strings.Cut(scope, "-")
		if !ok {
			return fmt.Errorf("cannot find the systemd unit of cgroup %q", dir)
		}
	}
	return g.manageSystemd(config, g.Paths())
}

func (g *Group) manageSystemd(config *cgroups.Cgroup, paths map[string]string) error {
	if !systemd.IsRunningSystemd() {
		return errors.New("cannot use the systemd cgroup driver: systemd is not running")
	}
	var m cgroups.Manager
	var err error
	if g.unified {
		m, err = systemd.NewUnifiedManager(config, paths[""])
	} else {
		m, err = systemd.NewLegacyManager(config, paths)
	}
	if err != nil {
		return fmt.Errorf("cannot use the systemd cgroup driver: %w", err)
	}
	g.systemd = &unit{manager: m}
	if paths == nil {
		for name, dir := range m.GetPaths() {
			g.add(name, "", dir)
		}
		g.sort()
	}
	return nil
}

// start makes the unit around its first process.
func (u *unit) start(pid int) error {
	if err := u.manager.Apply(pid); err != nil {
		return fmt.Errorf("cannot start systemd unit: %w", err)
	}
	return nil
}

// stop ends the unit. That of a unit which has ended by itself is not an error.
func (u *unit) stop() error {
	if err := u.manager.Destroy(); err != nil {
		return fmt.Errorf("cannot stop systemd unit: %w", err)
	}
	return nil
}
