package container

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/bundle"
	"tongs/internal/cgroup"
	"tongs/internal/criu"
	"tongs/internal/kernel"
	"tongs/internal/kernel/host"
	"tongs/internal/notify"
	"tongs/internal/rootfs"
	"tongs/internal/setup"
	"tongs/internal/state"
)

// ImageOptions are what the command line says of checkpoints, to be made or to be
// restored.
type ImageOptions struct {
	ImagePath      string
	WorkPath       string // the images' if empty
	CgroupMode     string
	EmptyNS        []string
	TCPEstablished bool
	ExtUnixSockets bool
	ShellJob       bool
	FileLocks      bool
	AutoDedup      bool
	LazyPages      bool
}

// CheckpointOptions are what the command line says of a checkpoint to be made.
type CheckpointOptions struct {
	ImageOptions
	ParentPath      string // relative to the images
	PageServer      string // ADDRESS:PORT
	StatusFD        int    // gets a zero byte when pages can be fetched; -1: nobody waits
	LeaveRunning    bool
	TCPSkipInFlight bool
	LinkRemap       bool
	PreDump         bool // memory only
	Warn            func(string)
}

const (
	dumpLog    = "dump.log"
	restoreLog = "restore.log"
)

// options are those that both directions have.
func (o *ImageOptions) options(log string) (*criu.Options, error) {
	mode, ok := criu.ParseCgroupMode(o.CgroupMode)
	if !ok {
		return nil, fmt.Errorf("invalid manage-cgroups-mode value: %q", o.CgroupMode) // runc's phrase
	}
	for _, n := range o.EmptyNS {
		if n != "network" {
			return nil, fmt.Errorf("--empty-ns: namespace %q is not supported", n) // runc's phrase
		}
	}
	// Network devices are those of whoever gives the container a network, now and
	// after the restore: the images have none, as with runc.
	return &criu.Options{WorkDir: -1, LogFile: log, Cgroups: mode, EmptyNS: unix.CLONE_NEWNET, TCPEstablished: o.TCPEstablished,
		ExtUnixSockets: o.ExtUnixSockets, ShellJob: o.ShellJob, FileLocks: o.FileLocks, AutoDedup: o.AutoDedup, LazyPages: o.LazyPages}, nil
}

// directories are those of one checkpoint, opened.
type directories struct {
	images, work *criu.Directory // the same if there is no other to work in
}

// open opens the directories and tells CRIU's options of them.
func (o *ImageOptions) open(make bool, opts *criu.Options) (d directories, err error) {
	if make {
		if d.images, err = criu.MakeImages(o.ImagePath); err == nil {
			err = d.images.CheckParents()
		}
	} else if d.images, err = criu.OpenImages(o.ImagePath); err == nil {
		err = d.images.CheckComplete()
	}
	if err != nil {
		d.close()
		return d, fmt.Errorf("--image-path: %w", err)
	}
	d.work = d.images
	opts.ImagesDir = d.images.FD()
	if o.WorkPath != "" {
		if d.work, err = criu.MakeWork(o.WorkPath); err != nil {
			d.close()
			return d, fmt.Errorf("--work-path: %w", err)
		}
		opts.WorkDir = d.work.FD()
	}
	return d, nil
}

func (d directories) close() {
	d.images.Close()
	d.work.Close()
}

// A checkpointing is one checkpoint under way.
type checkpointing struct {
	o       CheckpointOptions
	dir     *state.Dir
	st      *state.State
	process *state.Process
	group   *cgroup.Group
	opts    *criu.Options
	dirs    directories
}

// Checkpoint saves a running container in files, and ends and deletes it unless
// it is to be left running. If it fails, the container goes on as it was.
func Checkpoint(store *state.Store, id string, o CheckpointOptions) error {
	return withLocked(store, id, func(d *state.Dir, info *Info) error {
		if info.Status != Running && info.Status != Paused {
			return fmt.Errorf("Container cannot be checkpointed in %s state", info.Status) // runc's phrase
		}
		c := &checkpointing{o: o, dir: d, st: info.State}
		if err := c.run(info.Status == Paused); err != nil || o.LeaveRunning || o.PreDump {
			return err
		}
		if err := remove(d, c.st, o.Warn); err != nil {
			o.Warn(fmt.Sprintf("cannot delete the container: %v", err)) // it is saved
		}
		return nil
	})
}

