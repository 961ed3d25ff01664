package setup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// idmapped reports whether the mount's files are to have other owners
// (runtime-spec 1.3, config § Mounts, idmap and ridmap).
func (m *mount) idmapped() bool { return m.opt.idmap || m.opt.ridmap || len(m.UIDMappings) > 0 }

// mapIDs gives the files of a bind source the owners that the mount's mappings
// say, or without any the container's user namespace. Only the host can: it
// takes CAP_SYS_ADMIN in the user namespace of the file system
// (mount_setattr(2)).
func (e *Env) mapIDs(m *mount, h kernel.Handle, path string) error {
	if e.treesInside {
		return fmt.Errorf("%s.options: cannot map the owners of %s: it takes privileges on its file system", m.field, path)
	}
	ns, err := e.mappingNamespace(m)
	if err != nil {
		return err
	}
	flags := uint(0)
	if m.opt.ridmap {
		flags = unix.AT_RECURSIVE
	}
	b := &kernel.Batch{}
	b.For(m.field+".options", "cannot map the owners of "+path)
	b.MountIdmap(h, flags, ns)
	err = hint(e.Host.Run(b), unix.EPERM, "it takes privileges on its file system")
	var c *kernel.CallError
	if errors.As(err, &c) && c.Errno == unix.EINVAL {
		c.Hint = e.whyNotMapped(path, m.opt.ridmap)
	}
	return err
}

// whyNotMapped names the file system that a path lies in.
func (e *Env) whyNotMapped(path string, recursive bool) string {
	b := &kernel.Batch{}
	b.For("mounts", "cannot find the file system of "+path)
	st := b.StatPath(path)
	h := b.Openat2(kernel.CWD(), "/proc/thread-self/mountinfo", unix.O_RDONLY, 0, 0)
	text := b.Read(h, 1<<20)
	b.Close(h)
	name := "the file system"
	if e.Host.Run(b) == nil {
		for line := range strings.Lines(string(text.Bytes())) {
			id, rest, _ := strings.Cut(line, " ")
			_, rest, found := strings.Cut(rest, " - ")
			if found && id == strconv.FormatUint(st.MountID(), 10) {
				kind, _, _ := strings.Cut(rest, " ")
				name = "the file system type " + kind
			}
		}
	}
	if recursive {
		name += ", or that of a mount below,"
	}
	return name + " may not support mapped owners on this kernel, or has mapped ones already"
}

// mappingNamespace is a user namespace with the mappings that the mount asks
// for. One serves all mounts with the same.
func (e *Env) mappingNamespace(m *mount) (kernel.Handle, error) {
	uids, gids := m.UIDMappings, m.GIDMappings
	if len(uids) == 0 {
		for _, j := range e.joins {
			if j.kind == unix.CLONE_NEWUSER {
				return j.h, nil
			}
		}
		if !e.hasNamespace(specs.UserNamespace) {
			return kernel.Handle{}, fmt.Errorf("%s.uidMappings: required for idmap without a user namespace", m.field)
		}
		uids, gids = e.Spec.Linux.UIDMappings, e.Spec.Linux.GIDMappings
	}
	key := mapping(uids) + "/" + mapping(gids)
	if ns, ok := e.mappings[key]; ok {
		return ns, nil
	}
	maps := []mapFile{{field: m.field + ".uidMappings", file: "uid_map", list: uids}, {field: m.field + ".gidMappings", file: "gid_map", list: gids}}
	ns, err := e.UserNS(func(k kernel.Kernel, pid kernel.Handle) (kernel.Handle, error) { return e.makeMapping(k, pid, maps) })
	if err != nil {
		return kernel.Handle{}, err
	}
	if e.mappings == nil {
		e.mappings = map[string]kernel.Handle{}
	}
	e.mappings[key] = ns
	return ns, nil
}

// makeMapping makes a user namespace in the process pid, to which k belongs,
// and opens it.
func (e *Env) makeMapping(k kernel.Kernel, pid kernel.Handle, maps []mapFile) (kernel.Handle, error) {
	b := &kernel.Batch{}
	b.For(maps[0].field, "cannot make a user namespace for the mapping")
	b.Unshare(unix.CLONE_NEWUSER)
	if err := k.Run(b); err != nil {
		return kernel.Handle{}, err
	}
	b = &kernel.Batch{}
	for _, m := range maps {
		b.For(m.field, "cannot map")
		writeProc(b, pid, m.file, mapping(m.list))
	}
	b.For(maps[0].field, "cannot open the user namespace of the mapping")
	ns := b.Openat2(kernel.CWD(), processFile(pid, "ns/user"), unix.O_RDONLY, 0, 0)
	return ns, e.Host.Run(b)
}

// refuseMapped refuses mapped owners of mounts that are no binds: who makes the
// file system could give its files their owners.
func refuseMapped(e *Env) error {
	var errs []error
	for _, m := range e.plan() {
		if m.idmapped() && !m.opt.bind {
			errs = append(errs, fmt.Errorf("%s.options: only bind mounts can have mapped owners", m.field))
		}
	}
	return errors.Join(errs...)
}
