package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/cgroup"
	"tongs/internal/kernel"
	"tongs/internal/kernel/stub"
	"tongs/internal/listener"
	"tongs/internal/setup"
	"tongs/internal/state"
)

// Init is the first process of a container that this process has created.
type Init struct {
	Dir     *state.Dir // not locked
	PID     int
	PidFD   int
	Console *os.File // the terminal's master, if it stays here

	st    *state.State
	group *cgroup.Group
	stub  *stub.Stub
	env   *setup.Env
	agent *agent
	leave func() // see runHook
	tail  *kernel.Batch
}

// queueTail prepares the last calls of the process.
func (i *Init) queueTail() error {
	i.env.B = &kernel.Batch{}
	err := i.env.Queue(setup.TailOrder())
	i.tail = i.env.B
	return err
}

// Start lets the process execute the container's program and returns when it
// has, or with the error of its execve or of a hook.
func (i *Init) Start() error {
	h := i.env.Spec.Hooks
	if h == nil {
		h = &specs.Hooks{}
	}
	err := execute(i.stub, i.tail, i.agent, specState(i.st, specs.StateCreated, i.PID), func() error {
		if len(h.StartContainer) == 0 {
			return nil
		}
		return i.env.Hooks.Watch("hooks.startContainer", h.StartContainer, 0)
	})
	if err != nil {
		return died(i.group, err)
	}
	return runPoststart(i.st, h.Poststart, i.leave)
}

// tellOutOfMemory warns of a container that has ended with nothing else to say
// why: the kernel may have killed its process in execve(2).
func tellOutOfMemory(g *cgroup.Group, warn func(string)) {
	if oom := g.OutOfMemory(); oom != "" {
		warn("the container has ended: " + oom)
	}
}

// died adds to the error of a container's process that has ended whether it was
// for lack of memory.
func died(g *cgroup.Group, err error) error {
	var lost *kernel.LostError
	if !errors.As(err, &lost) {
		return err
	}
	if oom := g.OutOfMemory(); oom != "" {
		// The second part is runc's phrase.
		return fmt.Errorf("linux.resources.memory.limit: container init was OOM-killed (memory limit too low?): %s: %w", oom, err)
	}
	return fmt.Errorf("container init died: %w", err)
}

// execute gives a process that we have started its last calls. Meanwhile it does
// what is first, and then gives the agent, if any, the listener of the filter.
func execute(s *stub.Stub, tail *kernel.Batch, a *agent, st *specs.State, first func() error) error {
	held, err := a.hold(s.PID, s.PidFD, st)
	if err != nil {
		return err
	}
	var failed error
	tail.Meanwhile = func() error {
		if failed = first(); failed == nil {
			failed = told(held)
		}
		if errors.Is(failed, listener.ErrEnded) { // its last call says why
			failed = nil
		}
		return failed
	}
	err = s.Exec(tail)
	if failed != nil {
		return failed
	}
	return err
}

// Close frees what this process holds of the container. One that was neither
// parked nor started ends.
func (i *Init) Close() error {
	i.stub.Close()
	if i.Console != nil {
		i.Console.Close()
	}
	i.Dir.Close()
	return nil
}

// identify writes down which process is the container's first.
func (c *creation) identify(pid int) error {
	id, err := state.Identify(pid)
	if err != nil {
		return err
	}
	c.st.PID, c.st.Start = id.PID, id.Start
	c.st.ExternalDescriptors = c.streams()
	if c.rdt != nil {
		c.st.Tongs.Owned.Resctrl = c.rdt.OwnedAfter()
	}
	if len(c.group.Hierarchies()) == 0 { // Create did without
		c.st.CgroupPaths, c.st.Tongs.Owned.Cgroups = map[string]string{}, nil
	}
	// All, as runc has it: also those that are the host's. A time namespace, which
	// runc 1.1 does not know, is in it only if it is the container's.
	c.st.NamespacePaths = make(map[string]string, 8)
	for _, t := range namespaceTypes() {
		name, file := namespaceName(t)
		if t != specs.TimeNamespace || slices.ContainsFunc(c.st.Config.Namespaces, func(n state.Namespace) bool { return n.Type == name }) {
			c.st.NamespacePaths[name] = "/proc/" + strconv.Itoa(id.PID) + "/ns/" + file
		}
	}
	return nil
}

