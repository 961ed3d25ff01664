package container

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/cgroup"
	"tongs/internal/criu"
	"tongs/internal/kernel"
	"tongs/internal/kernel/stub"
	"tongs/internal/notify"
	"tongs/internal/setup"
	"tongs/internal/state"
)

// RestoreOptions are what the command line says of a container to be restored.
// Of those of create, the ones that are about starting a program have no effect.
type RestoreOptions struct {
	ImageOptions
	CreateOptions
	NoSubreaper bool
	LSMProfile  string // TYPE:NAME
	LSMContext  string // of mounts
}

// restoration is one restore under way: a creation in which CRIU makes the
// processes.
type restoration struct {
	creation
	o       *RestoreOptions
	opts    *criu.Options
	dirs    directories
	within  []int // directories in CRIU's mount namespace
	session *criu.Session
	pid     int      // of the restored process, or 0
	pidfd   int      // of that process
	master  *os.File // of the container's terminal
}

// Restore makes a container of a checkpoint. Unless detached it waits for its
// end, as Run does, and is the last thing that a process does.
func Restore(store *state.Store, o RestoreOptions) (int, error) {
	sigs := -1
	if !o.Detach {
		var err error
		if sigs, err = prepareForeground(o.NoSubreaper); err != nil {
			return 0, err
		}
	}
	r := &restoration{o: &o, pidfd: -1, creation: creation{o: o.CreateOptions, fifo: -1, leave: func() {}}}
	if err := r.attempt(func() error { return r.restore(store) }); err != nil {
		return 0, err
	}
	r.dir.Unlock()
	if o.Detach {
		return 0, nil
	}
	code, err := runForeground(r.init, sigs, RunOptions{NoSubreaper: o.NoSubreaper}, func() error { return nil })
	deleteOwn(r.init, err == nil, o.Warn)
	if !o.NoSubreaper {
		reapRest()
	}
	return code, err
}

func (r *restoration) restore(store *state.Store) (err error) {
	if r.opts, err = r.options(); err != nil {
		return err
	}
	if err := r.checkProfile(); err != nil {
		return err
	}
	program, err := criu.Find()
	if err != nil {
		return err
	}
	if r.dirs, err = r.o.open(false, r.opts); err != nil {
		return err
	}
	defer r.closeDirs()
	if err := r.describeStreams(); err != nil {
		return err
	}
	if err := r.own(store); err != nil {
		return err
	}
	defer r.group.Close()
	r.onFailure(func() { _ = r.group.Kill() }) // what CRIU has left
	if err := r.restoreNotify(); err != nil {
		return err
	}
	if err := r.startCRIU(program); err != nil {
		return err
	}
	defer r.session.Close()
	if err := r.describe(); err != nil {
		return err
	}
	if err := r.runCRIU(); err != nil {
		return err
	}
	return r.finish()
}

func (r *restoration) options() (*criu.Options, error) {
	opts, err := r.o.ImageOptions.options(restoreLog)
	if err != nil {
		return nil, err
	}
	if l := r.b.Spec.Linux; l != nil {
		for _, n := range l.Namespaces {
			if n.Path != "" {
				err = errors.Join(err, restorable(n.Type))
			}
		}
	}
	if err != nil {
		return nil, err
	}
	if opts.AutoDedup && r.b.Spec.Linux != nil && slices.ContainsFunc(r.b.Spec.Linux.Namespaces, isUser) {
		return nil, errors.New("--auto-dedup: criu can only read the images of a container that has a user namespace")
	}
	opts.EvasiveDevices, opts.Sibling, opts.OrphanTerminal = true, true, r.b.Spec.Process.Terminal
	opts.LSMProfile, opts.LSMContext = r.o.LSMProfile, r.o.LSMContext
	opts.ConfigFile = criuConfig(r.b.Spec.Annotations)
	return opts, nil
}

func isUser(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace }

// describeStreams connects the pipes that the standard streams were with what
// they are now.
func (r *restoration) describeStreams() error {
	data, err := r.dirs.images.Read(descriptorsName)
	if err != nil {
		return fmt.Errorf("--image-path: %w", err)
	}
	list, err := state.DecodeDescriptors(data)
	if err != nil {
		return fmt.Errorf("--image-path: %q: %w", r.dirs.images.Path()+"/"+descriptorsName, err)
	}
	for i, s := range list {
		if strings.Contains(s, "pipe:") {
			r.opts.Inherit = append(r.opts.Inherit, criu.InheritFD{Key: s, FD: i})
		}
	}
	return nil
}

