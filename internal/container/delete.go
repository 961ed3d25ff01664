package container

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"tongs/internal/cgroup"
	"tongs/internal/resctrl"
	"tongs/internal/state"
)

// deathTimeout bounds the wait for a killed process (runc: 100 times 100 ms).
const deathTimeout = 10 * time.Second

// Delete removes a container that has stopped or was not started yet; with
// force also a running one, a missing one (no error), and one whose state
// cannot be read, of which warn is told. What was killed half-way through is
// finished by calling it again.
func Delete(store *state.Store, id string, force bool, warn func(string)) error {
	d, err := store.Lookup(id)
	if err == nil {
		defer d.Close()
		err = deleteDir(d, force, warn)
	}
	if force && errors.Is(err, state.ErrNotExist) {
		return nil
	}
	return err
}

func deleteDir(d *state.Dir, force bool, warn func(string)) error {
	// The lock waits for a create or start that is under way, and says whether
	// another delete was faster.
	if err := d.Lock(); err != nil {
		return err
	}
	st, err := d.Load()
	if err != nil {
		if !force {
			return err
		}
		if !errors.Is(err, state.ErrNotExist) {
			warn(fmt.Sprintf("%v: its processes and cgroup, if any, are not removed", err))
		}
		return d.Remove()
	}
	if !force {
		status, err := statusOf(d, st)
		if err != nil {
			return err
		}
		if status == Running || status == Paused {
			// runc's phrase; containerd's clients show it.
			return fmt.Errorf("cannot delete container %s that is not stopped: %s", d.ID(), status)
		}
	}
	return remove(d, st, warn)
}

// remove destroys a container and runs the hooks that come then.
func remove(d *state.Dir, st *state.State, warn func(string)) error {
	spec, err := configOf(d)
	if err != nil {
		warn("hooks.poststop: left out: " + err.Error())
	}
	if err := destroy(d, st); err != nil {
		return err
	}
	runPoststop(st, spec.Hooks.Poststop, warn, nil)
	return nil
}

// destroy ends all processes and removes what the container owns. The state
// goes last, so that a delete that is killed can be repeated. The directory must
// be locked: nobody else is creating or starting this container, whatever the
// phase in its state says.
func destroy(d *state.Dir, st *state.State) error {
	same, err := st.SameBoot()
	if err != nil {
		return err
	}
	if !same { // the paths may by now belong to others
		return d.Remove()
	}
	return destroyNow(d, st)
}

// destroyNow is destroy for a state of this boot.
func destroyNow(d *state.Dir, st *state.State) error {
	if err := endProcesses(st); err != nil {
		return err
	}
	if err := removeCgroup(st); err != nil {
		return err
	}
	if err := resctrl.Remove(st.Tongs.Owned.Resctrl); err != nil {
		return err
	}
	return d.Remove()
}

// endProcesses kills the first process and what else is the container's in the
// cgroup: leftovers of a container without a PID namespace, processes that a
// killed create had started before it wrote their pid.
func endProcesses(st *state.State) error {
	p, err := state.OpenProcess(st.Init())
	if err != nil && !errors.Is(err, state.ErrProcessDone) {
		return err
	}
	if err == nil {
		defer p.Close()
		if err := p.Signal(unix.SIGKILL); err != nil && !errors.Is(err, state.ErrProcessDone) {
			return err
		}
	}
	g, err := cgroup.Load(processPaths(st), st.Tongs.SystemdCgroup)
	if err != nil {
		return err
	}
	defer g.Close()
	if err := endOthers(g, ownsPIDNamespace(st) && st.Tongs.Phase != state.Creating); err != nil {
		return err
	}
	if p == nil {
		return nil
	}
	ended, err := p.Wait(deathTimeout)
	if err == nil && !ended {
		err = fmt.Errorf("cannot end process %d of the container: it is still there %v after SIGKILL", st.PID, deathTimeout)
	}
	return err
}

// endOthers sees to it that everything in the cgroup ends that is the
// container's. With a PID namespace of its own all have to end with the first
// one, if they are not frozen, and what is left belongs to somebody else: a
// cgroup whose container has stopped may have been given to another one.
func endOthers(g *cgroup.Group, namespaced bool) error {
	if namespaced {
		if frozen, err := g.Frozen(); err != nil || !frozen {
			return err
		}
		return g.Freeze(false)
	}
	pids, err := g.PIDs()
	if err == nil && len(pids) > 0 { // may be just the first one, dying or frozen
		err = g.Kill()
	}
	return err
}

// processPaths are the cgroups in which every process is the container's. In
// the creating phase those that are shared with others or were there before us
// are left out: create refuses a cgroup in use, and may have been about to.
func processPaths(st *state.State) map[string]string {
	if st.Tongs.Phase == state.Creating {
		return ownedPaths(st)
	}
	return st.CgroupPaths
}

// ownedPaths are the cgroups that were made for this container, by controller.
func ownedPaths(st *state.State) map[string]string {
	paths := make(map[string]string)
	for controller, path := range st.CgroupPaths {
		if slices.Contains(st.Tongs.Owned.Cgroups, path) {
			paths[controller] = path
		}
	}
	return paths
}

func removeCgroup(st *state.State) error {
	paths := ownedPaths(st)
	if st.Tongs.SystemdCgroup {
		paths = st.CgroupPaths // systemd made all of it for us
	}
	if len(paths) == 0 {
		return nil
	}
	g, err := cgroup.Load(paths, st.Tongs.SystemdCgroup)
	if err != nil {
		return err
	}
	defer g.Close()
	return g.Remove()
}