// setPhase says that the creation has come to its end.
func (c *creation) setPhase() {
	c.st.Tongs.Phase = state.Running
	if c.o.Park {
		c.st.Tongs.Phase = state.Created
	}
}

// namespaceType is the type that the state calls by a name, empty if there is
// none.
func namespaceType(name string) specs.LinuxNamespaceType {
	for _, t := range namespaceTypes() {
		if n, _ := namespaceName(t); n == name {
			return t
		}
	}
	return ""
}

func namespaceTypes() []specs.LinuxNamespaceType {
	return []specs.LinuxNamespaceType{specs.PIDNamespace, specs.NetworkNamespace, specs.MountNamespace, specs.IPCNamespace,
		specs.UTSNamespace, specs.UserNamespace, specs.CgroupNamespace, specs.TimeNamespace}
}

// streams says what the container's standard streams are, for checkpoints: a pipe
// is connected anew when it is restored. With a terminal they are the container's
// own.
func (c *creation) streams() []string {
	list := make([]string, state.Descriptors)
	for i := range list {
		if c.b.Spec.Process.Terminal {
			list[i] = "/dev/null" // as with runc
		} else {
			list[i] = streamName(i)
		}
	}
	return list
}

// streamName is what the link of a descriptor in /proc/self/fd says (proc(5)): for
// a pipe or the null device, as most are, without asking for it, which takes longer.
func streamName(fd int) string {
	var st unix.Stat_t
	var fs unix.Statfs_t
	if unix.Fstat(fd, &st) != nil {
		return ""
	}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3):
		return "/dev/null"
	case st.Mode&unix.S_IFMT == unix.S_IFIFO && unix.Fstatfs(fd, &fs) == nil && fs.Type == unix.PIPEFS_MAGIC:
		return "pipe:[" + strconv.FormatUint(st.Ino, 10) + "]"
	}
	buf := make([]byte, 64) // nothing longer is looked for
	n, err := unix.Readlink("/proc/self/fd/"+strconv.Itoa(fd), buf)
	if err != nil || n == len(buf) {
		return ""
	}
	return string(buf[:n])
}

// newState is the state before anything is made: it says what will be, so that
// a delete can clean up after a create that was killed.
func (c *creation) newState() error {
	boot, err := state.BootID()
	if err != nil {
		return err
	}
	self, err := state.Identify(os.Getpid())
	if err != nil {
		return err
	}
	spec := c.b.Spec
	root := spec.Root.Path
	if !filepath.IsAbs(root) {
		root = filepath.Join(c.b.Dir, root)
	}
	st := &state.State{ID: c.o.ID, Created: time.Now().UTC(), CgroupPaths: c.group.Paths()}
	st.Tongs = state.Own{Format: state.Format, Phase: state.Creating, Bundle: c.b.Dir, OCIVersion: spec.Version, BootID: boot, Runtime: self,
		Root: state.Root{Path: root}, Annotations: spec.Annotations, SystemdCgroup: c.o.SystemdCgroup, NoNewKeyring: c.o.NoNewKeyring,
		Owned: state.Owned{Cgroups: c.group.Owned()}}
	var root0 unix.Stat_t
	if err := unix.Stat(root, &root0); err == nil { // openRoot judges it
		st.Tongs.Root.Dev, st.Tongs.Root.Ino = root0.Dev, root0.Ino
	}
	st.Config = state.Config{Rootfs: root, Hostname: spec.Hostname, Domainname: spec.Domainname, Version: spec.Version,
		Cgroups: state.Cgroups{Name: c.o.ID, Systemd: c.o.SystemdCgroup}}
	for k, v := range spec.Annotations {
		st.Config.Labels = append(st.Config.Labels, k+"="+v)
	}
	slices.Sort(st.Config.Labels)
	st.Config.Labels = append(st.Config.Labels, "bundle="+c.b.Dir)
	if spec.Linux != nil {
		st.Config.Cgroups.Path = spec.Linux.CgroupsPath
		for _, n := range spec.Linux.Namespaces {
			name, _ := namespaceName(n.Type)
			st.Config.Namespaces = append(st.Config.Namespaces, state.Namespace{Type: name, Path: n.Path})
		}
	}
	if c.rdt != nil {
		st.IntelRdtPath, st.Tongs.Owned.Resctrl = c.rdt.Dir(), c.rdt.Owned()
	}
	c.st = st
	return nil
}
