package cgroup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Update changes the limits of a running container; what res does not name
// stays, and device rules always stay, as with runc's update. If one limit
// cannot be set, those that were set before it are taken back. It lists the
// fields that have no effect (see Ignored).
func (g *Group) Update(res *specs.LinuxResources) ([]string, error) {
	r, err := convert(res, g.unified)
	if err != nil || !isSet(r) {
		return nil, err
	}
	return ignored(r, g.unified), g.update(r)
}

func (g *Group) update(r *cgroups.Resources) error {
	if len(g.hierarchies) == 0 {
		return errors.New("cannot set limits: the container has no cgroup")
	}
	var st unix.Stat_t
	if err := unix.Stat(g.procsDir(), &st); err != nil {
		return fmt.Errorf("cannot set limits: stat %q: %w", g.procsDir(), err)
	}
	if err := g.completeQuota(r); err != nil {
		return err
	}
	old := g.save(r)
	var err error
	if g.systemd != nil {
		err = g.updateUnit(r)
	} else {
		err = g.set(r)
	}
	if err != nil {
		old.restore()
	}
	return err
}

// completeQuota adds the quota to a period that comes alone, and the other way
// round, where both are one file (v2) or one property of a unit.
func (g *Group) completeQuota(r *cgroups.Resources) error {
	if (r.CpuQuota == 0) == (r.CpuPeriod == 0) || !g.unified && g.systemd == nil {
		return nil
	}
	quota, period, err := g.quota()
	if errors.Is(err, unix.ENOENT) {
		return nil // the controller is missing, which set says better
	}
	if err != nil {
		return fmt.Errorf("linux.resources.cpu: cannot read the present quota: %w", err)
	}
	if r.CpuQuota == 0 {
		r.CpuQuota = quota
	} else {
		r.CpuPeriod = period
	}
	return nil
}

// quota reads the quota, -1 for none, and the period, in microseconds.
func (g *Group) quota() (quota int64, period uint64, err error) {
	var text string
	if g.unified {
		text, err = readFile(g.dir(""), "cpu.max")
	} else if text, err = readFile(g.dir("cpu"), "cpu.cfs_quota_us"); err == nil {
		var p string
		p, err = readFile(g.dir("cpu"), "cpu.cfs_period_us")
		text += " " + p
	}
	if err != nil {
		return 0, 0, err
	}
	f := strings.Fields(strings.Replace(text, "max", "-1", 1))
	if len(f) != 2 {
		return 0, 0, fmt.Errorf("%q is not a quota and a period", text)
	}
	if quota, err = strconv.ParseInt(f[0], 10, 64); err == nil {
		period, err = strconv.ParseUint(f[1], 10, 64)
	}
	return quota, period, err
}
