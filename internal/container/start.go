package container

import (
	"errors"
	"fmt"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/cgroup"
	"tongs/internal/hook"
	"tongs/internal/state"
)

// Phrases of runc. containerd hands them to its clients; the tests of docker
// and of kubernetes' node e2e suite match them.
var (
	errStartStopped = errors.New("cannot start a container that has stopped")
	errStartRunning = errors.New("cannot start an already running container")
)

// leaveTimeout bounds the wait for the container's process to become the
// user's program, once its hooks are done.
const leaveTimeout = 10 * time.Second

// Start lets the process of a created container go on to the user's program,
// and returns when it has become that program or has ended. That it ends at
// once is no error: the program may be short.
//
// A hook that fails ends the container, which is left to be deleted: its owner
// does that in any case (runtime-spec 1.3, runtime § Lifecycle).
//
// If a service manager waits at an address, Start waits until the program is
// ready.
func Start(store *state.Store, id, notifySocket string, warn func(string)) error {
	return withLocked(store, id, func(d *state.Dir, info *Info) error {
		switch info.Status {
		case Created:
			if info.State.Runc {
				return errors.New("cannot start a container that runc has created: use runc start")
			}
			return startReady(d, info.State, notifySocket, warn)
		case Stopped:
			return errStartStopped
		case Running:
			return errStartRunning
		}
		return fmt.Errorf("cannot start a container in the %s state", info.Status)
	})
}

// startReady is startHooked with the wait, during which others may act on the
// container.
func startReady(d *state.Dir, st *state.State, notifySocket string, warn func(string)) error {
	wait, err := awaitReady(d, notifySocket)
	if err != nil {
		return err
	}
	p, err := state.OpenProcess(st.Init())
	if errors.Is(err, state.ErrProcessDone) {
		return errStartStopped
	}
	if err != nil {
		return err
	}
	defer p.Close()
	if err := startHooked(d, st, p, warn); err != nil {
		return err
	}
	d.Unlock()
	return wait(st.PID, p.FD())
}

// startHooked is release with the hooks of startContainer, which the process
// executes and we watch, and of poststart.
func startHooked(d *state.Dir, st *state.State, p *state.Process, warn func(string)) error {
	spec, err := configOf(d)
	if err != nil {
		return err
	}
	if err := release(d, st, p, spec); err != nil {
		return err
	}
	if ended, err := p.Wait(0); err == nil && ended {
		if err := withGroup(st, func(g *cgroup.Group) error { tellOutOfMemory(g, warn); return nil }); err != nil {
			return err
		}
	}
	if err = runPoststart(st, spec.Hooks.Poststart, nil); err != nil {
		killFailed(st, warn)
	}
	return err
}

// killFailed ends a container of which a hook has failed.
func killFailed(st *state.State, warn func(string)) {
	if err := endProcesses(st); err != nil {
		warn(err.Error())
	}
}

// release writes the byte for which the process waits. The FIFO goes after the
// write: if we are killed in between, a later start finds the FIFO without a
// reader, see below; the other way round, a container would be left that waits
// for ever and says that it runs.
func release(d *state.Dir, st *state.State, p *state.Process, spec *specs.Spec) error {
	fd, err := d.OpenFIFO(unix.O_WRONLY | unix.O_NONBLOCK)
	if errors.Is(err, unix.ENXIO) { // nobody reads
		return releasedBefore(d, p)
	}
	if errors.Is(err, unix.ENOENT) {
		return errStartRunning
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var w *hook.Watcher
	if len(spec.Hooks.StartContainer) > 0 {
		if w, err = openWatcher(d, p); err != nil {
			return err
		}
		defer closeWatcher(w)
	}
	held, err := agentOf(spec, st.Tongs.Bundle).hold(st.PID, p.FD(), specState(st, specs.StateCreated, st.PID))
	if err != nil {
		return err
	}
	if _, err := unix.Write(fd, []byte{0}); err != nil {
		if err == unix.EPIPE { // ended since we opened it
			return errStartStopped
		}
		return fmt.Errorf("cannot write to the start FIFO of container %q: %v", d.ID(), err)
	}
	if err := d.RemoveFIFO(); err != nil {
		return err
	}
	if w != nil {
		err = w.Watch("hooks.startContainer", spec.Hooks.StartContainer, 0)
	}
	if err == nil {
		err = told(held)
	}
	if err != nil {
		killFailed(st, func(string) {})
		return err
	}
	return waitLeft(fd, p)
}

// releasedBefore is the case of a living process and a FIFO without a reader:
// an earlier start was killed after its write.
func releasedBefore(d *state.Dir, p *state.Process) error {
	ended, err := p.Wait(0)
	if err != nil {
		return err
	}
	if ended {
		return errStartStopped
	}
	if err := d.RemoveFIFO(); err != nil {
		return err
	}
	return errStartRunning
}

// waitLeft waits until the process has closed the FIFO, which is close-on-exec
// there: a FIFO without readers reports POLLERR to its writer (pipe(7)). When
// the time is over the byte is still written, so that is no error.
func waitLeft(fd int, p *state.Process) error {
	fds := []unix.PollFd{{Fd: int32(fd)}, {Fd: int32(p.FD()), Events: unix.POLLIN}}
	for end := time.Now().Add(leaveTimeout); ; {
		left := time.Until(end)
		if left <= 0 {
			return nil
		}
		_, err := unix.Poll(fds, int(left/time.Millisecond)+1)
		if err == nil && (fds[0].Revents != 0 || fds[1].Revents != 0) {
			return nil
		}
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("cannot wait for the container's process: poll: %v", err)
		}
	}
}
