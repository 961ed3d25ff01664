package setup

import (
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// restoreDevices makes the devices that are not in a file system which CRIU
// restores, and gives it the host's where they are binds.
func restoreDevices(e *Env) error {
	if !e.bindsDevices() || e.bindsDev() {
		if err := makeDevices(e); err != nil {
			return err
		}
		return linkDevices(e)
	}
	for i, d := range e.binds {
		if err := e.Sync(); err != nil {
			return err
		}
		pl, err := e.Root.Make(d.field, d.path, false)
		if err != nil {
			return err
		}
		e.B.For(d.field, "cannot attach the host's "+d.path)
		point := readHandle(e.B, pl.H)
		top := readHandle(e.B, e.Root.Dir)
		name := "device" + strconv.Itoa(i)
		e.B.Mknodat(e.Restore.dir, name, unix.S_IFREG|0o600, 0)
		e.moveInto(name, d.h)
		e.B.Close(pl.H)
		if err := e.Sync(); err != nil {
			return err
		}
		p := pathBelow(string(point.Bytes()), string(top.Bytes()))
		e.Restore.add(External{Point: p, Name: p, Source: e.Restore.Dir + "/" + name})
	}
	return linkDevices(e)
}

func (r *Restore) add(x External) { r.Externals = append(r.Externals, x) }

// makeConsolePoint makes the file that the terminal is mounted on.
func makeConsolePoint(e *Env) error {
	if !e.Spec.Process.Terminal {
		return nil
	}
	if err := e.Sync(); err != nil {
		return err
	}
	pl, err := e.Root.Make("process.terminal", "/dev/console", false)
	if err != nil {
		return err
	}
	e.B.Close(pl.H)
	return nil
}

// moveExternals finds out where the bind mounts came to lie and takes them from
// there to where CRIU gets them, the last one first, since it may lie in another.
// All other mounts go: CRIU makes them itself.
func moveExternals(e *Env) error {
	e.B.For("mounts", "cannot find the mounts")
	points := make([]*kernel.Buffer, len(e.mounts))
	top := readHandle(e.B, e.Root.Dir)
	for i, m := range e.mounts {
		if m.h.Valid() && m.path != "/" {
			points[i] = readHandle(e.B, m.h)
		}
		if len(e.B.Calls) > maxQueued {
			if err := e.Sync(); err != nil {
				return err
			}
			e.B.For("mounts", "cannot find the mounts")
		}
	}
	// A mount that is to be moved must not lie in a shared one.
	e.B.MountSetattr(e.Root.Dir, unix.AT_RECURSIVE, kernel.MountAttr{Propagation: unix.MS_SLAVE})
	if err := e.Sync(); err != nil {
		return err
	}
	for _, m := range slices.Backward(e.mounts) {
		point := points[m.index]
		if point == nil {
			continue
		}
		e.B.For(m.field, "cannot take the mount from "+m.path)
		if !m.opt.bind {
			e.B.Umount(handlePath(m.h), unix.MNT_DETACH)
			continue
		}
		name := strconv.Itoa(m.index)
		if m.file {
			e.B.Mknodat(e.Restore.dir, name, unix.S_IFREG|0o600, 0)
		} else {
			e.B.Mkdirat(e.Restore.dir, name, 0o700)
		}
		e.moveInto(name, m.h)
		if len(e.B.Calls) > maxQueued {
			if err := e.Sync(); err != nil {
				return err
			}
		}
		p := pathBelow(string(point.Bytes()), string(top.Bytes()))
		e.Restore.add(External{Point: p, Name: p, Source: e.Restore.Dir + "/" + name})
	}
	e.addExternalCgroups()
	if err := e.Sync(); err != nil {
		return err
	}
	return e.addExternalSubmounts()
}

// addExternalSubmounts names what came along with recursive binds.
func (e *Env) addExternalSubmounts() error {
	if !slices.ContainsFunc(e.mounts, func(m *mount) bool { return m.opt.bind && m.opt.recursive }) {
		return nil
	}
	text, err := readFile(e.K, "/proc/self/mountinfo")
	if err != nil {
		return err
	}
	r := e.Restore
	for _, m := range parseMounts(text) {
		for _, x := range r.Externals {
			if rest, ok := strings.CutPrefix(m.point, x.Source+"/"); ok && x.Point != "" {
				r.add(External{Point: x.Point + "/" + rest, Name: x.Point + "/" + rest, Source: m.point})
				break
			}
		}
	}
	return nil
}

// addExternalCgroups names the hierarchies of a v1 cgroup mount that is made of
// binds.
func (e *Env) addExternalCgroups() {
	for _, m := range e.mounts {
		if m.Type == "cgroup" && !e.hasNamespace(specs.CgroupNamespace) {
			for _, v := range e.CgroupsV1 {
				p := m.path + "/" + v.Name
				e.Restore.add(External{Point: p, Name: p, Source: v.Dir})
			}
		}
	}
}

// attachNull gives CRIU the null device that covers masked files.
func attachNull(e *Env) error {
	if !e.null.Valid() {
		return nil
	}
	e.B.For("linux.maskedPaths", "cannot attach the null device")
	e.B.Mknodat(e.Restore.dir, "null", unix.S_IFREG|0o600, 0)
	e.moveInto("null", e.null)
	e.Restore.add(External{Name: maskName, Source: e.Restore.Dir + "/null"})
	return nil
}
