package container

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"

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
	sigs := newSignals()
	o.Aside = sigs.catchUsual
	init, err := Create(store, o)
	if err != nil {
		return 0, err
	}
	defer init.Close()
	code, err := runForeground(init, sigs, r)
	if err != nil || !r.Keep {
		deleteOwn(init, o.Warn)
	}
	if !r.NoSubreaper {
		reapRest() // what the deletion has killed
	}
	return code, err
}

// deleteOwn removes the container at the end of run. The program's exit status,
// or what went wrong before, is worth more to the caller than an error here.
func deleteOwn(init *Init, warn func(string)) {
	err := init.Dir.Lock()
	if err == nil {
		err = destroyNow(init.Dir, init.st)
		init.Dir.Unlock()
	}
	if err != nil && !errors.Is(err, state.ErrNotExist) { // somebody else deleted it
		warn(fmt.Sprintf("cannot delete the container: %v", err))
	}
}

func runDetached(store *state.Store, o CreateOptions) error {
	init, err := Create(store, o)
	if err != nil {
		return err
	}
	defer init.Close()
	if err := init.Start(); err != nil {
		deleteOwn(init, o.Warn)
		return err
	}
	return nil
}

func runForeground(init *Init, sigs *signals, r RunOptions) (int, error) {
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
	go sigs.forward(init.PidFD, tty)
	return waitInit(init.PID, !r.NoSubreaper)
}

// signals are what the container's process gets instead of us. To catch one
// costs the Go runtime two switches of threads, some 25 µs, so that is done
// while tongs has to wait anyway: for the usual ones, when the container's
// process makes its namespaces, and for the rarer ones some time after the
// start. They are never given back: Run is the last thing that the process does.
type signals struct{ c chan os.Signal }

func newSignals() *signals { return &signals{c: make(chan os.Signal, 128)} }

func (s *signals) catchUsual() { signal.Notify(s.c, usual()...) }

// usual are the signals that people and supervisors send, and SIGWINCH, which
// is taken for the terminal's sake.
func usual() []os.Signal {
	return []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH}
}

// rare are all others. Left out are those about our own children (SIGCHLD) and
// pipes (SIGPIPE), SIGURG, with which the Go runtime interrupts its own threads,
// the synchronous faults, which say that we are broken, and the two that cannot
// be caught.
func rare() []os.Signal {
	var list []os.Signal
	for n := unix.Signal(1); n <= 64; n++ {
		switch n {
		case unix.SIGKILL, unix.SIGSTOP, unix.SIGCHLD, unix.SIGPIPE, unix.SIGURG,
			unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGSYS:
		case 32, 33, 34: // the C library's own
		default:
			if !slices.Contains(usual(), os.Signal(n)) {
				list = append(list, n)
			}
		}
	}
	return list
}

// rareDelay is how old a container is when the rare signals are caught. Each
// costs two switches of threads, together more than a millisecond of both CPUs,
// while a container of short life wants to run and end. Before that a rare
// signal does to us what it does to any program.
const rareDelay = 3 * time.Millisecond

// forward runs as long as we do; what cannot be delivered comes too late.
func (s *signals) forward(pidfd int, tty *console.Session) {
	late := time.After(rareDelay)
	for {
		select {
		case <-late:
			signal.Notify(s.c, rare()...)
		case next := <-s.c:
			sig := next.(unix.Signal)
			if sig != unix.SIGWINCH {
				_ = unix.PidfdSendSignal(pidfd, sig, nil, 0)
			} else if tty != nil {
				_ = tty.Resize() // the next change of size corrects a failure
			}
		}
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
