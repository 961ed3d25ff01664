package container

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/bundle"
	"tongs/internal/cgroup"
	"tongs/internal/kernel"
	"tongs/internal/kernel/host"
	"tongs/internal/kernel/stub"
	"tongs/internal/resctrl"
	"tongs/internal/setup"
	"tongs/internal/state"
)

// CreateOptions are what the command line says of a new container.
type CreateOptions struct {
	ID            string
	BundleDir     string // the current directory if empty
	PidFile       string
	ConsoleSocket string
	PidfdSocket   string
	NoPivot       bool
	NoNewKeyring  bool
	SystemdCgroup bool
	NoCgroup      bool
	Rootless      string // true, false or auto
	PreserveFDs   int
	ListenFDs     int          // sockets for the container, from descriptor 3 on; what is preserved follows
	NotifySocket  string       // where a service manager waits for READY=1, or empty
	Detach        bool         // nobody waits for the container in the foreground
	Park          bool         // leave the process waiting for `start` (create)
	Warn          func(string) // gets a line for each warning
}

// creation is one create under way, with what must be undone if it fails.
type creation struct {
	o      CreateOptions
	b      *bundle.Bundle
	group  *cgroup.Group
	rdt    *resctrl.Group // nil without linux.intelRdt
	dir    *state.Dir
	st     *state.State
	env    *setup.Env
	net    *netNamespace // nil if the container's process makes it, or none
	agent  *agent
	stub   *stub.Stub
	fifo   int
	init   *Init
	undo   []func()
	leave  func() // undoes stay or part
	parted bool

	hookFiles hookFiles
}

// Create makes the container and leaves its process waiting: for `start` if
// it is to be parked, for Init.Start otherwise. The state is on disk before
// anything else is made; whatever fails leaves nothing behind.
func Create(store *state.Store, o CreateOptions) (*Init, error) {
	c := &creation{o: o, fifo: -1, leave: func() {}}
	defer func() { c.leave() }()
	err := c.attempt(func() error { return c.create(store) })
	c.net.close()
	if err != nil {
		return nil, err
	}
	c.dir.Unlock()
	return c.init, nil
}

// attempt prepares and makes the container, and undoes what was done if that
// fails.
func (c *creation) attempt(create func() error) error {
	if err := state.ValidID(c.o.ID); err != nil {
		return err
	}
	err := c.prepare()
	if err == nil {
		err = create()
	}
	if err != nil {
		for i := len(c.undo) - 1; i >= 0; i-- {
			c.undo[i]()
		}
		if c.st != nil && c.b.Spec.Hooks != nil {
			runPoststop(c.st, c.b.Spec.Hooks.Poststop, c.o.Warn, c.leave)
		}
	}
	return err
}

// prepare does everything that leaves no trace: it reads, checks and opens.
func (c *creation) prepare() (err error) {
	if c.b, err = bundle.Load(cmp.Or(c.o.BundleDir, ".")); err != nil {
		return err
	}
	c.net = makeNetNamespace(c.b.Spec) // as early as can be: it takes longest
	calmMonitor()
	if len(c.b.Raw) > largeConfig {
		calmCollector()
	}
	for _, w := range c.b.Warnings {
		c.o.Warn(w)
	}
	if err := bundle.Check(c.b.Spec); err != nil {
		return err
	}
	if err := c.handover().check(); err != nil {
		return err
	}
	c.agent = agentOf(c.b.Spec, c.b.Dir)
	if err := c.agent.check(); err != nil {
		return err
	}
	rootless, auto := rootless(c.o.Rootless)
	c.group, err = cgroup.New(c.b.Spec, cgroup.Options{ID: c.o.ID, Systemd: c.o.SystemdCgroup, Disabled: c.o.NoCgroup, Rootless: rootless, Auto: auto})
	if err != nil {
		return err
	}
	if c.rdt, err = resctrlGroup(c.o.ID, c.b.Spec); err != nil {
		return err
	}
	for _, field := range c.group.Ignored() {
		c.o.Warn(field + ": cgroup v2 has nothing like it; ignored")
	}
	c.env = &setup.Env{
		Options: setup.Options{ID: c.o.ID, Bundle: c.b.Dir, NoPivot: c.o.NoPivot, NoNewKeyring: c.o.NoNewKeyring,
			PreserveFDs: c.o.ListenFDs + c.o.PreserveFDs, Park: c.o.Park, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())},
		Spec: c.b.Spec, Host: host.Kernel{}, K: host.Kernel{}, B: &kernel.Batch{Expect: 160}, Warn: c.o.Warn,
		CgroupV2: c.group.Unified(), UserNS: c.lend, MapIDs: mapIDs, Hide: func() { c.stub.Hide() }, NetDevices: c.moveNetDevices,
		Meet: func() { c.leave(); c.leave = stay(c.stub.PID) },
		Part: c.part,
	}
	if c.b.Spec.Hooks != nil {
		c.prepareHooks()
	}
	return nil
}