func (c *checkpointing) run(paused bool) (err error) {
	if c.opts, err = c.options(); err != nil {
		return err
	}
	program, err := criu.Find()
	if err != nil {
		return err
	}
	if c.process, err = state.OpenProcess(c.st.Init()); err != nil {
		return err
	}
	defer c.process.Close()
	if c.group, err = cgroup.Load(c.st.CgroupPaths, c.st.Tongs.SystemdCgroup); err != nil {
		return err
	}
	defer c.group.Close()
	_, missing := os.Lstat(c.o.ImagePath)
	defer func() {
		if err != nil && missing != nil {
			_ = os.Remove(c.o.ImagePath) // unless there is a log in it
		}
	}()
	if c.dirs, err = c.o.open(true, c.opts); err != nil {
		return err
	}
	defer c.dirs.close()
	if c.o.ParentPath != "" {
		if err := c.dirs.images.OpenParent(c.o.ParentPath); err != nil {
			return fmt.Errorf("invalid --parent-path: %w", err) // runc's phrase
		}
	}
	if err := c.describe(); err != nil {
		return err
	}
	if err := c.dump(program); err != nil {
		return errors.Join(err, c.thaw(paused))
	}
	return nil
}

// options are those that can be told before anything is opened.
func (c *checkpointing) options() (*criu.Options, error) {
	opts, err := c.o.ImageOptions.options(dumpLog)
	if err != nil {
		return nil, err
	}
	if filepath.IsAbs(c.o.ParentPath) {
		return nil, errors.New("--parent-path must be relative") // runc's phrase
	}
	if s := c.o.PageServer; s != "" {
		if opts.PageServer, opts.PagePort, err = criu.ParseServer(s); err != nil {
			return nil, err
		}
	}
	if fd := c.o.StatusFD; fd >= 0 {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil {
			return nil, fmt.Errorf("invalid --status-fd argument %d: %w", fd, err)
		}
		if flags&unix.O_ACCMODE == unix.O_RDONLY {
			return nil, fmt.Errorf("invalid --status-fd argument %d: not writable", fd)
		}
	}
	opts.PID = c.st.PID
	opts.Root = c.st.Config.Rootfs
	opts.ParentDir = c.o.ParentPath
	opts.TrackMemory = c.o.ParentPath != ""
	opts.LeaveRunning = c.o.LeaveRunning
	opts.TCPSkipInFlight = c.o.TCPSkipInFlight
	opts.LinkRemap = c.o.LinkRemap
	opts.ConfigFile = criuConfig(c.st.Tongs.Annotations)
	opts.Freezer = c.st.CgroupPaths["freezer"]
	if dir, ok := c.st.CgroupPaths[""]; ok && len(c.st.CgroupPaths) == 1 {
		opts.Freezer = dir
	}
	return opts, nil
}

// criuConfig is the file with further options of CRIU's, which need not be there.
// An empty annotation means none. The name is runc's, which users have.
func criuConfig(annotations map[string]string) string {
	if file, ok := annotations["org.criu.config"]; ok {
		return file
	}
	return "/etc/criu/runc.conf"
}

// describe tells CRIU what leads out of the container, and a later restore what
// its standard streams were.
func (c *checkpointing) describe() error {
	for _, n := range c.st.Config.Namespaces {
		if n.Path != "" {
			if err := restorable(namespaceType(n.Type)); err != nil {
				return err
			}
		}
		if n.Path == "" || n.Type != "NEWNET" && n.Type != "NEWPID" {
			continue
		}
		var ns unix.Stat_t
		if err := unix.Stat(n.Path, &ns); err != nil {
			return fmt.Errorf("linux.namespaces: cannot look at %q: %w", n.Path, err)
		}
		_, file := namespaceName(namespaceType(n.Type))
		c.opts.External = append(c.opts.External, fmt.Sprintf("%s[%d]:%s", file, ns.Ino, namespaceKey(n.Type)))
	}
	if c.o.PreDump {
		return nil // memory only
	}
	if err := c.describeMounts(); err != nil {
		return err
	}
	return c.dirs.images.Write(descriptorsName, state.EncodeDescriptors(c.st.ExternalDescriptors))
}

