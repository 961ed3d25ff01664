package setup

import (
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// enterUserNamespace makes the container's user namespace or joins it, and
// becomes its root: what the process makes from here on belongs to the
// container (user_namespaces(7)). It was executed outside, so whoever is root
// inside cannot trace it.
func enterUserNamespace(e *Env) error {
	n, ok := e.namespace(specs.UserNamespace)
	if !ok {
		return nil
	}
	if n.Path == "" {
		if err := e.newUserNamespace(); err != nil {
			return err
		}
	} else {
		for _, j := range e.joins {
			if j.kind == unix.CLONE_NEWUSER {
				e.B.For(j.field, "cannot join the namespace")
				e.B.Setns(j.h, j.kind)
				e.B.Close(j.h)
			}
		}
	}
	e.B.For("linux.gidMappings", "cannot become group 0 of the user namespace, which must be mapped")
	e.B.Setresgid(0)
	e.B.For("linux.uidMappings", "cannot become user 0 of the user namespace, which must be mapped")
	e.B.Setresuid(0)
	return nil
}

// newUserNamespace makes the namespace and has its mappings written by the
// host, which may map what it likes.
func (e *Env) newUserNamespace() error {
	e.B.For("linux.namespaces", "cannot make a user namespace")
	e.B.Unshare(unix.CLONE_NEWUSER)
	if err := e.run(); err != nil {
		return err
	}
	b := &kernel.Batch{}
	for _, m := range []struct {
		field, file string
		list        []specs.LinuxIDMapping
	}{
		{"linux.uidMappings", "uid_map", e.Spec.Linux.UIDMappings},
		{"linux.gidMappings", "gid_map", e.Spec.Linux.GIDMappings},
	} {
		b.For(m.field, "cannot map")
		e.writeProc(b, m.file, mapping(m.list))
	}
	return e.Host.Run(b)
}

// writeProc adds calls that write a file of the container's process on the
// host's /proc.
func (e *Env) writeProc(b *kernel.Batch, name, text string) {
	h := b.Openat2(kernel.CWD(), "/proc/"+strconv.Itoa(e.PID.Count(1<<31))+"/"+name, unix.O_WRONLY, 0, 0)
	b.Write(h, text)
	b.Close(h)
}

// mapping is the text of uid_map and gid_map.
func mapping(list []specs.LinuxIDMapping) string {
	var s strings.Builder
	for _, m := range list {
		for i, n := range []uint32{m.ContainerID, m.HostID, m.Size} {
			if i > 0 {
				s.WriteByte(' ')
			}
			s.WriteString(strconv.FormatUint(uint64(n), 10))
		}
		s.WriteByte('\n')
	}
	return s.String()
}

// hostUID is what the host calls a user of the container, if it is known: not
// that of a user namespace which is joined.
func (e *Env) hostUID(uid uint32) (uint32, bool) {
	n, ok := e.namespace(specs.UserNamespace)
	if !ok {
		return uid, true
	}
	if n.Path == "" {
		for _, m := range e.Spec.Linux.UIDMappings {
			if uid >= m.ContainerID && uid-m.ContainerID < m.Size {
				return m.HostID + (uid - m.ContainerID), true
			}
		}
	}
	return 0, false
}
