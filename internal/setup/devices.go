package setup

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/rootfs"
)

// device is a node to be made.
type device struct {
	field string
	path  string
	mode  uint32 // type and permissions
	major uint32
	minor uint32
	uid   uint32
	gid   uint32
}

// devices lists the default devices (runtime-spec 1.3, config-linux § Default
// Devices) and those of linux.devices, which win.
func (e *Env) devices() []device {
	var list []device
	listed := map[string]bool{"/dev/ptmx": true} // a link, never a node
	if e.Spec.Linux != nil {
		for i, d := range e.Spec.Linux.Devices {
			p := rootfs.Clean(d.Path)
			if !listed[p] {
				list = append(list, specDevice(item("linux.devices", i), p, d))
			}
			listed[p] = true
		}
	}
	for _, d := range []device{{path: "/dev/null", minor: 3}, {path: "/dev/random", minor: 8}, {path: "/dev/full", minor: 7},
		{path: "/dev/tty", major: 5}, {path: "/dev/zero", minor: 5}, {path: "/dev/urandom", minor: 9}} {
		if listed[d.path] {
			continue
		}
		if d.field, d.mode = "linux.devices", unix.S_IFCHR|0o666; d.major == 0 {
			d.major = 1
		}
		list = append(list, d)
	}
	return list
}

func specDevice(field, p string, d specs.LinuxDevice) device {
	dev := device{field: field, path: p, mode: 0o666, major: uint32(d.Major), minor: uint32(d.Minor)}
	if d.FileMode != nil {
		dev.mode = nodeMode(uint32(*d.FileMode) & 0o7777)
	}
	switch d.Type {
	case "b":
		dev.mode |= unix.S_IFBLK
	case "p":
		dev.mode |= unix.S_IFIFO
		dev.major, dev.minor = 0, 0
	default: // c, u
		dev.mode |= unix.S_IFCHR
	}
	if d.UID != nil {
		dev.uid = *d.UID
	}
	if d.GID != nil {
		dev.gid = *d.GID
	}
	return dev
}

// nodeMode is what the permissions are once a node has its owner: chown(2) takes
// set-id bits away from all that can be executed. They are the same for a node of
// root's, which is not given an owner here.
func nodeMode(mode uint32) uint32 {
	mode &^= unix.S_ISUID
	if mode&unix.S_IXGRP != 0 {
		mode &^= unix.S_ISGID
	}
	return mode
}

// bindsDev reports whether /dev is supplied by the configuration, with a bind on
// it or on the root: then it is left as it is. It may be the host's.
func (e *Env) bindsDev() bool {
	bound := false
	for _, m := range e.plan() {
		if m.path == "/" || m.path == "/dev" {
			bound = m.opt.bind
		}
	}
	return bound
}

// fillDev makes the devices and links in a detached /dev.
func (e *Env) fillDev(dev kernel.Handle) {
	for _, d := range e.devices() {
		dir, name := rootfs.Parent(d.path)
		switch {
		case dir != "/dev":
		case e.bindsDevices() && d.node():
			e.B.For(d.field, "cannot make "+d.path)
			e.B.Mknodat(dev, name, unix.S_IFREG, 0)
		default:
			e.makeDevice(dev, name, d)
		}
	}
	e.linkDevicesIn(dev, true)
	e.dev, e.devSet = dev, true
}

// makeDevice adds calls that make one node in a directory that is new.
func (e *Env) makeDevice(dir kernel.Handle, name string, d device) {
	e.B.For(d.field, "cannot make the device "+d.path)
	e.B.Mknodat(dir, name, d.mode, unix.Mkdev(d.major, d.minor))
	if d.uid != 0 || d.gid != 0 {
		e.ownDevice(e.openDevice(dir, name, d), d)
	}
}

// makeDeviceOnce makes one node in a directory of the image. One that is there
// already must be the right one, and stays as it is.
func (e *Env) makeDeviceOnce(dir kernel.Handle, name string, d device) error {
	e.B.For(d.field, "cannot make the device "+d.path)
	e.B.Mknodat(dir, name, d.mode, unix.Mkdev(d.major, d.minor))
	made := e.B.Allow(unix.EEXIST).Last()
	h := e.openDevice(dir, name, d)
	if err := e.Sync(); err != nil {
		return err
	}
	if made.Errno() != 0 {
		e.B.Close(h)
		return nil
	}
	e.B.For(d.field, "cannot set the owner of the device "+d.path)
	e.ownDevice(h, d)
	return nil
}

func (e *Env) openDevice(dir kernel.Handle, name string, d device) kernel.Handle {
	h := e.B.Openat2(dir, name, unix.O_PATH|unix.O_NOFOLLOW, 0, kernel.InRootReal)
	st := e.B.Stat(h)
	e.B.Check(func() error {
		major, minor := st.Rdev()
		if st.Type() != d.mode&unix.S_IFMT || major != d.major || minor != d.minor {
			return fmt.Errorf("%s: %s exists and is not the device %d:%d", d.field, d.path, d.major, d.minor)
		}
		return nil
	})
	return h
}

func (e *Env) ownDevice(h kernel.Handle, d device) {
	e.B.Fchown(h, d.uid, d.gid)
	e.B.Close(h)
}

// makeDevices makes the devices that fillDev did not: in a /dev that the
// image has, and elsewhere.
func makeDevices(e *Env) error {
	if e.bindsDev() {
		return nil
	}
	if err := e.bindDevices(); err != nil {
		return err
	}
	for _, d := range e.devices() {
		dir, name := rootfs.Parent(d.path)
		if e.devSet && dir == "/dev" || e.bindsDevices() && d.node() {
			continue
		}
		if err := e.Sync(); err != nil {
			return err
		}
		parent, err := e.Root.Make(d.field, dir, true)
		if err != nil {
			return err
		}
		if !parent.IsDir() {
			return fmt.Errorf("%s: %s is not a directory", d.field, dir)
		}
		if err := e.makeDeviceOnce(parent.H, name, d); err != nil {
			return err
		}
		e.B.Close(parent.H)
	}
	return nil
}

// linkDevices makes the links of runtime-spec 1.3, config-linux § Dev symbolic
// links and § Default Devices, if fillDev did not.
func linkDevices(e *Env) error {
	if e.bindsDev() || e.devSet {
		return nil
	}
	if err := e.Sync(); err != nil {
		return err
	}
	dev, err := e.Root.Make("linux.devices", "/dev", true)
	if err != nil {
		return err
	}
	e.linkDevicesIn(dev.H, false)
	e.B.Close(dev.H)
	return nil
}

func (e *Env) linkDevicesIn(dev kernel.Handle, fresh bool) {
	links := [][2]string{{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
		{"/proc/self/fd/2", "stderr"}}
	if e.hasKcore {
		links = append(links, [2]string{"/proc/kcore", "core"})
	}
	for _, l := range links {
		e.B.For("", "cannot make the link /dev/"+l[1])
		e.B.Symlinkat(l[0], dev, l[1])
		if !fresh {
			e.B.Allow(unix.EEXIST)
		}
	}
	e.B.For("", "cannot make the link /dev/ptmx")
	if !fresh {
		e.B.Unlinkat(dev, "ptmx", 0)
		e.B.Allow(unix.ENOENT)
	}
	e.B.Symlinkat("pts/ptmx", dev, "ptmx")
}
