package container

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"tongs/internal/console"
	"tongs/internal/signals"
	"tongs/internal/state"
)

// RunOptions are what `run` knows beside the options of create. Detach is
// among those.
type RunOptions struct {
	Keep        bool // leave the stopped container
	NoSubreaper bool // do not adopt orphans of the container
}

// Run creates a container and starts it. Unless detached, it waits for the end,
// passes on signals and the terminal meanwhile, deletes the container and
// returns its exit status: as the program gave it, or 128 plus the signal.
//
// It is the last thing that a process does: signals stay caught, and what it
// holds of the container is freed by the process's end.
func Run(store *state.Store, o CreateOptions, r RunOptions) (int, error) {
	if o.Detach {
		return 0, runDetached(store, o)
	}
	sigs, err := prepareForeground(r.NoSubreaper)
	if err != nil {
		return 0, err
	}
	init, err := Create(store, o)
	if err != nil {
		return 0, err
	}
	var code int
	if err = readyInForeground(init, o.NotifySocket, o.Warn); err == nil {
		code, err = runForeground(init, sigs, r, init.Start)
		if err == nil && code == 128+int(unix.SIGKILL) {
			tellOutOfMemory(init.group, o.Warn)
		}
	}
	if err != nil || !r.Keep {
		deleteOwn(init, err == nil, o.Warn)
	}
	if !r.NoSubreaper {
		reapRest() // what the deletion has killed
	}
	return code, err
}

// prepareForeground is what comes before a container for which this process is to
// wait.
func prepareForeground(noSubreaper bool) (sigs int, err error) {
	if !noSubreaper {
		// PR_SET_CHILD_SUBREAPER (3.4): daemons that a container without a PID
		// namespace leaves behind become ours to wait for.
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return -1, fmt.Errorf("cannot become subreaper: %v", err)
		}
	}
	// Before the container exists: a signal that comes early waits in the pipe.
	return signals.Catch()
}

// deleteOwn removes the container at the end of run; ended says that its first
// process has been reaped. The program's exit status,
// or what went wrong before, is worth more to the caller than an error here.
func deleteOwn(init *Init, ended bool, warn func(string)) {
	err := init.Dir.Lock()
	if err == nil {
		err = destroyOwn(init, ended)
		init.Dir.Unlock()
		if hooks := init.env.Spec.Hooks; err == nil && hooks != nil {
			runPoststop(init.st, hooks.Poststop, warn, init.leave)
		}
	}
	if err != nil && !errors.Is(err, state.ErrNotExist) { // somebody else deleted it
		warn(fmt.Sprintf("cannot delete the container: %v", err))
	}
}

// destroyOwn is destroy for the process that has made the container. If a cgroup
// can be removed at once, then nothing in it is left to be killed.
func destroyOwn(init *Init, ended bool) error {
	if ended && len(init.st.Tongs.Owned.Resctrl) == 0 && init.group.RemoveEmpty() {
		return init.Dir.Remove()
	}
	return destroyNow(init.Dir, init.st)
}

func runDetached(store *state.Store, o CreateOptions) error {
	init, err := Create(store, o)
	if err != nil {
		return err
	}
	wait, err := awaitReady(init.Dir, o.NotifySocket)
	if err == nil {
		err = init.Start()
	}
	if err != nil {
		deleteOwn(init, false, o.Warn)
		return err
	}
	if err := wait(init.PID, init.PidFD); err != nil { // the container runs for all that
		o.Warn(err.Error())
	}
	return nil
}

// runForeground waits for the end of a container that start starts.
func runForeground(init *Init, sigs int, r RunOptions, start func() error) (int, error) {
	var tty *console.Session
	if init.Console != nil {
		var err error
		if tty, err = console.Attach(init.Console); err != nil {
			return 0, err
		}
		defer tty.Close()
	}
	if err := start(); err != nil {
		return 0, err
	}
	w := waiter{pid: init.PID, pidfd: init.PidFD, signals: sigs, others: !r.NoSubreaper, tty: tty}
	return w.wait()
}

// waiter waits for a container's process and is its proxy meanwhile.
type waiter struct {
	pid     int
	pidfd   int
	signals int  // signals.Catch
	others  bool // we are the subreaper of the container's orphans
	tty     *console.Session

	last  unix.WaitStatus // how the process ended
	ended bool
}

// wait returns the exit status of the process, or 128 plus the signal that
// ended it.
func (w *waiter) wait() (int, error) {
	fds := []unix.PollFd{{Fd: int32(w.signals), Events: unix.POLLIN}, {Fd: int32(w.pidfd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return 0, fmt.Errorf("cannot wait for the container's process %d: poll: %v", w.pid, err)
		}
		if fds[0].Revents != 0 {
			w.pass()
		}
		if w.ended || fds[1].Revents != 0 {
			return w.status()
		}
	}
}

// pass hands on the signals that have come. What cannot be delivered comes
// too late.
func (w *waiter) pass() {
	var numbers [64]byte
	n, err := unix.Read(w.signals, numbers[:])
	if err != nil {
		return
	}
	for _, b := range numbers[:n] {
		switch sig := unix.Signal(b); {
		case sig == unix.SIGCHLD:
			w.reap()
		case sig != unix.SIGWINCH:
			_ = unix.PidfdSendSignal(w.pidfd, sig, nil, 0)
		case w.tty != nil:
			_ = w.tty.Resize() // the next change of size corrects a failure
		}
	}
}

// reap takes the children that have ended, orphans of the container among them.
func (w *waiter) reap() {
	for w.others && !w.ended {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if pid == w.pid {
			w.last, w.ended = ws, true
		}
	}
}

// status takes the process, which has ended, and returns its exit status, or
// 128 plus the signal that ended it.
func (w *waiter) status() (int, error) {
	for !w.ended {
		_, err := unix.Wait4(w.pid, &w.last, 0, nil)
		if err != nil && err != unix.EINTR {
			return 0, fmt.Errorf("cannot wait for the container's process %d: wait4: %v", w.pid, err)
		}
		w.ended = err == nil
	}
	if w.last.Signaled() {
		return 128 + int(w.last.Signal()), nil
	}
	return w.last.ExitStatus(), nil
}

// reapRest takes the orphans that have ended already.
func reapRest() {
	for {
		got, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if err != unix.EINTR && (err != nil || got <= 0) {
			return
		}
	}
}