// restorable refuses types of namespaces that CRIU cannot join, or in which the
// mounts could not be prepared. A checkpoint that could not be restored is none.
func restorable(t specs.LinuxNamespaceType) error {
	switch t {
	case specs.UserNamespace, specs.MountNamespace, specs.CgroupNamespace:
		return fmt.Errorf("linux.namespaces: criu cannot restore a container in a %s namespace that is given by path", t)
	}
	return nil
}

// descriptorsName is where runc keeps what the standard streams were, too.
const descriptorsName = "descriptors.json"

// namespaceKey is the name of an external namespace in images of runc.
func namespaceKey(t string) string {
	if t == "NEWPID" {
		return "extRootPidNS"
	}
	return "extRootNetNS"
}

func (c *checkpointing) describeMounts() error {
	b, err := bundle.Load(c.st.Tongs.Bundle)
	if err != nil {
		return fmt.Errorf("cannot read the container's configuration: %w", err)
	}
	c.opts.OrphanTerminal = b.Spec.Process.Terminal
	if notify.HasDir(c.dir.FD()) {
		b.Spec.Mounts = append(b.Spec.Mounts, notifyMount(c.dir))
	}
	root, err := openRootOf(c.process, c.st.PID)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	env := &setup.Env{Options: setup.Options{ID: c.st.ID, Bundle: c.st.Tongs.Bundle}, Spec: b.Spec, Host: host.Kernel{}, K: host.Kernel{},
		B: &kernel.Batch{}, Warn: c.o.Warn, CgroupV2: c.group.Unified(), CgroupsV1: hierarchies(c.group)}
	env.PID = kernel.NewHandle(int64(c.st.PID), "container")
	env.Root = &rootfs.Root{K: host.Kernel{}, Dir: kernel.NewHandle(int64(root), "root")}
	list, err := env.ExternalMounts()
	if err != nil {
		return err
	}
	for _, x := range list {
		c.opts.Mounts = append(c.opts.Mounts, criu.Pair{Key: x.Point, Value: x.Name})
	}
	return nil
}

// dump has CRIU do it.
func (c *checkpointing) dump(program string) error {
	p, err := criu.Start(program)
	if err != nil {
		return err
	}
	defer p.Close()
	options := cgroup.KeepOptions()
	kind := criu.Dump
	err = p.RequireVersion()
	if c.o.PreDump {
		kind = criu.PreDump
		err = cmp.Or(err, p.RequireFeature(criu.MemoryTracking))
	}
	if c.o.LazyPages && err == nil {
		err = p.RequireFeature(criu.LazyPages)
	}
	if err != nil {
		return p.Explain(err)
	}
	_, err = p.Do(kind, c.opts, c.notice)
	if again := options(); again != nil {
		c.o.Warn(again.Error())
	}
	// After a pre-dump CRIU waits for the next, and is not content with none.
	if ended := p.End(); ended != nil && (err != nil || kind != criu.PreDump) {
		err = cmp.Or(err, ended)
	}
	if err != nil {
		return c.dirs.work.Explain(p.Explain(err), dumpLog)
	}
	return nil
}

// notice hears how far CRIU has come.
func (c *checkpointing) notice(n criu.Notice) error {
	if n.FD >= 0 {
		unix.Close(n.FD)
	}
	switch n.Script {
	case "post-dump":
		return c.dir.MarkCheckpoint()
	case "status-ready":
		if c.o.StatusFD < 0 {
			return nil
		}
		if _, err := unix.Write(c.o.StatusFD, []byte{0}); err != nil {
			c.o.Warn(fmt.Sprintf("--status-fd: cannot write: %v", err))
		}
		unix.Close(c.o.StatusFD)
		c.o.StatusFD = -1
	}
	return nil
}

// thaw lets the container go on that a CRIU which was killed has left frozen.
func (c *checkpointing) thaw(paused bool) error {
	if paused {
		return nil
	}
	frozen, err := c.group.Frozen()
	if err == nil && frozen {
		err = c.group.Freeze(false)
	}
	return err
}
