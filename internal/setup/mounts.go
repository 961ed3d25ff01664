package setup

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/rootfs"
)

// mount is one entry of spec.mounts with what has been found out about it.
type mount struct {
	*specs.Mount
	index  int
	field  string // mounts[3]
	where  string // mounts[3].destination
	path   string // destination, clean
	opt    mountOptions
	fstype string
	file   bool          // the source is not a directory
	h      kernel.Handle // the mount
	place  *rootfs.Place // looked up early, if it could be
	above  *mount        // the earlier mount in which the destination lies
	sure   bool          // the mount point is a directory in above, which need not be asked
	made   bool          // fill has made the mount point, in above
	built  bool          // h is there, or a call that makes it
	under  bool          // a later mount hides it
	lock   bool          // to be made read-only when it is filled

	cgroups []kernel.Handle // of a v1 cgroup mount: the container's directories
}

// fresh reports whether the mount is a new tmpfs, whose content is known.
func (m *mount) fresh() bool { return m.fstype == "tmpfs" && !m.opt.bind && !m.opt.copyUp }

// plan reads spec.mounts once.
func (e *Env) plan() []*mount {
	if e.mounts != nil {
		return e.mounts
	}
	e.mounts = make([]*mount, len(e.Spec.Mounts))
	last := make(map[string]*mount, len(e.mounts)) // by path
	all := make([]mount, len(e.mounts))
	for i := range e.Spec.Mounts {
		s, m := &e.Spec.Mounts[i], &all[i]
		*m = mount{Mount: s, index: i, field: item("mounts", i), path: rootfs.Clean(s.Destination)}
		m.where = m.field + ".destination"
		m.opt = parseOptions(s.Options, s.Type)
		m.fstype = s.Type
		if s.Type == "bind" {
			m.opt.bind = true
		}
		if m.opt.bind {
			m.fstype = "bind"
		}
		if m.fstype == "cgroup" && e.CgroupV2 {
			m.fstype = "cgroup2"
		}
		m.above = topmost(last, m.path)
		m.sure = m.onSysfs()
		last[m.path] = m
		e.mounts[i] = m
	}
	later := make(map[string]*mount, len(e.mounts))
	for _, m := range slices.Backward(e.mounts) {
		m.under = topmost(later, m.path) != nil
		later[m.path] = m
	}
	return e.mounts
}

// onSysfs reports whether a mount of cgroups belongs on the directory that each
// sysfs has for it (cgroups(7)): nobody has to wait for a look at it, unless a mount
// that was reached by a link of the image may cover it (Env.bent).
func (m *mount) onSysfs() bool {
	return m.path == "/sys/fs/cgroup" && (m.fstype == "cgroup" || m.fstype == "cgroup2") && m.above != nil && m.above.fstype == "sysfs" && m.above.path == "/sys"
}

// topmost is the mount that a path lies in, given the last mount on each path:
// that which was listed last of all on the path or a directory above, since it
// hides what was mounted below it before.
func topmost(last map[string]*mount, p string) *mount {
	var top *mount
	for {
		if m := last[p]; m != nil && (top == nil || m.index > top.index) {
			top = m
		}
		if p == "/" {
			return top
		}
		p, _ = rootfs.Parent(p)
	}
}

// below reports whether clean path p is dir or lies below it.
func below(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir) && p[len(dir)] == '/'
}

// addMounts adds each mount as listed: built detached and complete, attached
// last.
func addMounts(e *Env) error {
	if err := lookElsewhere(e); err != nil {
		return err
	}
	for _, m := range e.plan() {
		if err := e.addMount(m); err != nil {
			return err
		}
		if err := e.pass(); err != nil {
			return err
		}
	}
	return nil
}