// startCRIU makes the process that becomes CRIU, in the container's cgroup, with
// the limits in force, prepares the mounts in it, and executes CRIU.
func (r *restoration) startCRIU(program string) error {
	session, theirs, err := criu.NewPair()
	if err != nil {
		return err
	}
	r.session = session
	r.env.Restore = &setup.Restore{Dir: hidden(filepath.Dir(r.dir.Path())), Socket: kernel.NewHandle(int64(theirs), "criu"), OwnCgroups: r.opts.Cgroups == criu.CgroupIgnore,
		Work: kernel.NewHandle(int64(r.dirs.work.FD()), "work"), Program: program, Args: criu.Args, Env: os.Environ()}
	if err := r.openOnHost(); err != nil {
		return err
	}
	cgroupFD, err := r.group.FD()
	if err != nil {
		return err
	}
	r.stub, err = stub.Start(stub.Config{CgroupFD: cgroupFD, Stdio: [3]int{0, 1, 2}, Inherit: r.env.Inherit(), ImageDirs: imageDirs(r.dir)})
	if err != nil {
		return err
	}
	r.onFailure(func() { r.stub.Kill(); r.stub.Close() })
	if err := r.join(); err != nil {
		return err
	}
	r.env.K, r.env.Line, r.env.FirstOwn = r.stub, r.stub.Line(), r.stub.FirstOwn()
	r.env.PID = kernel.NewHandle(int64(r.stub.PID), "criu")
	if err := r.env.Inherited(r.stub.Inherited()); err != nil {
		return err
	}
	if err := r.limit(); err != nil {
		return err
	}
	if err := r.env.Do(setup.RestoreOrder()); err != nil {
		return err
	}
	if err := r.openDirs(); err != nil {
		return err
	}
	r.env.B = &kernel.Batch{}
	if err := r.env.Queue(setup.RestoreTail()); err != nil {
		return err
	}
	return r.stub.Exec(r.env.B)
}

// describe tells CRIU of what was prepared for it.
func (r *restoration) describe() error {
	r.opts.Root = r.env.Restore.Root
	for _, x := range r.env.Restore.Externals {
		r.opts.Mounts = append(r.opts.Mounts, criu.Pair{Key: x.Name, Value: x.Source})
	}
	for _, n := range r.env.InheritedNamespaces() {
		name, file := namespaceName(n.Type)
		switch n.Type {
		case specs.NetworkNamespace, specs.PIDNamespace:
			r.opts.Inherit = append(r.opts.Inherit, criu.InheritFD{Key: namespaceKey(name), FD: n.FD})
		default:
			r.opts.JoinNS = append(r.opts.JoinNS, criu.Pair{Key: file, Value: n.Path})
		}
	}
	roots, err := cgroup.Of(r.stub.PID)
	if err != nil {
		return err
	}
	for _, controller := range slices.Sorted(maps.Keys(roots)) {
		r.opts.CgroupRoots = append(r.opts.CgroupRoots, criu.Pair{Key: controller, Value: roots[controller]})
	}
	return nil
}

// runCRIU has CRIU do it, and takes how it ended into the error.
func (r *restoration) runCRIU() error {
	options := cgroup.KeepOptions()
	err := r.session.RequireVersion()
	if err == nil && r.o.LazyPages {
		err = r.session.RequireFeature(criu.LazyPages)
	}
	if err == nil {
		_, err = r.session.Do(criu.Restore, r.opts, r.notice)
	}
	r.session.Close()
	how := r.stub.Outcome()
	if again := options(); again != nil {
		r.o.Warn(again.Error())
	}
	switch {
	case how != stub.Exited && err != nil:
		err = fmt.Errorf("%w; criu %s", err, how)
	case how != stub.Exited:
		err = errors.New("criu " + how)
	case err == nil && r.pid == 0:
		err = errors.New("criu restore: it has not said which process it made")
	}
	if err != nil {
		return r.dirs.work.Explain(err, restoreLog)
	}
	return nil
}

// notice hears how far CRIU has come.
func (r *restoration) notice(n criu.Notice) error {
	if n.Script == "orphan-pts-master" {
		return r.takeTerminal(n.FD)
	}
	if n.FD >= 0 {
		unix.Close(n.FD)
	}
	switch n.Script {
	case "setup-namespaces": // they are, and empty
		return r.setUpNamespaces(n.PID)
	case "post-restore": // the processes are, and stopped
		return r.adopt(n.PID)
	case "pre-resume": // and have their rights, too
		return r.beforeResume()
	}
	return nil
}

