package container

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/cgroup"
	"tongs/internal/state"
)

// Changes are what `update` changes of a container.
type Changes struct {
	Resources                  *specs.LinuxResources
	L3CacheSchema, MemBwSchema string       // as in linux.intelRdt
	Warn                       func(string) // gets a line for each field that has no effect
}

// Update changes the limits of a container that has not stopped. What the
// changes do not name stays; device rules always do.
func Update(store *state.Store, id string, c Changes) error {
	return withLocked(store, id, func(d *state.Dir, info *Info) error {
		if info.Status == Stopped {
			return ErrNotRunning
		}
		return withGroup(info.State, func(g *cgroup.Group) error {
			schemas := c.L3CacheSchema != "" || c.MemBwSchema != ""
			if schemas { // before anything is changed
				if err := checkSchemas(info.State, c.L3CacheSchema, c.MemBwSchema); err != nil {
					return err
				}
			}
			ignored, err := g.Update(c.Resources)
			for _, field := range ignored {
				c.Warn(field + ": cgroup v2 has nothing like it; ignored")
			}
			if err != nil || !schemas {
				return err
			}
			pids, err := g.PIDs()
			if err != nil {
				return err
			}
			return updateResctrl(d, info.State, pids, c.L3CacheSchema, c.MemBwSchema)
		})
	})
}
