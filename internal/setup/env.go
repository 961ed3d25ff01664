// Package setup turns a configuration into system calls: one file a field or
// family of fields, in an order that order.go shows. A step reads what it
// needs from the Env, puts calls into the Env's batch, and asks for a round
// trip (Sync) only where a decision needs a result.
//
// What it deliberately does not do:
//   - It makes no system call itself; kernels execute what it queues.
//   - It has no model of the configuration besides specs.Spec.
//   - It does not know of state files, cgroups' life, or the command line.
package setup

import (
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/kernel"
	"tongs/internal/rootfs"
)

// Options are what the command line adds to the configuration.
type Options struct {
	ID           string
	Bundle       string // absolute path; relative sources count from here
	NoPivot      bool
	NoNewKeyring bool
	PreserveFDs  int
	ListenFDs    int    // how many of them a service manager has passed, for exec
	UID, GID     uint32 // whose rights tongs has
	Scratch      string // a directory of the host where something can be mounted until the root is entered
	Park         bool   // the process waits for exec.fifo (create), not for us (run)
}

// Env is what the steps of one run share.
type Env struct {
	Options
	Spec *specs.Spec
	Host kernel.Kernel // executes on the host
	K    kernel.Kernel // executes in the container
	B    *kernel.Batch // calls that have not been run yet
	Root *rootfs.Root
	Warn func(string)
	// Aside is work of the caller's that is done while the container's process
	// executes its first calls, on another processor if there is one. Meet, if
	// set, is called when both are done: from then on they take turns. With many
	// mounts Part is called before each part of them, and Meet when they are complete.
	Aside      func() error
	Meet, Part func()
	// NetNamespace says that the caller makes the new network namespace, with its
	// loopback device up, and sends it on Line as a part of Aside, or a byte alone
	// if it could not.
	NetNamespace bool

	Hooks *Hooks // nil if there are none before the program

	// Restore is set for a restore.
	Restore *Restore

	// Joined is the running container that the process joins, for exec.
	Joined *Container

	// UserNS lends a process that is not in the container, whose kernel and
	// number f gets, to make a user namespace in. Idmapped mounts need one.
	UserNS func(f func(k kernel.Kernel, pid kernel.Handle) (kernel.Handle, error)) (kernel.Handle, error)

	// MapIDs has newuidmap(1) or newgidmap(1), by name, map ids of the process
	// pid's user namespace.
	MapIDs func(field, program string, pid kernel.Handle, list []specs.LinuxIDMapping) error
	// Hide makes the container's process non-dumpable, if it was started dumpable.
	Hide func()

	// NetDevices moves linux.netDevices into the network namespace of the
	// container's process.
	NetDevices func() error

	hostB  *kernel.Batch    // see onHost
	passed [2]*kernel.Batch // what was in B before; the kernel may still have them

	nested      bool          // tongs is not in the host's first user namespace
	trees       kernel.Kernel // makes the copies of TreeOrder
	treesInside bool          // it is the container's process

	// What the host steps opened, as handles of the host and, once the
	// container's process exists, of that (Inherit).
	inherit []*kernel.Handle

	CgroupV2  bool          // /sys/fs/cgroup is cgroup2
	NoCgroup  bool          // an ordinary user's container, which has none of its own
	CgroupsV1 []V1Hierarchy // the host's v1 hierarchies, for a cgroup mount
	PID       kernel.Handle // the container's process, in the host's numbers
	Line      kernel.Handle // the container's end of the line to us
	Fifo      kernel.Handle // exec.fifo, if Park
	FirstOwn  uint          // the container's first descriptor that its program does not get

	root      kernel.Handle            // root.path's tree
	atName    bool                     // it is attached at root.path and not over "/"
	rootDir   *kernel.Stat             // of root.path
	rootFS    *kernel.Statfs           // that root.path lies in
	plain     []*mount                 // binds whose sources the container's process opens first
	sources   []source                 // of bind mounts, by index of spec.mounts
	mappings  map[string]kernel.Handle // user namespaces of idmapped mounts
	binds     []*deviceBind            // the host's devices, in a user namespace
	null      kernel.Handle            // the host's /dev/null, checked
	joins     []join                   // namespaces by path
	stdioNull [3]bool                  // descriptor i is the host's /dev/null
	stdioOwn  [3]bool                  // descriptor i is to be given to the container's user

	label      string     // linux.mountLabel, if SELinux is enabled
	mounts     []*mount   // the plan of spec.mounts
	anyBent    bool       // a mount is reached by a link (bent)
	anyMade    bool       // a destination was missing
	judged     int        // of that many mounts, the destinations have been judged early (findWrong)
	toCover    []string   // masked and read-only paths, clean
	onRoot     *mount     // the last one on "/", if shareRoot has to make it what its options say
	late       []late     // mounts that become read-only once they are filled
	unverified []attached // mounts whose paths are still to be looked up again
	proc       kernel.Handle
	hostProc   kernel.Handle // for the labels of the process
	hasKcore   bool          // the host has /proc/kcore
	dev        kernel.Handle // the /dev that was filled while it was detached
	devSet     bool          // /dev was filled while it was detached

	files *kernel.Limit // of descriptors as the caller has it, if it was raised

	cwd      *rootfs.Place
	passwd   *passwd
	masked   []*covered
	readonly []*covered
	linked   bool // a link leads to one of these
	environ  []string
	program  string // what is executed, as found
	search   []*candidate
	chdir    [2]kernel.Handle

	compilation *compilation // of linux.seccomp, if there is one
}