func (r *restoration) takeTerminal(fd int) error {
	if fd < 0 {
		return errors.New("process.terminal: criu has not sent the terminal")
	}
	if r.master != nil || !r.b.Spec.Process.Terminal {
		unix.Close(fd)
		return errors.New("process.terminal: the checkpoint has a terminal that the configuration does not have")
	}
	r.master = os.NewFile(uintptr(fd), "/dev/ptmx")
	return nil
}

func (r *restoration) setUpNamespaces(pid int) error {
	if r.env.NewNetwork() {
		_, err := r.lend(func(k kernel.Kernel, _ kernel.Handle) (kernel.Handle, error) {
			return kernel.Handle{}, r.env.RaiseLoopback(k, pid)
		})
		if err == nil {
			err = r.restoreNetDevices(pid)
		}
		if err != nil {
			return err
		}
	}
	return r.env.RunRuntimeHooks(pid)
}

// restoreNotify gives the container the directory of a service manager's socket if
// there is such a manager or the container had it. Nobody waits at the socket: the
// program may have said long ago that it is ready.
func (r *restoration) restoreNotify() error {
	had, err := r.dirs.images.HasMount(notify.Inside)
	if err != nil {
		return fmt.Errorf("--image-path: %w", err)
	}
	if !had && r.o.NotifySocket == "" {
		return nil
	}
	return r.showNotify()
}

// restoreNetDevices moves linux.netDevices into a new network namespace. In one
// that is given by path they have stayed.
func (r *restoration) restoreNetDevices(pid int) error {
	if len(r.b.Spec.Linux.NetDevices) == 0 {
		return nil
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("linux.netDevices: cannot open the process %d: pidfd_open: %w", pid, err)
	}
	defer unix.Close(pidfd)
	return r.moveNetDevicesTo(pid, pidfd)
}

// adopt makes the restored process that of the container.
func (r *restoration) adopt(pid int) (err error) {
	if r.pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
		return fmt.Errorf("cannot open the restored process %d: pidfd_open: %w", pid, err)
	}
	r.pid = pid
	r.onFailure(r.kill)
	if err := r.noteTimeNamespace(pid); err != nil {
		return err
	}
	r.setPhase()
	if err := r.identify(pid); err != nil {
		return err
	}
	return r.dir.Write(r.st)
}

// beforeResume is the last look at the process. CRIU would let it go on whatever
// it is told, and wait for ever if the process alone were killed: so both are, with
// all others in the cgroup.
func (r *restoration) beforeResume() error {
	if r.pid == 0 {
		return nil
	}
	err := r.checkLabels()
	if err != nil {
		_ = unix.PidfdSendSignal(r.pidfd, unix.SIGKILL, nil, 0) // it may have been killed
		err = errors.Join(err, r.group.Kill())
		r.stub.Kill()
	}
	return err
}

// noteTimeNamespace adds a time namespace to the state if CRIU has made one, so
// that clocks go on where they were: exec has to join it.
func (r *restoration) noteTimeNamespace(pid int) error {
	var own, its unix.Stat_t
	if err := unix.Stat("/proc/self/ns/time", &own); err != nil {
		return fmt.Errorf("cannot look at the time namespace: %w", err)
	}
	if err := unix.Stat("/proc/"+strconv.Itoa(pid)+"/ns/time", &its); err != nil {
		return fmt.Errorf("cannot look at the restored process's time namespace: %w", err)
	}
	ns := state.Namespace{Type: "NEWTIME"}
	has := slices.ContainsFunc(r.st.Config.Namespaces, func(n state.Namespace) bool { return n.Type == ns.Type })
	if !has && (own.Ino != its.Ino || own.Dev != its.Dev) {
		r.st.Config.Namespaces = append(r.st.Config.Namespaces, ns)
	}
	return nil
}

// kill ends the restored process, which is a child of ours.
func (r *restoration) kill() {
	_ = unix.PidfdSendSignal(r.pidfd, unix.SIGKILL, nil, 0)
	_, err := unix.Wait4(r.pid, nil, 0, nil)
	for err == unix.EINTR {
		_, err = unix.Wait4(r.pid, nil, 0, nil)
	}
	unix.Close(r.pidfd)
}

// finish hands over what the caller waits for.
func (r *restoration) finish() (err error) {
	r.init = &Init{Dir: r.dir, PID: r.pid, PidFD: r.pidfd, st: r.st, group: r.group, env: r.env}
	r.init.Console, err = r.handover().give(r.pid, r.pidfd, r.master, r.onFailure)
	return err
}
