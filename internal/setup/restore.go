package setup

import (
	"errors"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/rootfs"
)

// Restore is what a restore is prepared with: a process that becomes CRIU, which
// makes the container's processes. It is in the container's cgroup and in the
// host's namespaces but for a mount namespace of its own, in which it finds the
// root and the external mounts, and which ends with it. There the mounts of the
// configuration are made once as for a new container, so that what they are
// mounted on exists where it must and as it is made for those.
type Restore struct {
	Dir     string          // what the mounts are put over, in this namespace: a directory that CRIU has no use for
	Socket  kernel.Handle   // CRIU's end of the connection
	Work    kernel.Handle   // the directory that it works in; then a copy of its mount
	Images  []kernel.Handle // the directories of images, each before those that it builds on; then, if Shown, copies of their mounts
	Shown   bool            // the images are in this namespace as well
	Program string
	Args    func(socket int) []string
	Env     []string
	// CRIU makes no cgroup namespace if it does not manage cgroups.
	OwnCgroups bool

	// What the steps find.
	Root      string // path of the root
	Externals []External

	dir kernel.Handle // the file system on Dir
}

// InheritedNamespace is a namespace of the configuration's that CRIU has open.
type InheritedNamespace struct {
	Type specs.LinuxNamespaceType
	Path string // as configured
	FD   int    // CRIU's
}

// RestoreHostOrder is HostOrder for a restore.
func RestoreHostOrder() []Step {
	return []Step{
		{"mapped owners", nil, refuseMapped},
		{"host", nil, lookAtHost},
		{"namespaces to join", nil, openNamespaces},
		{"trees of the host", nil, openTrees},
		{"privileges", nil, requireTrees},
		{"labels", nil, lookForLabels}, // CRIU sets the process's; its keyring's and the mounts' are ours
		{"connection", nil, func(e *Env) error { e.keep(&e.Restore.Socket); return nil }},
		{"working directory", nil, openRestoreWork},
		{"images", nil, openRestoreImages},
	}
}

// requireTrees refuses who may not copy mounts: an ordinary user, for whom CRIU
// does not work either.
func requireTrees(e *Env) error {
	if e.treesInside {
		return errors.New("a container can be restored by root only")
	}
	return nil
}

// RestoreOrder runs in the process that becomes CRIU.
func RestoreOrder() []Step {
	return []Step{
		{"bind sources", nil, openPlainSources},
		{"keyring", nil, joinKeyring}, // the restored processes inherit it
		{"cgroup namespace", nil, unshareCgroups},
		{"private mounts", nil, unshareMounts},
		{"umask 0", nil, clearUmask},
		{"root", nil, attachRestoreRoot},
		{"stand-ins", nil, standIn},
		{"mount points", nil, lookUpMountPoints},
		{"ask", nil, (*Env).Sync},
		{"mounts", nil, addMounts},
		{"devices", nil, restoreDevices},
		{"terminal's mount point", nil, makeConsolePoint},
		{"verify mounts", nil, func(e *Env) error { e.verifyNow(); return e.Sync() }},
		{"external mounts", nil, moveExternals},
		{"null device", nil, attachNull},
		{"umask", nil, restoreUmask},
	}
}

// RestoreTail replaces the process by CRIU.
func RestoreTail() []Step {
	return []Step{
		{"close descriptors", nil, closeForCRIU},
		{"execute", nil, executeCRIU},
	}
}

// unshareCgroups makes the container's cgroup namespace in CRIU's place: the
// processes inherit it.
func unshareCgroups(e *Env) error {
	if e.Restore.OwnCgroups && e.newNamespace(specs.CgroupNamespace) {
		e.B.For("linux.namespaces", "cannot make the container's cgroup namespace")
		e.B.Unshare(unix.CLONE_NEWCGROUP)
	}
	return nil
}

