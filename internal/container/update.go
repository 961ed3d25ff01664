package container

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/cgroup"
	"tongs/internal/state"
)

// Update changes the limits of a container that has not stopped. What the
// resources do not name stays; device rules always do.
func Update(store *state.Store, id string, res *specs.LinuxResources) error {
	return withLocked(store, id, func(_ *state.Dir, info *Info) error {
		if info.Status == Stopped {
			return ErrNotRunning
		}
		return withGroup(info.State, func(g *cgroup.Group) error { return g.Update(res) })
	})
}
