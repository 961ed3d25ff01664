package container

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/bundle"
	"tongs/internal/cgroup"
	"tongs/internal/console"
	"tongs/internal/kernel"
	"tongs/internal/kernel/host"
	"tongs/internal/kernel/stub"
	"tongs/internal/resctrl"
	"tongs/internal/setup"
	"tongs/internal/signals"
	"tongs/internal/state"
)

// Phrases of runc, which clients show and match.
var (
	errExecStopped = errors.New("cannot exec in a stopped container")
	errExecPaused  = errors.New("cannot exec in a paused container (use --ignore-paused to override)")
)

// ExecOptions are what the command line says of a process in a running container.
type ExecOptions struct {
	ID string
	// Process makes the process out of the one that config.json has.
	Process       func(config *specs.Process) (*specs.Process, error)
	PidFile       string
	ConsoleSocket string
	PidfdSocket   string
	Cgroups       []string // --cgroup: below the container's cgroup, perhaps "controller:path"
	PreserveFDs   int
	ListenFDs     int // sockets for the process, from descriptor 3 on; what is preserved follows
	Detach        bool
	IgnorePaused  bool
	Warn          func(string)
}

// execution is one exec under way.
type execution struct {
	o       ExecOptions
	dir     *state.Dir
	info    *Info
	process *state.Process // the container's first
	env     *setup.Env
	group   *cgroup.Group
	agent   *agent
	stub    *stub.Stub
	console *os.File
	undo    []func()
}

// Exec runs another process in a running container. Unless detached it waits
// for the end, passes on signals and the terminal meanwhile, and returns the
// exit status: as the program gave it, or 128 plus the signal.
//
// It takes no lock: processes start side by side. Like Run, it is the last
// thing that a process does.
func Exec(store *state.Store, o ExecOptions) (int, error) {
	calmMonitor()
	leave := stay(0)
	x := &execution{o: o}
	var sigs int
	err := x.prepare(store)
	if err == nil && !o.Detach {
		sigs, err = signals.Catch()
	}
	if err == nil {
		err = x.create()
	}
	if err != nil {
		for _, f := range slices.Backward(x.undo) {
			f()
		}
		return 0, err
	}
	leave()
	if o.Detach {
		return 0, nil
	}
	return x.wait(sigs)
}

// prepare finds the container and what is to run in it.
func (x *execution) prepare(store *state.Store) (err error) {
	if x.dir, err = store.Lookup(x.o.ID); err != nil {
		return err
	}
	if x.info, err = query(x.dir); err != nil {
		return err
	}
	switch {
	case x.info.Status == Stopped:
		return errExecStopped
	case x.info.Status == Paused && !x.o.IgnorePaused:
		return errExecPaused
	case x.info.Status == Creating:
		return errors.New("cannot exec in a container that is being created")
	}
	st := x.info.State
	if x.process, err = state.OpenProcess(st.Init()); err != nil {
		if errors.Is(err, state.ErrProcessDone) {
			return errExecStopped
		}
		return err
	}
	spec, err := x.spec()
	if err != nil {
		return err
	}
	if x.group, err = cgroup.Load(st.CgroupPaths, false); err != nil {
		return err
	}
	joined := &setup.Container{Process: kernel.NewHandle(int64(x.process.FD()), "container"), Keyring: !st.Tongs.NoNewKeyring}
	if joined.Namespaces, err = x.namespaces(); err != nil {
		return err
	}
	x.env = &setup.Env{Options: setup.Options{ID: x.o.ID, Bundle: st.Tongs.Bundle, PreserveFDs: x.o.ListenFDs + x.o.PreserveFDs, ListenFDs: x.o.ListenFDs,
		UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}, Spec: spec,
		Host: host.Kernel{}, K: host.Kernel{}, B: &kernel.Batch{Expect: 64}, Warn: x.o.Warn, Joined: joined, CgroupV2: x.group.Unified(),
		Hide: func() { x.stub.Hide() }}
	if err := x.handover().check(); err != nil {
		return err
	}
	x.agent = agentOf(spec, st.Tongs.Bundle)
	if err := x.agent.check(); err != nil {
		return err
	}
	if joined.Namespaces&unix.CLONE_NEWNS == 0 {
		return x.openRoot()
	}
	return nil
}

