package setup

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// addCgroupV1 shows the host's v1 hierarchies at a mount of type cgroup: a
// tmpfs with a directory for each. With a cgroup namespace of the container's
// own each is a mount of the hierarchy, whose root is the container's cgroup;
// without one it is a copy of that directory (cgroups(7)). All are read-only
// if the mount is.
func (e *Env) addCgroupV1(m *mount) error {
	top := *m // with what is known of the place, and of later mounts on it
	top.Mount, top.fstype = &specs.Mount{Source: "tmpfs"}, "tmpfs"
	top.opt.super, top.opt.flags = []string{"mode=755"}, nil
	if err := e.build(&top); err != nil {
		return err
	}
	if err := e.findDestination(&top); err != nil {
		return err
	}
	place, err := e.destination(&top)
	if err != nil {
		return err
	}
	for _, v := range e.CgroupsV1 {
		e.B.For(m.field, "cannot make "+m.path+"/"+v.Name)
		e.B.Mkdirat(top.h, v.Name, 0o755)
		for _, l := range v.Links {
			e.B.Symlinkat(v.Name, top.h, l)
		}
	}
	if e.rootDetached() {
		e.addHierarchies(m, top.h)
		e.attach(&top, place)
	} else {
		e.attach(&top, place) // first: a detached mount takes no other before 6.15
		e.addHierarchies(m, top.h)
	}
	m.h = top.h
	return nil
}

// addHierarchies fills the directories of a v1 cgroup mount.
func (e *Env) addHierarchies(m *mount, top kernel.Handle) {
	for i, v := range e.CgroupsV1 {
		var h kernel.Handle
		if e.newNamespace(specs.CgroupNamespace) {
			h = e.mountV1(m, v)
		} else if h = m.cgroups[i]; m.opt.alone != 0 {
			e.B.For(m.field+".options", "cannot set the flags of "+m.path+"/"+v.Name)
			set, clear := attrs(m.opt.alone, 0)
			e.B.MountSetattr(h, 0, kernel.MountAttr{Set: set, Clear: clear})
		}
		e.B.For(m.field, "cannot open "+m.path+"/"+v.Name)
		at := e.B.Openat2(top, v.Name, unix.O_PATH, 0, kernel.InRootReal)
		e.B.For(m.field, "cannot attach the mount at "+m.path+"/"+v.Name)
		e.B.MoveMount(h, at).Close(at).Close(h)
	}
}

// mountV1 makes a detached mount of one hierarchy.
func (e *Env) mountV1(m *mount, v V1Hierarchy) kernel.Handle {
	e.B.For(m.field, "cannot mount the cgroup hierarchy "+v.Name)
	fs := e.B.Fsopen("cgroup")
	fs.String("source", "cgroup")
	for _, o := range v.Options {
		fs.Option(o)
	}
	fs.Create()
	return fs.Mount(m.opt.alone, m.path+"/"+v.Name)
}

// openCgroups opens what cgroup mounts show without a cgroup namespace.
func (e *Env) openCgroups() error {
	if e.newNamespace(specs.CgroupNamespace) || e.NoCgroup {
		return nil
	}
	for _, m := range e.plan() {
		switch {
		case e.bindsCgroup2(m):
			if err := e.openCgroup2(m); err != nil {
				return err
			}
		case m.fstype == "cgroup":
			if err := e.openCgroupsV1(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// openCgroupsV1 opens the container's directories of the v1 hierarchies, for each
// mount anew: a copy can be attached once, and has the flags of its mount.
func (e *Env) openCgroupsV1(m *mount) error {
	m.cgroups = make([]kernel.Handle, len(e.CgroupsV1))
	for i, v := range e.CgroupsV1 {
		b := e.onHost()
		b.For(m.field, "cannot open the cgroup "+v.Dir)
		m.cgroups[i] = b.OpenTree(kernel.CWD(), v.Dir, unix.OPEN_TREE_CLONE)
		b.MountSetattr(m.cgroups[i], 0, kernel.MountAttr{Propagation: unix.MS_SLAVE}) // no peer of the host's
		if err := e.trees.Run(b); err != nil {
			return err
		}
		e.keepTree(&m.cgroups[i])
	}
	return nil
}

// buildCgroup is build for cgroups that are not mounted anew, and reports whether
// m is one: the copy that has been opened, or nothing for a container that has no
// cgroup. What that would see are the user's own, with all that the user runs.
func (e *Env) buildCgroup(m *mount) bool {
	if e.NoCgroup && (m.fstype == "cgroup" || m.fstype == "cgroup2") {
		e.B.For(m.field, "cannot cover "+m.path)
		m.h = e.emptyDir()
		return true
	}
	return e.bindsCgroup2(m)
}

// bindsCgroup2 reports whether a mount of cgroup v2 shows a copy of the host's: the
// kernel mounts it for the root of the user namespace that the cgroup namespace
// belongs to (cgroup_namespaces(7)). For the host's root it does, and takes nsdelegate
// and memory_recursiveprot from all mounts of the host, since options that are not
// given to a mount in the first cgroup namespace are cleared.
func (e *Env) bindsCgroup2(m *mount) bool {
	return m.fstype == "cgroup2" && !e.NoCgroup && !e.hasNamespace(specs.CgroupNamespace) && (e.CgroupV2 || e.inUserNamespace())
}

// openCgroup2 opens the host's cgroups. In a user namespace, what lies in them may be
// the user's own, and must not be changed from the container (CVE-2023-25809): the
// copy is read-only, whatever the options of the mount say.
func (e *Env) openCgroup2(m *mount) error {
	b := e.onHost()
	b.For(m.field, "cannot open the host's cgroups")
	m.h = b.OpenTree(kernel.CWD(), "/sys/fs/cgroup", unix.OPEN_TREE_CLONE|unix.AT_RECURSIVE)
	set := m.opt.alone | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	if e.inUserNamespace() {
		set |= unix.MOUNT_ATTR_RDONLY
	}
	b.MountSetattr(m.h, unix.AT_RECURSIVE, kernel.MountAttr{Set: set &^ unix.MOUNT_ATTR__ATIME, Propagation: unix.MS_PRIVATE})
	e.keepTree(&m.h)
	return e.trees.Run(b)
}
