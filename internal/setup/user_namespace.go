package setup

import (
	"fmt"
	"slices"
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
		if !e.limited() { // there it may be forbidden to leave them
			e.B.For("process.user.additionalGids", "cannot leave the host's groups")
			e.B.Setgroups(nil)
		}
		for _, j := range e.joins {
			if j.kind == unix.CLONE_NEWUSER {
				e.B.For(j.field, "cannot join the namespace")
				e.B.Setns(j.h, j.kind)
				e.B.Close(j.h)
			}
		}
		if err := e.compareMappings(); err != nil {
			return err
		}
	}
	if !e.treesInside {
		e.becomeRoot()
	}
	return nil
}

// becomeRoot makes the process root of the user namespace, whose capabilities it
// has anyway.
func (e *Env) becomeRoot() {
	e.B.For("linux.gidMappings", "cannot become group 0 of the user namespace, which must be mapped")
	e.B.Setresgid(0)
	e.B.For("linux.uidMappings", "cannot become user 0 of the user namespace, which must be mapped")
	e.B.Setresuid(0)
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
	for _, m := range e.mapFiles() {
		if e.needsTool(m) {
			if err := e.MapIDs(m.field, m.tool, e.PID, m.list); err != nil {
				return err
			}
			continue
		}
		if e.UID != 0 && m.file == "gid_map" {
			// Nobody may leave groups whose members have fewer rights than
			// others (user_namespaces(7), CVE-2014-8989).
			b.For(m.field, "cannot forbid setgroups")
			writeProc(b, e.PID, "setgroups", "deny")
		}
		b.For(m.field, "cannot map")
		writeProc(b, e.PID, m.file, mapping(m.list))
	}
	return e.Host.Run(b)
}

// needsTool reports whether only a program with privileges can map these ids:
// an ordinary user may map nobody but itself.
func (e *Env) needsTool(m mapFile) bool {
	return e.UID != 0 && (len(m.list) != 1 || m.list[0].Size != 1 || m.list[0].HostID != m.own)
}

// compareMappings refuses mappings that the joined namespace does not have.
// Engines give them along with the path, and they have been set already.
func (e *Env) compareMappings() error {
	if len(e.Spec.Linux.UIDMappings)+len(e.Spec.Linux.GIDMappings) == 0 {
		return nil
	}
	var texts []*kernel.Buffer
	b := &kernel.Batch{}
	files := e.mapFiles()
	for _, m := range files {
		b.For(m.field, "cannot read the mappings of the namespace")
		h := b.Openat2(kernel.CWD(), processFile(e.PID, m.file), unix.O_RDONLY, 0, 0)
		texts = append(texts, b.Read(h, 16<<10))
		b.Close(h)
	}
	if err := e.run(); err != nil {
		return err
	}
	if err := e.Host.Run(b); err != nil {
		return err
	}
	for i, m := range files {
		have := strings.Fields(string(texts[i].Bytes()))
		if len(m.list) > 0 && !slices.Equal(have, strings.Fields(mapping(m.list))) {
			return fmt.Errorf("%s: not those of the user namespace that is given by path, which are %q", m.field, strings.Join(have, " "))
		}
	}
	return nil
}

type mapFile struct {
	field, file string
	list        []specs.LinuxIDMapping
	own         uint32 // tongs' id
	tool        string // the program that maps what the user was given
}

func (e *Env) mapFiles() []mapFile {
	return []mapFile{
		{"linux.uidMappings", "uid_map", e.Spec.Linux.UIDMappings, e.UID, "newuidmap"},
		{"linux.gidMappings", "gid_map", e.Spec.Linux.GIDMappings, e.GID, "newgidmap"},
	}
}

// WrittenByOwner reports whether an ordinary user has to write files of the
// process in /proc, its mappings among them. Those of a process that is not
// dumpable are closed to it (proc(5)).
func (e *Env) WrittenByOwner() bool {
	return e.UID != 0 && (e.Spec.Process.OOMScoreAdj != nil || e.Joined == nil && e.newNamespace(specs.UserNamespace))
}

// hide ends what WrittenByOwner needed: from here on nobody looks into the
// process. Nobody of the container could until here: it is outside of the
// container's user namespace, or the only one in it.
func hide(e *Env) error {
	if e.WrittenByOwner() {
		e.Hide()
		e.B.For("", "cannot hide the container's process")
		e.B.Prctl(unix.PR_SET_DUMPABLE, 0)
	}
	return nil
}

func processFile(pid kernel.Handle, name string) string {
	return "/proc/" + strconv.Itoa(pid.Count(1<<31)) + "/" + name
}

// writeProc adds calls that write a file of a process on the host's /proc.
func writeProc(b *kernel.Batch, pid kernel.Handle, name, text string) {
	h := b.Openat2(kernel.CWD(), processFile(pid, name), unix.O_WRONLY, 0, 0)
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

// CgroupOwner is the host's id of the user who gets the container's cgroup: one
// who can write to it, in a cgroup namespace of its own, may divide it further.
func (e *Env) CgroupOwner() (uid uint32, ok bool) {
	if !e.CgroupV2 || !e.newNamespace(specs.CgroupNamespace) {
		return 0, false
	}
	for _, m := range e.plan() {
		if m.fstype == "cgroup2" && m.opt.alone&unix.MOUNT_ATTR_RDONLY == 0 {
			return e.hostUID(e.Spec.Process.User.UID)
		}
	}
	return 0, false
}

// hostUID is what the host calls a user of the container, if the configuration
// has the mappings: it need not for a user namespace that is joined.
func (e *Env) hostUID(uid uint32) (uint32, bool) {
	if !e.hasNamespace(specs.UserNamespace) {
		return uid, true
	}
	for _, m := range e.Spec.Linux.UIDMappings {
		if uid >= m.ContainerID && uid-m.ContainerID < m.Size {
			return m.HostID + (uid - m.ContainerID), true
		}
	}
	return 0, false
}