// spec is the container's configuration with the new process in it. What the
// new process does not say comes from the configuration's, but for limits and
// noNewPrivileges, as with runc.
func (x *execution) spec() (*specs.Spec, error) {
	b, err := bundle.Load(x.info.State.Tongs.Bundle)
	if err != nil {
		return nil, fmt.Errorf("cannot read the container's configuration: %w", err)
	}
	if b.Spec.Process == nil {
		b.Spec.Process = &specs.Process{Cwd: "/"}
	}
	config := *b.Spec.Process
	p, err := x.o.Process(&config)
	if err != nil {
		return nil, err
	}
	from := b.Spec.Process
	if p.Capabilities == nil {
		p.Capabilities = from.Capabilities
	}
	p.ApparmorProfile = cmp.Or(p.ApparmorProfile, from.ApparmorProfile)
	p.SelinuxLabel = cmp.Or(p.SelinuxLabel, from.SelinuxLabel)
	if p.Scheduler == nil {
		p.Scheduler = from.Scheduler
	}
	if p.IOPriority == nil {
		p.IOPriority = from.IOPriority
	}
	if p.OOMScoreAdj == nil {
		p.OOMScoreAdj = from.OOMScoreAdj
	}
	for _, w := range bundle.Warnings(&specs.Spec{Process: p}) {
		x.o.Warn(w)
	}
	spec := *b.Spec
	spec.Process = p
	return &spec, bundle.CheckProcess(p)
}

// namespaces are the container's own: all that config.json names, but for a
// user namespace that is also ours, which cannot be joined (setns(2)).
func (x *execution) namespaces() (flags uint64, err error) {
	for _, n := range x.info.State.Config.Namespaces {
		flag := setup.NamespaceFlag(namespaceType(n.Type))
		if flag == unix.CLONE_NEWUSER {
			same, err := sameUserNamespace(x.info.State.PID)
			if x.info.Status == Created && errors.Is(err, unix.EACCES) {
				// Nobody but the host's root may look into the process that waits.
				return 0, errors.New("an ordinary user cannot exec in a container before it is started")
			}
			if err != nil {
				return 0, err
			}
			if same {
				continue
			}
		}
		flags |= flag
	}
	return flags, nil
}

func sameUserNamespace(pid int) (bool, error) {
	var own, its unix.Stat_t
	if err := unix.Stat("/proc/self/ns/user", &own); err != nil {
		return false, fmt.Errorf("cannot look at the user namespace: %w", err)
	}
	if err := unix.Stat("/proc/"+strconv.Itoa(pid)+"/ns/user", &its); err != nil {
		return false, fmt.Errorf("cannot look at the container's user namespace: %w", err)
	}
	return own.Dev == its.Dev && own.Ino == its.Ino, nil
}

// openRoot opens the root directory of a container without a mount namespace.
func (x *execution) openRoot() error {
	fd, err := openRootOf(x.process, x.info.State.PID)
	if errors.Is(err, state.ErrProcessDone) {
		return errExecStopped
	}
	if err == nil {
		x.env.Joined.Root = kernel.NewHandle(int64(fd), "root")
	}
	return err
}

// openRootOf opens the root directory of a container's first process, and makes
// sure afterwards that it was this process that was asked.
func openRootOf(p *state.Process, pid int) (int, error) {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("root.path: cannot open the container's root directory: %w", err)
	}
	if ended, err := p.Wait(0); err != nil || ended {
		unix.Close(fd)
		return -1, cmp.Or(err, state.ErrProcessDone)
	}
	return fd, nil
}

func (x *execution) onFailure(f func()) { x.undo = append(x.undo, f) }