// unshareMounts makes the process's own mount namespace. What is mounted on the
// host still appears in it, nothing of it on the host.
func unshareMounts(e *Env) error {
	e.B.For("", "cannot make a mount namespace for criu")
	e.B.Unshare(unix.CLONE_NEWNS)
	e.B.MountSetattrRoot(unix.AT_RECURSIVE, kernel.MountAttr{Propagation: unix.MS_SLAVE})
	return nil
}

// attachRestoreRoot puts the root tree into a new file system: CRIU wants a mount,
// on nothing that is covered. Root of a user namespace can reach it.
func attachRestoreRoot(e *Env) error {
	r := e.Restore
	e.Root = &rootfs.Root{K: e.K, Dir: e.root}
	e.B.For("root.path", "cannot keep the container's mounts from the host")
	e.B.MountSetattr(e.root, unix.AT_RECURSIVE, kernel.MountAttr{Propagation: unix.MS_SLAVE})
	e.B.For("", "cannot make a file system for criu's mounts on "+r.Dir)
	at := e.B.Openat2(kernel.CWD(), r.Dir, unix.O_PATH|unix.O_DIRECTORY, 0, 0)
	fs := e.B.Fsopen("tmpfs")
	fs.String("source", "criu")
	fs.String("mode", "711") // for root of a user namespace
	fs.Create()
	r.dir = fs.Mount(unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC, "criu")
	e.B.Mkdirat(r.dir, "root", 0o755)
	e.B.MoveMount(r.dir, at).Close(at)
	r.Root = r.Dir + "/root"
	e.B.For("root.path", "cannot attach the root file system at "+r.Root)
	e.moveInto("root", e.root)
	e.B.For("--work-path", "cannot attach the directory at "+r.WorkDir())
	e.B.Mkdirat(r.dir, "work", 0o700)
	e.moveInto("work", r.Work)
	if r.Shown {
		e.showImages()
	}
	return nil
}

// WorkDir is where the directory that CRIU works in is found in its mount
// namespace. CRIU mounts below it, which it could not in the host's.
func (r *Restore) WorkDir() string { return r.Dir + "/work" }

// ImagesDir is where the images are found if they are Shown.
func (r *Restore) ImagesDir() string { return r.Dir + "/" + imagesName(0) }

// imagesName is the directory with the nth of the chain of images.
func imagesName(n int) string { return "images" + strconv.Itoa(n) }

// openRestoreImages copies the mounts of the images if root of the container's
// user namespace has to get there.
func openRestoreImages(e *Env) error {
	r := e.Restore
	if !e.hasNamespace(specs.UserNamespace) {
		return nil
	}
	b := e.onHost()
	b.For("--image-path", "cannot copy the directory's mount")
	for i := range r.Images {
		r.Images[i] = b.OpenTree(r.Images[i], "", unix.OPEN_TREE_CLONE)
		b.MountSetattr(r.Images[i], 0, kernel.MountAttr{Propagation: unix.MS_PRIVATE})
		e.keep(&r.Images[i])
	}
	r.Shown = true
	return e.Host.Run(b)
}

// showImages attaches the images so that root of the container's user namespace
// can read them: CRIU opens some as that, and the directories are the caller's
// alone. Above each is another, of which the permissions are those of both, and the
// link to what the images build on.
func (e *Env) showImages() {
	r := e.Restore
	for i, h := range r.Images {
		dir, top := imagesName(i), "top"+strconv.Itoa(i)
		e.B.For("--image-path", "cannot attach the directory at "+r.Dir+"/"+dir)
		e.B.Mkdirat(r.dir, dir, 0o700)
		e.moveInto(dir, h)
		e.B.Mkdirat(r.dir, top, 0o755) // CRIU opens what others build on for reading
		if i+1 < len(r.Images) {
			e.B.Symlinkat("../"+imagesName(i+1), r.dir, top+"/parent")
		}
		fs := e.B.Fsopen("overlay")
		fs.String("source", "criu")
		fs.String("lowerdir", r.Dir+"/"+top+":"+r.Dir+"/"+dir)
		fs.Create()
		e.moveInto(dir, fs.Mount(unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC, "images"))
	}
}