// Container is a running container as exec finds it.
type Container struct {
	Process    kernel.Handle // pidfd of its first process
	Namespaces uint64        // those to join: CLONE_NEW… flags
	Root       kernel.Handle // its root directory, if it has no mount namespace
	Keyring    bool          // it has a session keyring of its own
}

// V1Hierarchy is a cgroup v1 hierarchy of the host.
type V1Hierarchy struct {
	Name    string   // directory name below /sys/fs/cgroup: "cpu,cpuacct", "systemd"
	Options []string // mount options: "cpu", "name=systemd"
	Links   []string // names that lead to it if several controllers are merged
	Dir     string   // the container's cgroup in it, on the host
}

type late struct {
	field string
	h     kernel.Handle
	path  string
}

// Step is one row of an order.
type Step struct {
	Name   string
	Fields []string // the fields of config.json that the step serves
	Run    func(*Env) error
}

// Do runs the steps in order and ends with a round trip.
func (e *Env) Do(steps []Step) error {
	err := e.Queue(steps)
	if err == nil {
		err = e.Sync()
	}
	if err != nil {
		return e.explain(err)
	}
	return nil
}

// Queue is Do without the last round trip: what the last steps queued is in B.
func (e *Env) Queue(steps []Step) error {
	for _, s := range steps {
		if err := s.Run(e); err != nil {
			return err
		}
	}
	return nil
}

// Sync executes what has been queued, and Aside meanwhile.
func (e *Env) Sync() error {
	e.B.Meanwhile, e.Aside = e.Aside, nil
	err := e.K.Run(e.B)
	e.B.Reset()
	return err
}

// pass hands on what is queued, once that is much, without waiting for it. The
// results are there after the next Sync.
func (e *Env) pass() error {
	if len(e.B.Calls) < maxQueued {
		return nil
	}
	if e.parts() {
		e.Part()
	}
	e.B.Late = true
	err := e.K.Run(e.B)
	next := e.passed[0]
	if next == nil {
		next = e.B.After(maxQueued + 32)
	}
	next.Reset()
	e.passed[0], e.passed[1], e.B = e.passed[1], e.B, next
	return err
}

// maxQueued is how many calls are queued before they are handed on: few enough for
// the container's process to begin soon, and for their memory, which the next ones
// use again, many enough to be worth a byte on the line.
const maxQueued = 130

// onHost returns an empty batch for the host. There is only one: it is done with
// when the next is asked for. A batch of its own for each of a thousand mounts
// would cost more than the mounts.
func (e *Env) onHost() *kernel.Batch {
	if e.hostB == nil {
		e.hostB = &kernel.Batch{Expect: 8}
	}
	e.hostB.Reset()
	return e.hostB
}

// run is Sync that leaves Aside alone: for what must come before it.
func (e *Env) run() error {
	err := e.K.Run(e.B)
	e.B.Reset()
	return err
}

// keep registers a host handle that the container's process inherits.
func (e *Env) keep(h *kernel.Handle) { e.inherit = append(e.inherit, h) }

// Inherit lists the handles that the container's process must inherit.
func (e *Env) Inherit() []kernel.Handle {
	list := make([]kernel.Handle, len(e.inherit))
	for i, h := range e.inherit {
		list[i] = *h
	}
	return list
}

// Inherited replaces them by what the container's process calls them. The
// host's descriptors are closed; nothing uses them any more.
func (e *Env) Inherited(list []kernel.Handle) error {
	b := e.onHost()
	for i, h := range e.inherit {
		b.Close(*h)
		*h = list[i]
	}
	return e.Host.Run(b)
}

// item is the path of an element of a list of the configuration.
func item(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }
