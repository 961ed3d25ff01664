package container

import (
	"errors"

	"golang.org/x/sys/unix"

	"tongs/internal/cgroup"
	"tongs/internal/state"
)

// Phrases of runc. containerd's shim takes both for "not found" after a failed
// kill (with any letter case), and anything else for an unknown error.
var (
	ErrNotRunning      = errors.New("container not running")
	errAlreadyFinished = errors.New("os: process already finished")
)

// Kill sends a signal to the container's first process. SIGKILL to a container
// without a PID namespace of its own goes to its whole cgroup, since there the
// kernel does not end the others with the first. ErrNotRunning: too late.
//
// It takes no lock: a container whose create or delete hangs can be killed.
func Kill(store *state.Store, id string, sig unix.Signal) error {
	d, err := store.Lookup(id)
	if err != nil {
		return err
	}
	defer d.Close()
	info, err := query(d)
	if err != nil {
		return err
	}
	if sig == unix.SIGKILL && !ownsPIDNamespace(info.State) {
		return killGroup(info)
	}
	if info.Status == Stopped || info.State.PID == 0 {
		return ErrNotRunning
	}
	if err := signalInit(info.State, sig); err != nil {
		return err
	}
	if sig == unix.SIGKILL && info.Status == Paused {
		// A frozen process of cgroup v1 dies only when it is thawed.
		return withGroup(info.State, func(g *cgroup.Group) error {
			if g.Unified() {
				return nil
			}
			return g.Freeze(false)
		})
	}
	return nil
}

// killGroup kills every process in the cgroup, also what is left there after
// the first one has ended.
func killGroup(info *Info) error {
	if same, err := info.State.SameBoot(); err != nil || !same {
		return errors.Join(err, ErrNotRunning)
	}
	return withGroup(info.State, func(g *cgroup.Group) error {
		pids, err := g.PIDs()
		if err != nil {
			return err
		}
		if len(pids) > 0 {
			return g.Kill()
		}
		if info.Status == Stopped {
			return ErrNotRunning
		}
		return signalInit(info.State, unix.SIGKILL) // a container without cgroup
	})
}

// signalInit signals the first process if it still is the recorded one.
func signalInit(st *state.State, sig unix.Signal) error {
	p, err := state.OpenProcess(st.Init())
	if err == nil {
		err = p.Signal(sig)
		p.Close()
	}
	if errors.Is(err, state.ErrProcessDone) {
		return errAlreadyFinished
	}
	return err
}

func withGroup(st *state.State, do func(*cgroup.Group) error) error {
	g, err := cgroup.Load(st.CgroupPaths, st.Tongs.SystemdCgroup)
	if err != nil {
		return err
	}
	defer g.Close()
	return do(g)
}