func openRestoreWork(e *Env) error {
	r := e.Restore
	b := e.onHost()
	b.For("--work-path", "cannot copy the directory's mount")
	r.Work = b.OpenTree(r.Work, "", unix.OPEN_TREE_CLONE)
	b.MountSetattr(r.Work, 0, kernel.MountAttr{Propagation: unix.MS_PRIVATE})
	e.keep(&r.Work)
	return e.Host.Run(b)
}

// standIn replaces file systems by an empty one where only what they are mounted
// on matters: a mount of cgroup2 changes the options of the host's, for one.
func standIn(e *Env) error {
	for _, m := range e.plan() {
		switch m.fstype {
		case "bind", "proc", "sysfs", "tmpfs":
		default:
			m.fstype, m.opt.super, m.opt.flags = "tmpfs", nil, nil
		}
	}
	return nil
}

// moveInto attaches a mount at an entry of the restore's directory.
func (e *Env) moveInto(name string, m kernel.Handle) {
	at := e.B.Openat2(e.Restore.dir, name, unix.O_PATH|unix.O_NOFOLLOW, 0, kernel.InRootReal)
	e.B.MoveMount(m, at).Close(at)
}

// closeForCRIU leaves open what CRIU needs: the standard streams, its connection
// and namespaces.
func closeForCRIU(e *Env) error {
	e.B.For("", "cannot close descriptors")
	e.B.CloseRange(e.FirstOwn, unix.CLOSE_RANGE_CLOEXEC)
	e.B.KeepOpen(e.Restore.Socket)
	for _, j := range e.joins {
		e.B.KeepOpen(j.h)
	}
	return nil
}

func executeCRIU(e *Env) error {
	r := e.Restore
	n, _, _ := r.Socket.Number(nil)
	e.B.For("", "cannot execute "+r.Program)
	e.B.Execve(r.Program, r.Args(int(n)), r.Env)
	e.B.Allow()
	e.B.ExitGroup(127)
	return nil
}

// InheritedNamespaces are the namespaces given by path, as CRIU has them open.
func (e *Env) InheritedNamespaces() []InheritedNamespace {
	var list []InheritedNamespace
	if e.Spec.Linux == nil {
		return nil
	}
	for _, n := range e.Spec.Linux.Namespaces {
		if n.Path == "" {
			continue
		}
		fd, _, _ := e.joins[len(list)].h.Number(nil)
		list = append(list, InheritedNamespace{Type: n.Type, Path: n.Path, FD: int(fd)})
	}
	return list
}

// RaiseLoopback brings lo up in the network namespace of a process that CRIU is
// restoring, by a process of ours that joins it: images have no devices, and
// connections of the container to itself need it.
func (e *Env) RaiseLoopback(k kernel.Kernel, pid int) error {
	e.K, e.B = k, &kernel.Batch{}
	e.B.For("linux.namespaces", "cannot join the container's network namespace")
	net := e.B.Openat2(kernel.CWD(), processFile(kernel.NewHandle(int64(pid), "container"), "ns/net"), unix.O_RDONLY, 0, 0)
	e.B.Setns(net, unix.CLONE_NEWNET)
	if err := raiseLoopback(e); err != nil {
		return err
	}
	return e.Sync()
}

// NewNetwork reports whether the container has a network namespace of its own.
func (e *Env) NewNetwork() bool { return e.newNamespace(specs.NetworkNamespace) }

// RunRuntimeHooks executes the hooks of prestart and createRuntime for a process
// that CRIU is restoring.
func (e *Env) RunRuntimeHooks(pid int) error {
	e.PID, e.K, e.B = kernel.NewHandle(int64(pid), "container"), e.Host, &kernel.Batch{}
	return runRuntimeHooks(e)
}

func restoreUmask(e *Env) error {
	e.B.For("", "cannot set the umask")
	e.B.Umask(0o022)
	return nil
}
