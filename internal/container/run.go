package container

import (
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"tongs/internal/console"
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
func Run(store *state.Store, o CreateOptions, r RunOptions) (int, error) {
	if o.Detach {
		return 0, runDetached(store, o)
	}
	if !r.NoSubreaper {
		// PR_SET_CHILD_SUBREAPER (3.4): daemons that a container without a PID
		// namespace leaves behind become ours to wait for.
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return 0, fmt.Errorf("cannot become subreaper: %v", err)
		}
	}
	// Before the container exists: a signal that comes early waits here.
	signals := make(chan os.Signal, 128)
	signal.Notify(signals, forwarded()...)
	defer signal.Stop(signals)

	init, err := Create(store, o)
	if err != nil {
		return 0, err
	}
	defer init.Close()
	code, err := runForeground(init, signals, r)
	if err != nil || !r.Keep {
		derr := deleteDir(init.Dir, true, o.Warn)
		init.Dir.Unlock()
		if err == nil && derr != nil {
			// The program's exit status is worth more to the caller.
			o.Warn(fmt.Sprintf("cannot delete the container: %v", derr))
		}
	}
	return code, err
}

func runDetached(store *state.Store, o CreateOptions) error {
	init, err := Create(store, o)
	if err != nil {
		return err
	}
	defer init.Close()
	if err := init.Start(); err != nil {
		if derr := deleteDir(init.Dir, true, o.Warn); derr != nil {
			o.Warn(fmt.Sprintf("cannot delete the container: %v", derr))
		}
		return err
	}
	return nil
}

func runForeground(init *Init, signals <-chan os.Signal, r RunOptions) (int, error) {
	var tty *console.Session
	if init.Console != nil {
		var err error
		if tty, err = console.Attach(init.Console); err != nil {
			return 0, err
		}
		defer tty.Close()
	}
	if err := init.Start(); err != nil {
		return 0, err
	}
	go forward(signals, init.PidFD, tty)
	return waitInit(init.PID, !r.NoSubreaper)
}

// forwarded are the signals that the container's process gets instead of us.
// Left out: those about our own children (SIGCHLD) and pipe (SIGPIPE), SIGURG,
// with which the Go runtime interrupts its own threads, the synchronous faults,
// which say that we are broken, and the two that cannot be caught. SIGWINCH is
// taken for the terminal's sake.
func forwarded() []os.Signal {
	var list []os.Signal
	for n := unix.Signal(1); n <= 64; n++ {
		switch n {
		case unix.SIGKILL, unix.SIGSTOP, unix.SIGCHLD, unix.SIGPIPE, unix.SIGURG,
			unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGSYS:
		case 32, 33, 34: // the C library's own
		default:
			list = append(list, n)
		}
	}
	return list
}

// forward runs until the process ends; what cannot be delivered then is late.
func forward(signals <-chan os.Signal, pidfd int, tty *console.Session) {
	for s := range signals {
		sig := s.(unix.Signal)
		if sig == unix.SIGWINCH {
			if tty != nil {
				// The next change of size corrects a failure.
				_ = tty.Resize()
			}
			continue
		}
		_ = unix.PidfdSendSignal(pidfd, sig, nil, 0)
	}
}

// waitInit waits for the container's process, and for all other children that
// end before if we are the subreaper of the container's orphans.
func waitInit(pid int, others bool) (int, error) {
	which := pid
	if others {
		which = -1
	}
	var ws unix.WaitStatus
	for {
		got, err := unix.Wait4(which, &ws, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("cannot wait for the container's process %d: wait4: %v", pid, err)
		}
		if got != pid || !ws.Exited() && !ws.Signaled() {
			continue
		}
		if others {
			reapRest()
		}
		if ws.Signaled() {
			return 128 + int(ws.Signal()), nil
		}
		return ws.ExitStatus(), nil
	}
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
