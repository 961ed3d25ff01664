package container

import (
	"errors"

	"tongs/internal/cgroup"
	"tongs/internal/state"
)

// errNotPaused is runc's phrase.
var errNotPaused = errors.New("container not paused")

// Pause freezes all processes of a created or running container.
func Pause(store *state.Store, id string) error {
	return freeze(store, id, true, func(s Status) error {
		if s != Created && s != Running {
			return ErrNotRunning
		}
		return nil
	})
}

// Resume lets the processes of a paused container go on.
func Resume(store *state.Store, id string) error {
	return freeze(store, id, false, func(s Status) error {
		if s != Paused {
			return errNotPaused
		}
		return nil
	})
}

func freeze(store *state.Store, id string, freeze bool, allowed func(Status) error) error {
	return withLocked(store, id, func(_ *state.Dir, info *Info) error {
		if err := allowed(info.Status); err != nil {
			return err
		}
		return withGroup(info.State, func(g *cgroup.Group) error { return g.Freeze(freeze) })
	})
}