// part keeps the process on other processors than tongs, from when the thread that
// makes the network namespace needs none.
func (c *creation) part() {
	if !c.parted && c.net.ready() {
		c.leave, c.parted = part(c.stub.PID), true
	}
}

func (c *creation) handover() *handover {
	return &handover{terminal: c.b.Spec.Process.Terminal, detach: c.o.Detach, consoleSocket: c.o.ConsoleSocket, pidfdSocket: c.o.PidfdSocket,
		pidfdName: "standard", pidFile: c.o.PidFile, listenFDs: c.o.ListenFDs, preserveFDs: c.o.PreserveFDs}
}

// hierarchies is what a v1 cgroup mount shows.
func hierarchies(g *cgroup.Group) []setup.V1Hierarchy {
	var list []setup.V1Hierarchy
	for _, h := range g.Hierarchies() {
		if len(h.Names) == 1 && h.Names[0] == "" {
			continue // the v2 tree of a hybrid
		}
		v := setup.V1Hierarchy{Name: filepath.Base(h.Mountpoint), Options: h.Names, Dir: h.Dir}
		for _, n := range h.Names {
			if n = strings.TrimPrefix(n, "name="); n != v.Name {
				v.Links = append(v.Links, n)
			}
		}
		list = append(list, v)
	}
	return list
}

// own makes what is the container's before it has a process: its state and its
// cgroup, in this order.
func (c *creation) own(store *state.Store) (err error) {
	if c.dir, err = store.Create(c.o.ID); err != nil {
		return err
	}
	c.onFailure(func() { c.dir.Remove(); c.dir.Close() })
	if err := c.newState(); err != nil {
		return err
	}
	if err := c.dir.Write(c.st); err != nil {
		return err
	}
	if err := c.keepConfig(); err != nil {
		return err
	}
	if err := c.group.Create(); err != nil {
		return err
	}
	c.onFailure(func() {
		if c.env.HooksInside() { // one may go on without a PID namespace that ends it
			c.group.Kill()
		}
		c.group.Remove()
	})
	c.env.CgroupsV1, c.env.NoCgroup = hierarchies(c.group), len(c.group.Hierarchies()) == 0
	if c.rdt != nil {
		if err := c.rdt.Create(); err != nil {
			return err
		}
		c.onFailure(func() { c.rdt.Undo() })
	}
	return nil
}

func (c *creation) create(store *state.Store) error {
	if err := c.own(store); err != nil {
		return err
	}
	defer c.group.Close()
	if err := c.announce(); err != nil {
		return err
	}
	if err := c.env.Do(setup.HostOrder()); err != nil {
		return err
	}
	if err := c.start(); err != nil {
		return err
	}
	// The limits are in force when the first round trip returns; nothing of the
	// image has been executed then.
	c.env.Aside, c.env.NetNamespace = c.aside, c.net != nil
	if err := c.env.Do(setup.CreateOrder()); err != nil {
		return died(c.group, err)
	}
	return c.finish()
}

// aside is what tongs has to do while the container's process makes its
// namespaces. The process waits for the network namespace, whatever fails here. The
// state is written when the set-up is complete, before that only for hooks, and says
// "creating" then: if tongs dies before the end, so does the process.
func (c *creation) aside() error {
	err := c.limit()
	if err == nil {
		err = c.identify(c.stub.PID)
	}
	if err == nil && c.b.Spec.Hooks != nil { // which may ask for it
		err = c.dir.Write(c.st)
	}
	if c.net != nil {
		err = errors.Join(err, c.net.give(c.stub.SendFD))
	}
	return err
}

// limit sets the limits, and then gives the cgroup to the container's user if
// it may be divided further.
func (c *creation) limit() error {
	if err := c.group.Limit(); err != nil {
		return err
	}
	if uid, ok := c.env.CgroupOwner(); ok && uid != 0 {
		if err := c.group.Delegate(int(uid)); err != nil {
			return fmt.Errorf("linux.cgroupsPath: cannot give the cgroup to the user: %w", err)
		}
	}
	return nil
}

