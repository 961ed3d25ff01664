// Package cgroup decides where a container's cgroup is, makes it, limits it,
// kills what is in it and removes it: on cgroup v2, on v1 and on the hybrid of
// both (treated as v1, joining the v2 tree as well), directly or as a systemd
// unit.
//
// The v2 path that every container takes (make, open, limit devices, remove)
// is a handful of system calls of our own. The opencontainers/cgroups module
// writes the resource files, and is not called when there is nothing to write.
//
// It deliberately does not:
//   - mount anything: Hierarchies tells the mount code what to show;
//   - start or wait for processes: FD serves the clone, Join the rest;
//   - remember anything: Paths and Owned are what a state file keeps;
//   - remove parent directories, which other containers may be using.
//
// The order of a life: New, Owned (into the state file), Create, FD, start the
// process, Join, Limit; later Load, Kill, Remove.
package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/opencontainers/cgroups"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Options are what decides about a cgroup besides config.json.
type Options struct {
	ID       string // the container's id: the default name of the cgroup
	Systemd  bool   // let systemd make the cgroup (--systemd-cgroup)
	Disabled bool   // there shall be none (--cgroup-manager disabled)
	Rootless bool   // do without a cgroup where permission and configuration let us
	Auto     bool   // the same if this is not the host's root but that of a user namespace
}

// Group is the cgroup of one container. It is not safe for concurrent use,
// except that Limit may run while the container is being set up.
type Group struct {
	unified     bool        // pure cgroup v2
	hierarchies []Hierarchy // sorted by first name; exactly one when unified
	resources   *cgroups.Resources
	devices     devicePolicy
	systemd     *unit // nil: we make the directories
	rootless    bool
	auto        bool // see isRootless
	defaultPath bool // linux.cgroupsPath was empty

	owned      []string // see Owned
	knowsOwned bool
	made       bool // the v2 directory is ours: no foreign device program in it
	fd         int  // of the v2 directory; -1 until FD
	placed     bool // FD was handed out for CLONE_INTO_CGROUP
}

// Hierarchy is one mounted cgroup tree and the container's place in it.
type Hierarchy struct {
	// Names are the v1 controllers as state.json has them ("cpu", "cpuacct",
	// "name=systemd"); one empty name is the v2 tree.
	Names []string
	// Mountpoint is where the runtime sees the tree, Dir the container's own
	// directory below it. Both are absolute paths of the host.
	Mountpoint, Dir string
}

// Unified tells whether the host has cgroup v2 only.
func (g *Group) Unified() bool { return g.unified }

// Hierarchies returns every tree that the container is in: what a mount of
// type "cgroup" shows. None when a rootless container has no cgroup.
func (g *Group) Hierarchies() []Hierarchy { return g.hierarchies }

// New decides where the cgroup of a container is and what its limits are, and
// creates nothing. Its error lists every wrong field of linux.resources, each
// beginning with its path.
func New(spec *specs.Spec, o Options) (*Group, error) {
	unified, errFind := isUnified()
	g := &Group{unified: unified, fd: -1, rootless: o.Rootless, auto: o.Auto}
	var path string
	var res *specs.LinuxResources
	if spec.Linux != nil {
		path, res = spec.Linux.CgroupsPath, spec.Linux.Resources
	}
	g.defaultPath = path == ""
	if strings.IndexByte(path, 0) >= 0 {
		return nil, fmt.Errorf("linux.cgroupsPath: %q contains a NUL byte", path)
	}
	r, errRes := convert(res, unified)
	devices, errDev := newDevicePolicy(res)
	if err := errors.Join(errRes, errDev); err != nil {
		return nil, err
	}
	g.resources, g.devices = r, devices
	err := errFind
	switch {
	case err != nil:
	case o.Disabled:
		return g, g.checkDisabled()
	case o.Systemd:
		err = g.locateSystemd(spec, path, o)
	case unified:
		err = g.locateUnified(path, o.ID)
	default:
		err = g.locateV1(path, o.ID)
	}
	if err != nil && (o.Systemd || !g.goWithout()) {
		return nil, err
	}
	return g, nil
}

// Load returns the cgroup of an existing container from what Paths returned
// when it was created. It looks at nothing on disk. It has no limits, so it is
// not for Create and Limit.
func Load(paths map[string]string, systemd bool) (*Group, error) {
	g := &Group{fd: -1, knowsOwned: true}
	_, hasV2 := paths[""]
	g.unified = hasV2 && len(paths) == 1
	for name, dir := range paths {
		if dir != filepath.Clean(dir) || !strings.HasPrefix(dir, root+"/") {
			return nil, fmt.Errorf("cannot use cgroup path %q of %q: it must be a clean path below %s", dir, name, root)
		}
		g.add(name, "", dir)
	}
	g.sort()
	if systemd && len(paths) > 0 {
		g.loadSystemd()
	}
	return g, nil
}

// Paths returns the directories by controller in the form of runc's state
// field cgroup_paths: v1 controller name to path, and "" for cgroup v2.
func (g *Group) Paths() map[string]string {
	paths := make(map[string]string, len(g.hierarchies))
	for _, h := range g.hierarchies {
		for _, name := range h.Names {
			paths[name] = h.Dir
		}
	}
	return paths
}

// dir returns the container's directory for a controller, or "".
func (g *Group) dir(name string) string {
	for _, h := range g.hierarchies {
		for _, n := range h.Names {
			if n == name {
				return h.Dir
			}
		}
	}
	return ""
}
