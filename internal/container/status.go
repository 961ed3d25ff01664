// Package container is the life cycle: Create, Start, Run, Kill, Delete, and
// what Query and List see of it. What a container is at a moment is found out
// from its process, its start FIFO and its cgroup; state.json only says which
// these are.
//
// It deliberately does not
//   - know a field of config.json: package setup does;
//   - print or parse anything for the user: package cli does;
//   - remember anything itself between two calls: package state does;
//   - remove what the state does not list as made for this container.
package container

import (
	"errors"
	"slices"

	"tongs/internal/cgroup"
	"tongs/internal/state"
)

// Status is the status of a container in the words of the specification
// (runtime-spec 1.3, runtime § State), and "paused" as runc adds it.
type Status string

const (
	Creating Status = "creating"
	Created  Status = "created"
	Running  Status = "running"
	Paused   Status = "paused"
	Stopped  Status = "stopped"
)

// Info is a container as seen at one moment.
type Info struct {
	State  *state.State
	Status Status
	UID    int // the host's user who created it
}

// PID is the container's first process, or 0 if it has ended.
func (i *Info) PID() int {
	if i.Status == Stopped {
		return 0
	}
	return i.State.PID
}

// Query tells about a container without disturbing commands that change it.
func Query(store *state.Store, id string) (*Info, error) {
	d, err := store.Lookup(id)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return query(d)
}

// withLocked does something with a container that no other command changes
// meanwhile.
func withLocked(store *state.Store, id string, do func(*state.Dir, *Info) error) error {
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
	return do(d, info)
}

func query(d *state.Dir) (*Info, error) {
	st, err := d.Load()
	if err != nil {
		return nil, err
	}
	status, err := statusOf(d, st)
	if err != nil {
		return nil, err
	}
	return &Info{State: st, Status: status, UID: d.UID()}, nil
}

// statusOf finds the status from what is, not from what was written: the file
// only says whether the creation came to its end.
func statusOf(d *state.Dir, st *state.State) (Status, error) {
	same, err := st.SameBoot()
	if err != nil {
		return "", err
	}
	if !same {
		return Stopped, nil
	}
	who := st.Init()
	if st.Tongs.Phase == state.Creating {
		who = st.Tongs.Runtime
	}
	alive, err := isAlive(who)
	if err != nil {
		return "", err
	}
	switch {
	case !alive: // or a create that was killed: delete cleans up
		return Stopped, nil
	case st.Tongs.Phase == state.Creating:
		return Creating, nil
	}
	frozen, err := isFrozen(st)
	if err != nil {
		return "", err
	}
	if frozen {
		return Paused, nil
	}
	if st.Tongs.Phase == state.Running {
		return Running, nil
	}
	waits, err := d.HasFIFO()
	if err != nil {
		return "", err
	}
	if waits {
		return Created, nil
	}
	return Running, nil
}

func isAlive(id state.ProcessID) (bool, error) {
	p, err := state.OpenProcess(id)
	if errors.Is(err, state.ErrProcessDone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	p.Close()
	return true, nil
}

func isFrozen(st *state.State) (bool, error) {
	g, err := cgroup.Load(st.CgroupPaths, st.Tongs.SystemdCgroup)
	if err != nil {
		return false, err
	}
	defer g.Close()
	return g.Frozen()
}

// ownsPIDNamespace reports whether the container has a PID namespace that was
// made for it, so that all its processes die with the first.
func ownsPIDNamespace(st *state.State) bool {
	return slices.Contains(st.Config.Namespaces, state.Namespace{Type: "NEWPID"})
}
