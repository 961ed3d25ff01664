package setup

import (
	"fmt"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/rootfs"
)

// deviceBind is a device of the host's that is shown in the container, where a
// user namespace keeps nodes from being made (mknod(2), EPERM).
type deviceBind struct {
	device
	h    kernel.Handle
	root *kernel.Stat // of the copy
}

// bindsDevices reports whether devices are binds of the host's nodes.
func (e *Env) bindsDevices() bool { return e.nested || e.hasNamespace(specs.UserNamespace) }

// node reports whether the device is one that needs rights to be made.
func (d *device) node() bool { return d.mode&unix.S_IFMT != unix.S_IFIFO }

// openDevices opens the nodes that the container needs as detached copies of
// the host's, and checks that they are what the configuration says.
func openDevices(e *Env) error {
	if !e.bindsDevices() || e.bindsDev() {
		return nil
	}
	for _, d := range e.devices() {
		if d.node() && !e.mountsOn(d.path) {
			e.binds = append(e.binds, &deviceBind{device: d})
		}
	}
	b := e.onHost()
	for _, d := range e.binds {
		b.For(d.field, "cannot open the host's "+d.path+" (a user namespace cannot make device nodes)")
		d.h = b.OpenTree(kernel.CWD(), d.path, unix.OPEN_TREE_CLONE)
		b.MountSetattr(d.h, 0, kernel.MountAttr{Clear: unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE})
		st := b.Stat(d.h)
		d.root = st
		b.Check(func() error {
			major, minor := st.Rdev()
			if st.Type() != d.mode&unix.S_IFMT || major != d.major || minor != d.minor {
				return fmt.Errorf("%s: the host's %s is not the device %d:%d, and a user namespace cannot make it", d.field, d.path, d.major, d.minor)
			}
			return nil
		})
		e.keepTree(&d.h)
	}
	return e.trees.Run(b)
}

// mountsOn reports whether the configuration mounts something just there: engines
// without privileges bind devices themselves.
func (e *Env) mountsOn(path string) bool {
	return slices.ContainsFunc(e.plan(), func(m *mount) bool { return m.path == path })
}

// bindDevices lays the host's nodes over files, which are made where they are
// missing.
func (e *Env) bindDevices() error {
	var asked []*deviceBind
	for _, d := range e.binds {
		if dir, name := rootfs.Parent(d.path); e.devSet && dir == "/dev" { // fillDev has made the file
			e.B.For(d.field, "cannot open "+d.path)
			at := &rootfs.Place{Path: d.path, H: e.B.Openat2(e.dev, name, unix.O_PATH|unix.O_NOFOLLOW, 0, kernel.InRootReal)}
			e.bindDevice(d, at)
		} else {
			asked = append(asked, d)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	places := make([]*rootfs.Place, len(asked))
	for i, d := range asked {
		e.B.For(d.field, "cannot look up "+d.path)
		places[i] = e.Root.Look(e.B, d.path)
	}
	if err := e.Sync(); err != nil {
		return err
	}
	for i, d := range asked {
		if places[i].Errno() != 0 {
			var err error
			if places[i], err = e.Root.Make(d.field, d.path, false); err != nil {
				return err
			}
		}
		if places[i].IsDir() {
			return fmt.Errorf("%s: %s is a directory", d.field, d.path)
		}
		e.bindDevice(d, places[i])
	}
	return nil
}

func (e *Env) bindDevice(d *deviceBind, at *rootfs.Place) {
	e.Root.Move(e.B, d.field, d.h, at)
	e.unverified = append(e.unverified, attached{d.field, at, d.root})
	if e.hooksBeforePivot() {
		e.verifyNow()
	}
	e.B.Close(d.h)
}