func (e *Env) addMount(m *mount) error {
	if err := e.refuse(m); err != nil {
		return err
	}
	if m.fstype == "cgroup" && !e.NoCgroup {
		return e.addCgroupV1(m)
	}
	if m.opt.copyLink && m.opt.bind {
		if done, err := e.copyLink(m); done || err != nil {
			return err
		}
	}
	if m.opt.bind { // before the destination, which must be of the source's kind
		if err := e.build(m); err != nil {
			return err
		}
	}
	if err := e.findDestination(m); err != nil {
		return err
	}
	m.takeMode()
	if err := e.build(m); err != nil {
		return err
	}
	place, err := e.destination(m)
	if err != nil {
		return err
	}
	if m.fstype == "proc" && !e.proc.Valid() {
		e.proc = m.h
	}
	e.takeModeLate(m, place)
	e.fill(m, place)
	if err := e.copyUp(m, place); err != nil {
		return err
	}
	e.attach(m, place)
	return nil
}

// refuse tells what the configuration alone shows to be wrong.
func (e *Env) refuse(m *mount) error {
	if m.opt.copyUp && m.fstype != "tmpfs" {
		return fmt.Errorf("%s.options: tmpcopyup is for a tmpfs only, not for a mount of type %s", m.field, m.fstype)
	}
	if m.path == "/proc" && !e.isProc(m) {
		return fmt.Errorf("%s.type: only a file system of type proc can be mounted at /proc, not %s", m.field, m.fstype)
	}
	return nil
}

// build makes the detached mount, unless that was done ahead.
func (e *Env) build(m *mount) error {
	if m.built {
		return nil
	}
	m.built = true
	if m.opt.bind {
		return e.buildBind(m)
	}
	return e.buildNew(m)
}

// buildNew makes a mount of a new file system.
func (e *Env) buildNew(m *mount) error {
	if e.buildCgroup(m) {
		return nil
	}
	if m.fstype == "" || m.fstype == "none" {
		return fmt.Errorf("%s.type: required unless the options have bind or rbind", m.field)
	}
	e.B.For(m.field+".type", "cannot make a file system of type "+m.fstype)
	fs := e.B.Fsopen(m.fstype)
	if m.Source != "" {
		e.B.For(m.field+".source", "cannot use the source")
		fs.String("source", m.Source)
	}
	e.configure(fs, m)
	if o := e.labelOption(m); o != "" {
		e.B.For("linux.mountLabel", "cannot label "+m.fstype)
		fs.Option(o)
	}
	e.B.For(m.field+m.blame(), "cannot make the file system "+m.fstype+" for "+m.path)
	fs.Create()
	set := m.opt.alone
	if set&unix.MOUNT_ATTR_RDONLY != 0 && (m.fstype == "tmpfs" || m.path == "/dev") {
		set &^= unix.MOUNT_ATTR_RDONLY // later: it is still to be filled
		m.lock = true
	}
	e.B.For(m.field+".type", "cannot mount the file system "+m.fstype+" for "+m.path)
	m.h = fs.Mount(set, m.path)
	e.labelRoot(m)
	return nil
}

// blame is the field that a superblock which cannot be made is most likely due
// to: a source that names something, options, or the type itself.
func (m *mount) blame() string {
	switch {
	case strings.ContainsAny(m.Source, "/:"):
		return ".source"
	case len(m.opt.super) > 0:
		return ".options"
	}
	return ".type"
}

// takesMode reports whether a tmpfs gets the permissions of the directory that it
// covers: unless its options have some or the directory is made for it. Images come
// with a /tmp of mode 1777 or a /run of mode 0755, and runc keeps them.
func (m *mount) takesMode() bool {
	return m.fstype == "tmpfs" && !m.sure && !m.made && !slices.ContainsFunc(m.opt.super, func(o string) bool { return strings.HasPrefix(o, "mode=") })
}

// takeMode does so by an option, if it is known which directory that is.
func (m *mount) takeMode() {
	if !m.built && m.takesMode() && m.place.Errno() == 0 {
		m.opt.super = append(m.opt.super, "mode="+strconv.FormatUint(uint64(m.place.Stat.Mode()&0o7777), 8))
	}
}

// takeModeLate does so when it was not known before the mount was built.
func (e *Env) takeModeLate(m *mount, place *rootfs.Place) {
	if m.takesMode() && !place.Made {
		e.B.For(m.field+".options", "cannot set the mode of the tmpfs for "+m.path)
		e.B.Fchmodat(m.h, ".", place.Stat.Mode()&0o7777)
	}
}

