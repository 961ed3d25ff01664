package setup

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/rootfs"
)

// deviceBind is a device of the host's that is shown in the container, where a
// user namespace keeps nodes from being made (mknod(2), EPERM).
type deviceBind struct {
	device
	h kernel.Handle
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
		if d.node() {
			e.binds = append(e.binds, &deviceBind{device: d})
		}
	}
	b := e.onHost()
	for _, d := range e.binds {
		b.For(d.field, "cannot open the host's "+d.path+" (a user namespace cannot make device nodes)")
		d.h = b.OpenTree(kernel.CWD(), d.path, unix.OPEN_TREE_CLONE)
		b.MountSetattr(d.h, 0, kernel.MountAttr{Clear: unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE})
		st := b.Stat(d.h)
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

// bindDevices lays the host's nodes over files, which are made where they are
// missing.
func (e *Env) bindDevices() error {
	if len(e.binds) == 0 {
		return nil
	}
	places := make([]*rootfs.Place, len(e.binds))
	for i, d := range e.binds {
		e.B.For(d.field, "cannot look up "+d.path)
		places[i] = e.Root.Look(e.B, d.path)
	}
	if err := e.Sync(); err != nil {
		return err
	}
	for i, d := range e.binds {
		if places[i].Errno() != 0 {
			var err error
			if places[i], err = e.Root.Make(d.field, d.path, false); err != nil {
				return err
			}
		}
		if places[i].IsDir() {
			return fmt.Errorf("%s: %s is a directory", d.field, d.path)
		}
		e.Root.Attach(e.B, d.field, d.h, places[i])
		e.B.Close(d.h)
	}
	return nil
}
