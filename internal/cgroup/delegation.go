package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// isRootless reports whether missing permissions are to be expected. The user
// namespace is looked at only when one is missing.
func (g *Group) isRootless() bool { return g.rootless || g.auto && inUserNamespace() }

// goWithout gives the cgroup up, and reports whether it may: an ordinary user
// whose container neither names a cgroup nor asks for limits goes without, as
// with runc.
func (g *Group) goWithout() bool {
	if !g.defaultPath || needsController(g.resources) || !g.isRootless() {
		return false
	}
	g.hierarchies, g.owned, g.placed = nil, nil, false
	return true
}

// checkDisabled refuses limits to a container that shall have no cgroup, and a name of
// one. Rules for devices, which every engine writes, are left out.
func (g *Group) checkDisabled() error {
	var errs []error
	if !g.defaultPath {
		errs = append(errs, errors.New("linux.cgroupsPath: there is no cgroup with --cgroup-manager disabled"))
	}
	if needsController(g.resources) {
		errs = append(errs, errors.New("linux.resources: there are no limits with --cgroup-manager disabled"))
	}
	return errors.Join(errs...)
}

// GiveUp removes the cgroup that Create has made and goes without, and reports
// whether it may: the process could not be put into it.
func (g *Group) GiveUp() bool {
	made := g.owned
	g.Close()
	if !g.goWithout() {
		return false
	}
	removeAll(made)
	return true
}

// explain adds to the error of an ordinary user what has to be configured for
// the limits that are asked for (cgroups(7), "Cgroups delegation").
func (g *Group) explain(err error) error {
	if err == nil || !isForbidden(err) && !errors.Is(err, unix.ENOENT) || g.systemd != nil || !g.isRootless() {
		return err
	}
	needed := controllers(g.resources)
	if !g.unified {
		return fmt.Errorf("%w: cgroup v1 cannot be delegated to a user (on v2 it can)", err)
	}
	parent := filepath.Dir(g.hierarchies[0].Dir)
	text, errRead := readFile(parent, "cgroup.controllers")
	have := strings.Fields(text)
	missing := slices.DeleteFunc(slices.Clone(needed), func(c string) bool { return slices.Contains(have, c) })
	switch {
	case isForbidden(err):
		return fmt.Errorf("%w: %s has to be delegated to the user; with systemd, run in a unit with Delegate=%s, as systemd-run --user --scope -p Delegate=yes does",
			err, parent, strings.Join(needed, " "))
	case errRead == nil && len(missing) > 0:
		return fmt.Errorf("%w: %s has no controller %s; with systemd, set Delegate=%s of user@.service", err, parent, strings.Join(missing, ", "), strings.Join(needed, " "))
	case errRead == nil:
		return fmt.Errorf("%w: cgroup.subtree_control of %s has to have %s", err, parent, strings.Join(needed, ", "))
	}
	return err
}

// controllers names the v2 controllers that the resources need.
func controllers(r *cgroups.Resources) []string {
	list := []string{}
	add := func(name string, needed bool) {
		if needed {
			list = append(list, name)
		}
	}
	add("cpu", r.CpuShares != 0 || r.CpuWeight != 0 || r.CpuQuota != 0 || r.CpuPeriod != 0 || r.CpuBurst != nil || r.CPUIdle != nil)
	add("cpuset", r.CpusetCpus != "" || r.CpusetMems != "")
	add("hugetlb", len(r.HugetlbLimit) > 0)
	add("io", needsBlockIO(r))
	add("memory", r.Memory != 0 || r.MemoryReservation != 0 || r.MemorySwap != 0)
	add("pids", r.PidsLimit != nil)
	add("rdma", len(r.Rdma) > 0)
	for file := range r.Unified {
		name, _, _ := strings.Cut(file, ".")
		add(name, name != "cgroup" && !slices.Contains(list, name))
	}
	slices.Sort(list)
	return list
}