// buildBind sets the attributes that the options name on the detached copy
// of the source; all others stay as the source has them, so that nothing has
// to be read and copied, and what is locked stays locked.
func (e *Env) buildBind(m *mount) error {
	s := &e.sources[m.index]
	if s.inside { // below the root: it may be a mount of ours, so it is opened now
		e.B.For(m.field+".source", "cannot open "+m.Source)
		src := e.Root.Follow(e.B, s.path)
		if m.opt.linkSource {
			src = e.Root.Itself(e.B, s.path)
		}
		if err := e.Sync(); err != nil {
			return err
		}
		if err := e.Root.Settle(m.field+".source", src); err != nil {
			return err
		}
		if n := src.Errno(); n != 0 {
			return m.unopened(n)
		}
		e.B.For(m.field+".source", "cannot copy "+m.Source)
		s.h = e.B.OpenTree(src.H, "", m.treeFlags())
		e.B.Close(src.H)
		m.file = !src.IsDir()
	}
	m.h = s.h
	if len(m.opt.super) > 0 {
		return fmt.Errorf("%s.options: a bind mount cannot have file-system-specific options: %q", m.field, strings.Join(m.opt.super, ","))
	}
	var top, all kernel.MountAttr
	top.Set, top.Clear = attrs(m.opt.set, e.keepLocked(m, m.opt.clear))
	all.Set, all.Clear = attrs(m.opt.recSet, e.keepLocked(m, m.opt.recClear))
	if s.own {
		// it has the propagation of the container's mount namespace
	} else if alone := all == (kernel.MountAttr{}) && !m.opt.recursive; alone {
		top.Propagation = e.sourcePropagation()
	} else {
		all.Propagation = e.sourcePropagation()
	}
	if m.path == "/" && e.sharesMounts() {
		top.Propagation = unix.MS_SLAVE // pivot_root(2) refuses a shared root; shareRoot makes it shared again
	}
	if top != (kernel.MountAttr{}) {
		e.B.For(m.field+".options", "cannot set the flags of "+m.path)
		e.B.MountSetattr(m.h, 0, top)
	}
	if all != (kernel.MountAttr{}) {
		e.B.For(m.field+".options", "cannot set the flags of "+m.path+" and all mounts below")
		e.B.MountSetattr(m.h, unix.AT_RECURSIVE, all)
	}
	return nil
}

// sourcePropagation is what keeps the container's mounts from the host: the
// copy of a shared mount is its peer (mount_namespaces(7)), and what is
// mounted in one appears in the other. A shared linux.rootfsPropagation asks
// for just that.
func (e *Env) sourcePropagation() uint64 {
	if e.sharesMounts() {
		return 0
	}
	before, _, _, _ := e.propagation() // attachRoot has returned the error
	return before
}

// sharesMounts reports whether the container's copies of the host's mounts stay
// peers of those.
func (e *Env) sharesMounts() bool {
	_, after, _, _ := e.propagation()
	return after == unix.MS_SHARED
}

// fill makes what is known to be missing in a new tmpfs while nobody can see
// it: the nodes and links of /dev, and the mount points of later mounts. If a link
// leads to the tmpfs, it leads to these, too, so that they are looked up.
func (e *Env) fill(m *mount, place *rootfs.Place) {
	if !m.fresh() {
		return
	}
	if m.path == "/dev" {
		e.fillDev(m.h)
	}
	if place.Bent {
		return
	}
	made := map[string]bool{}
	for _, later := range e.mounts[m.index+1:] {
		dir, name := rootfs.Parent(later.path)
		if later.above != m || dir != m.path || later.path == m.path || later.file || later.opt.bind && !e.openedEarly(later) {
			continue // it is or may be of another kind
		}
		if !made[name] {
			e.B.ForPath(later.where, "cannot make", later.path)
			e.B.Mkdirat(m.h, name, 0o755)
		}
		made[name], later.sure, later.made = true, true, true
	}
}