func (x *execution) create() error {
	if err := x.env.Do(setup.ExecHostOrder()); err != nil {
		return err
	}
	x.env.KeepContainer()
	if err := x.start(); err != nil {
		return err
	}
	if err := x.env.Do(setup.ExecOrder()); err != nil {
		return err
	}
	var err error
	if x.console, err = x.handover().give(x.stub.PID, x.stub.PidFD, take(x.stub), x.onFailure); err != nil {
		return err
	}
	if err := x.agent.show(x.stub, x.env); err != nil {
		return err
	}
	x.env.B = &kernel.Batch{}
	if err := x.env.Queue(setup.TailOrder()); err != nil {
		return err
	}
	st := x.info.State
	return execute(x.stub, x.env.B, x.agent, specState(st, specs.StateRunning, st.PID), func() error { return nil })
}

// start starts the process in the container's cgroup: configured, or where the
// container's first process is now, since a container that manages its own
// cgroup takes no process at its top (cgroup-v2 document, "No Internal Process
// Constraint").
func (x *execution) start() error {
	subs, err := cgroup.ParseSub(x.o.Cgroups)
	if err != nil {
		return fmt.Errorf("--cgroup: %w", err)
	}
	if len(subs) > 0 {
		if x.group, err = x.group.Sub(subs); err != nil {
			return fmt.Errorf("--cgroup: %w", err)
		}
	}
	err = x.startIn(x.group)
	if len(subs) > 0 || !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
		return err
	}
	current, err := x.group.Current(x.info.State.PID)
	if err != nil {
		return err
	}
	return x.startIn(current)
}

func (x *execution) startIn(g *cgroup.Group) (err error) {
	fd, err := g.FD()
	if err != nil {
		return err
	}
	defer g.Close()
	config := stub.Config{CgroupFD: fd, Stdio: [3]int{0, 1, 2}, Preserve: x.env.PreserveFDs, Inherit: x.env.Inherit(),
		ImageDirs: imageDirs(x.dir), Dumpable: x.env.WrittenByOwner()}
	if x.o.IgnorePaused { // it goes on when the container does
		config.Timeout = 24 * time.Hour
	}
	if err := x.setInitialAffinity(); err != nil {
		return err
	}
	if x.stub, err = stub.Start(config); err != nil {
		return err
	}
	x.onFailure(func() { x.stub.Kill(); x.stub.Close() })
	if err := g.Join(x.stub.PID); err != nil {
		return err
	}
	if dir := x.info.State.IntelRdtPath; dir != "" {
		if err := resctrl.Join(dir, monitorDir(x.info.State), x.stub.PID); err != nil {
			return err
		}
	}
	x.env.K, x.env.Line, x.env.FirstOwn = x.stub, x.stub.Line(), x.stub.FirstOwn()
	x.env.PID = kernel.NewHandle(int64(x.stub.PID), "process")
	return x.env.Inherited(x.stub.Inherited())
}

// setInitialAffinity puts this thread, and with it the process, on the
// processors of process.execCPUAffinity.initial until the process is in its
// cgroup.
func (x *execution) setInitialAffinity() error {
	a := x.env.Spec.Process.ExecCPUAffinity
	if a == nil || a.Initial == "" {
		return nil
	}
	mask, err := setup.Processors(a.Initial)
	if err == nil {
		err = setAffinity(mask)
	}
	if err != nil {
		return fmt.Errorf("process.execCPUAffinity.initial: %w", err)
	}
	return nil
}

func (x *execution) handover() *handover {
	return &handover{terminal: x.env.Spec.Process.Terminal, detach: x.o.Detach, consoleSocket: x.o.ConsoleSocket, pidfdSocket: x.o.PidfdSocket,
		pidfdName: "setns", pidFile: x.o.PidFile, listenFDs: x.o.ListenFDs, preserveFDs: x.o.PreserveFDs}
}

// wait is the proxy of the process in the foreground.
func (x *execution) wait(sigs int) (int, error) {
	w := waiter{pid: x.stub.PID, pidfd: x.stub.PidFD, signals: sigs}
	if x.console != nil {
		var err error
		if w.tty, err = console.Attach(x.console); err != nil {
			return 0, err
		}
		defer w.tty.Close()
	}
	return w.wait()
}
