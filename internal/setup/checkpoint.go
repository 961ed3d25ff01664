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

// An External is a mount of the container's that is not saved with it: it leads
// out of the container.
type External struct {
	Point  string // where it is mounted, links resolved
	Name   string // in the saved images: runc's names, so that images can be exchanged
	Source string // for a restore: where it is
}

// maskName is the name of masked files, whatever they are.
const maskName = "/dev/null"

// ExternalMounts finds the external mounts of a running container, of which the
// Root is the root directory: binds, hierarchies of cgroup v1 that are binds,
// masked files, and devices that are binds of the host's.
func (e *Env) ExternalMounts() ([]External, error) {
	var list []External
	add := func(field, p, name string) error {
		pl, point, err := e.resolve(field, p)
		if err != nil || pl == nil {
			return err
		}
		if name == maskName && pl.IsDir() {
			return nil // an empty file system, which is saved like others
		}
		if name == "" {
			name = point
		}
		list = append(list, External{Point: point, Name: name})
		return nil
	}
	var trees []string
	for _, m := range e.plan() {
		switch {
		case m.idmapped(): // better now than after the container is gone
			return nil, fmt.Errorf("%s.options: criu cannot restore a mount with mapped owners", m.field)
		case m.path == "/": // the root itself
		case m.opt.bind:
			if err := add(m.field, m.path, ""); err != nil {
				return nil, err
			}
			if m.opt.recursive && len(list) > 0 {
				trees = append(trees, list[len(list)-1].Point)
			}
		case m.fstype == "cgroup" && !e.hasNamespace(specs.CgroupNamespace):
			for _, v := range e.CgroupsV1 {
				if err := add(m.field, m.path+"/"+v.Name, ""); err != nil {
					return nil, err
				}
			}
		}
	}
	if l := e.Spec.Linux; l != nil {
		for i, p := range l.MaskedPaths {
			if err := add(item("linux.maskedPaths", i), rootfs.Clean(p), maskName); err != nil {
				return nil, err
			}
		}
	}
	for _, d := range e.devices() {
		if err := add(d.field, d.path, ""); err != nil {
			return nil, err
		}
	}
	return e.addSubmounts(list, trees)
}

// addSubmounts adds what came along with recursive binds, at the points trees.
func (e *Env) addSubmounts(list []External, trees []string) ([]External, error) {
	if len(trees) == 0 {
		return list, nil
	}
	text, err := readFile(e.Host, processFile(e.PID, "mountinfo"))
	if err != nil {
		return nil, err
	}
	own, err := e.ownPoints(list)
	if err != nil {
		return nil, err
	}
	for _, m := range parseMounts(text) {
		if own[m.point] {
			continue
		}
		above := m.point
		for above != "/" && !own[above] {
			above, _ = rootfs.Parent(above)
		}
		if slices.Contains(trees, above) {
			list = append(list, External{Point: m.point, Name: m.point})
		}
	}
	return list, nil
}

// ownPoints are those of the configuration: of all mounts, masks and read-only
// paths.
func (e *Env) ownPoints(list []External) (map[string]bool, error) {
	own := map[string]bool{}
	for _, x := range list {
		own[x.Point] = true
	}
	var paths []string
	for _, m := range e.plan() {
		paths = append(paths, m.path)
	}
	if l := e.Spec.Linux; l != nil {
		paths = append(append(paths, l.MaskedPaths...), l.ReadonlyPaths...)
	}
	for _, p := range paths {
		pl, point, err := e.resolve("mounts", p)
		if err != nil {
			return nil, err
		}
		if pl != nil {
			own[point] = true
		}
	}
	return own, nil
}

// readFile reads a file of a process's that can be long.
func readFile(k kernel.Kernel, name string) (string, error) {
	b := &kernel.Batch{}
	b.For("mounts", "cannot read "+name)
	h := b.Openat2(kernel.CWD(), name, unix.O_RDONLY, 0, 0)
	var text strings.Builder
	for {
		part := b.Read(h, 64<<10)
		if err := k.Run(b); err != nil {
			return "", err
		}
		b.Reset()
		b.For("mounts", "cannot read "+name)
		if len(part.Bytes()) == 0 {
			b.Close(h)
			return text.String(), k.Run(b)
		}
		text.Write(part.Bytes())
	}
}

// resolve opens a path of the container and says what it is without links; nil if
// there is nothing.
func (e *Env) resolve(field, p string) (*rootfs.Place, string, error) {
	b := e.onHost()
	b.For(field, "cannot look up "+p+" in the container")
	pl := e.Root.Follow(b, p)
	if err := e.Host.Run(b); err != nil {
		return nil, "", err
	}
	if err := e.Root.Settle(field, pl); err != nil {
		return nil, "", err
	}
	if pl.Missing() {
		return nil, "", nil
	}
	if n := pl.Errno(); n != 0 {
		return nil, "", fmt.Errorf("%s: cannot open %s in the container: %s (%s)", field, p, n.Error(), unix.ErrnoName(n))
	}
	b = e.onHost()
	b.For(field, "cannot look up "+p+" in the container")
	where, top := readHandle(b, pl.H), readHandle(b, e.Root.Dir)
	b.Close(pl.H)
	if err := e.Host.Run(b); err != nil {
		return nil, "", err
	}
	return pl, pathBelow(string(where.Bytes()), string(top.Bytes())), nil
}

// readHandle adds calls that ask for the path of an open file, as the process
// that executes them sees it (proc_pid_fd(5)). The handle is of an earlier batch.
func readHandle(b *kernel.Batch, h kernel.Handle) *kernel.Buffer {
	link := b.Openat2(kernel.CWD(), handlePath(h), unix.O_PATH|unix.O_NOFOLLOW, 0, 0)
	text := b.Readlinkat(link)
	b.Close(link)
	return text
}

// handlePath leads to an open file of the process that uses it.
func handlePath(h kernel.Handle) string {
	n, _, _ := h.Number(nil)
	return "/proc/self/fd/" + strconv.FormatInt(n, 10)
}

// pathBelow is the path p as it is below the directory top.
func pathBelow(p, top string) string {
	return rootfs.Clean(strings.TrimPrefix(p, strings.TrimSuffix(top, "/")))
}
