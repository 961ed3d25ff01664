package container

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/cgroup"
	"tongs/internal/state"
)

// Update changes the limits of a container that has not stopped. What the
// resources do not name stays; device rules always do.
func Update(store *state.Store, id string, res *specs.LinuxResources) error {
	d, err := store.Lookup(id)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Lock(); err != nil {
		return err
	}
	info, err := query(d)
	if err != nil {
		return err
	}
	if info.Status == Stopped {
		return ErrNotRunning
	}
	return withGroup(info.State, func(g *cgroup.Group) error { return g.Update(res) })
}