func (c *creation) onFailure(f func()) { c.undo = append(c.undo, f) }

// start starts the container's process in its PID namespace and its cgroup. It
// has executed nothing when start returns; the other namespaces are the first
// thing that it makes.
func (c *creation) start() error {
	cgroupFD, err := c.group.FD()
	if err != nil {
		return err
	}
	var inherit []kernel.Handle
	if c.o.Park {
		if err := c.makeFIFO(); err != nil {
			return err
		}
		defer unix.Close(c.fifo)
		inherit = append(inherit, kernel.NewHandle(int64(c.fifo), "exec.fifo"))
	}
	hookFiles, err := c.openHooks()
	if err != nil {
		return err
	}
	inherit = append(append(inherit, hookFiles...), c.env.Inherit()...)
	c.env.Scratch = c.dir.Path()
	config := stub.Config{Namespaces: c.env.CloneFlags(), CgroupFD: cgroupFD, Stdio: [3]int{0, 1, 2},
		Preserve: c.env.PreserveFDs, Inherit: inherit, ImageDirs: imageDirs(c.dir), Dumpable: c.env.WrittenByOwner()}
	c.stub, err = stub.Start(config)
	if cgroupFD >= 0 && errors.Is(err, unix.EACCES) && c.group.GiveUp() { // made, but not to be entered
		config.CgroupFD, c.env.NoCgroup = -1, true
		c.stub, err = stub.Start(config)
	}
	if err != nil {
		return c.group.ExplainClone(err)
	}
	c.onFailure(func() { c.stub.Kill(); c.stub.Close() })
	if err := c.join(); err != nil {
		return err
	}
	c.env.B.Hoard = c.mayHoard()
	list := c.stub.Inherited()
	if c.o.Park {
		c.env.Fifo, list = list[0], list[1:]
	}
	list = c.giveHooks(hookFiles, list)
	c.env.K, c.env.Line = c.stub, c.stub.Line()
	c.env.FirstOwn = c.stub.FirstOwn()
	c.env.PID = kernel.NewHandle(int64(c.stub.PID), "container")
	return c.env.Inherited(list)
}

// join puts the process into the container's groups.
func (c *creation) join() error {
	if err := c.group.Join(c.stub.PID); err != nil {
		return err
	}
	if c.rdt == nil {
		return nil
	}
	return c.rdt.Join(c.stub.PID)
}

// makeFIFO makes exec.fifo and opens it for the process. Both directions are
// open, so that neither the opening blocks nor a reader sees its end.
func (c *creation) makeFIFO() error {
	if err := c.dir.MakeFIFO(os.Geteuid(), os.Getegid()); err != nil {
		return err
	}
	var err error
	c.fifo, err = c.dir.OpenFIFO(unix.O_RDWR)
	return err
}

// finish makes the container known: the state, the pid file, the terminal.
// From the moment that the process is parked it needs tongs no more.
func (c *creation) finish() error {
	c.init = &Init{Dir: c.dir, PID: c.stub.PID, PidFD: c.stub.PidFD, st: c.st, group: c.group, stub: c.stub, env: c.env, agent: c.agent, leave: c.leave}
	// Not earlier: `exec` takes what is created or running as ready to be entered.
	c.setPhase()
	err := c.dir.Write(c.st)
	if err != nil {
		return err
	}
	if c.init.Console, err = c.handover().give(c.stub.PID, c.stub.PidFD, take(c.stub), c.onFailure); err != nil {
		return err
	}
	if err := c.agent.show(c.stub, c.env); err != nil {
		return err
	}
	if err := c.init.queueTail(); err != nil || !c.o.Park {
		return err
	}
	return died(c.group, c.stub.Park(c.init.tail))
}

// namespaceName is runc's name of a namespace type in the state.
func namespaceName(t specs.LinuxNamespaceType) (name, file string) {
	switch t {
	case specs.PIDNamespace:
		return "NEWPID", "pid"
	case specs.NetworkNamespace:
		return "NEWNET", "net"
	case specs.MountNamespace:
		return "NEWNS", "mnt"
	case specs.IPCNamespace:
		return "NEWIPC", "ipc"
	case specs.UTSNamespace:
		return "NEWUTS", "uts"
	case specs.UserNamespace:
		return "NEWUSER", "user"
	case specs.CgroupNamespace:
		return "NEWCGROUP", "cgroup"
	case specs.TimeNamespace:
		return "NEWTIME", "time"
	}
	return string(t), string(t)
}
