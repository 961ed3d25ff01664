package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/cgroups/fs2"
	"golang.org/x/sys/unix"
)

// Owned returns the directories that Create makes or has made: those of Paths
// that do not exist when it is first called (by Create at the latest), so that
// it can be written down before the first side effect. Parents are not among
// them: other containers may be using those. A systemd unit's directory is
// systemd's.
func (g *Group) Owned() []string {
	if g.knowsOwned {
		return g.owned
	}
	g.knowsOwned = true
	if g.systemd != nil {
		return nil
	}
	var st unix.Stat_t
	for _, h := range g.hierarchies {
		if unix.Stat(h.Dir, &st) == unix.ENOENT {
			g.owned = append(g.owned, h.Dir)
		}
	}
	return g.owned
}

// Create makes the directories, and refuses a cgroup that already has
// processes or is frozen. When it fails, what it made is gone again. With
// systemd on v2 it only checks: a scope cannot be without a process, so Join
// makes it. On v1 directories are needed earlier, for mounts, and systemd takes
// what is there.
//
// A rootless container whose linux.cgroupsPath is empty and that asks for no
// limit goes without a cgroup when permission is missing, as in runc.
func (g *Group) Create() error {
	g.Owned()
	var made []string
	for _, h := range g.hierarchies {
		err := error(unix.EEXIST)
		if g.systemd == nil || !g.unified {
			err = g.createDir(h)
		}
		switch {
		case err == nil:
			made = append(made, h.Dir)
			continue
		case err == unix.EEXIST:
			err = checkUnused(h)
		}
		if err == nil {
			continue
		}
		removeAll(made)
		if isForbidden(err) && g.goWithout() {
			return nil
		}
		return g.explain(err)
	}
	if g.systemd == nil {
		g.owned = made
	}
	g.made = len(made) > 0
	return nil
}

// createDir makes one directory; EEXIST, unwrapped, says that it was there.
func (g *Group) createDir(h Hierarchy) error {
	err := unix.Mkdir(h.Dir, 0o755)
	if err != nil && err != unix.EEXIST && err != unix.ENOENT {
		return fmt.Errorf("linux.cgroupsPath: cannot create cgroup: mkdir %q: %w", h.Dir, err)
	}
	existed := err == unix.EEXIST
	switch {
	case g.unified:
		err = g.prepareUnified(h.Dir, err == unix.ENOENT, existed)
	case h.Names[0] == "cpuset":
		// A v1 cpuset starts empty and takes no process until it has CPUs
		// and memory nodes, nor do its parents. The pid -1 joins nothing.
		err = (&fs.CpusetGroup{}).ApplyDir(h.Dir, g.resources, -1)
	case err == unix.ENOENT:
		err = os.MkdirAll(h.Dir, 0o755)
	default:
		err = nil
	}
	if err == nil && slices.Contains(h.Names, "cpu") && (g.resources.CpuRtPeriod != 0 || g.resources.CpuRtRuntime != 0) {
		// A real-time process can only join a group that has a budget.
		err = (&fs.CpuGroup{}).SetRtSched(h.Dir, g.resources)
	}
	if err != nil {
		var pe *os.PathError
		named := errors.As(err, &pe) && fieldOf(filepath.Base(pe.Path), "") != ""
		if named {
			err = g.nameField(err) // which looks into the directory
		}
		if !existed {
			unix.Rmdir(h.Dir)
		}
		if named {
			return err
		}
		if strings.Contains(err.Error(), "with domain controllers") { // the module's words
			err = fmt.Errorf("%w: linux.resources asks for what only a cgroup of type domain can limit, and one above it is threaded or has processes", err)
		}
		return fmt.Errorf("linux.cgroupsPath: cannot create cgroup %q: %w", h.Dir, err)
	}
	if existed {
		return unix.EEXIST
	}
	return nil
}

// prepareUnified sees to it that a v2 directory exists, can hold processes and
// has every controller that the root has. Usually that is so already, and
// costs two or three reads; otherwise the library walks down from the root.
func (g *Group) prepareUnified(dir string, missing, existed bool) error {
	if !missing {
		ready, err := isReady(dir, existed)
		if ready || err != nil {
			return err
		}
	}
	return fs2.CreateCgroupPath(dir, &cgroups.Cgroup{Resources: g.resources})
}

// isReady asks the parent where it can, since the kernel makes an inode for
// each file of a new cgroup that is opened: a cgroup has the controllers that
// the parent passes on, and a new one is a domain if the parent is one. The
// root, which has no type, counts as one (cgroup-v2 document, "Threads").
func isReady(dir string, existed bool) (bool, error) {
	parent := filepath.Dir(dir)
	all, err := readFile(root, "cgroup.controllers")
	if err != nil {
		return false, err
	}
	own, err := readFile(parent, "cgroup.subtree_control")
	if err != nil || all != own && !containsAll(own, all) {
		return false, err
	}
	typed := parent
	if existed {
		typed = dir
	}
	if typed == root {
		return true, nil
	}
	kind, err := readFile(typed, "cgroup.type")
	return kind == "domain\n", err
}

func containsAll(have, want string) bool {
	fields := strings.Fields(have)
	for w := range strings.FieldsSeq(want) {
		if !slices.Contains(fields, w) {
			return false
		}
	}
	return true
}

// checkUnused refuses a cgroup which is in use: its processes would share the
// limits and be killed with the container, and a frozen one never starts
// (runc#3828).
func checkUnused(h Hierarchy) error {
	pids, err := pidsBelow(h.Dir, nil)
	if err != nil && !isGone(err) {
		return err
	}
	if len(pids) > 0 {
		return fmt.Errorf("linux.cgroupsPath: cannot use cgroup %q: it is not empty: %d processes found", h.Dir, len(pids))
	}
	if frozen, err := isFrozen(h); err == nil && frozen {
		return fmt.Errorf("linux.cgroupsPath: cannot use cgroup %q: it is frozen", h.Dir)
	}
	return nil
}

// FD returns a descriptor of the v2 directory for CLONE_INTO_CGROUP (5.7), or
// -1 where the clone cannot place the process: v1, systemd, no cgroup. The
// Group keeps it; Close closes it. A caller that asks must use it: Join then
// has nothing to do.
func (g *Group) FD() (int, error) {
	if !g.unified || g.systemd != nil || len(g.hierarchies) == 0 {
		return -1, nil
	}
	fd, err := g.open()
	g.placed = err == nil
	return fd, err
}

func (g *Group) open() (int, error) {
	if g.fd >= 0 {
		return g.fd, nil
	}
	dir := g.hierarchies[0].Dir
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, fmt.Errorf("linux.cgroupsPath: cannot open cgroup %q: %w", dir, err)
	}
	g.fd = fd
	return fd, nil
}

// ExplainClone says why a clone into the v2 cgroup was refused, if that was why
// it has failed (clone(2), CLONE_INTO_CGROUP).
func (g *Group) ExplainClone(err error) error {
	if !g.placed {
		return err
	}
	dir := g.hierarchies[0].Dir
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("linux.cgroupsPath: cannot use cgroup %q: those below it have its controllers, so it may have no processes: %w", dir, err)
	case errors.Is(err, unix.EOPNOTSUPP):
		kind, _ := readFile(dir, "cgroup.type") // empty says enough
		return fmt.Errorf("linux.cgroupsPath: cannot use cgroup %q of type %q: %w", dir, strings.TrimSpace(kind), err)
	}
	return err
}

// Close closes the descriptor of FD. The Group stays usable.
func (g *Group) Close() {
	if g.fd >= 0 {
		unix.Close(g.fd)
		g.fd = -1
	}
}

// Join puts a process into the cgroup: into each v1 hierarchy, or by starting
// the systemd unit around it. It does nothing when the clone did (see FD).
func (g *Group) Join(pid int) error {
	if g.placed || len(g.hierarchies) == 0 {
		return nil
	}
	if g.systemd != nil {
		return g.startUnit(pid)
	}
	return g.Enter(pid)
}

// Enter writes a process into an existing cgroup, whoever made it: what exec
// does where it cannot clone into it.
func (g *Group) Enter(pid int) error {
	for _, h := range g.hierarchies {
		err := writeFile(h.Dir, "cgroup.procs", fmt.Sprint(pid))
		if err == nil || (isForbidden(err) && g.defaultPath && g.isRootless()) {
			continue
		}
		return fmt.Errorf("cannot move process %d to cgroup: %w", pid, err)
	}
	return nil
}

// Holds reads back whether a process is in the cgroup, in every hierarchy: a
// container outside of its limits must not start.
func (g *Group) Holds(pid int) (bool, error) {
	text, err := readFile(fmt.Sprintf("/proc/%d", pid), "cgroup")
	if err != nil {
		return false, fmt.Errorf("cannot find the cgroup of process %d: %w", pid, err)
	}
	in, err := parseOwnCgroups(text)
	if err != nil {
		return false, err
	}
	for _, h := range g.hierarchies {
		// The mount may show a part of the hierarchy only.
		below := h.Dir[len(h.Mountpoint):]
		for _, name := range h.Names {
			if !strings.HasSuffix(in[name], below) {
				return false, nil
			}
		}
	}
	return true, nil
}

// Delegate gives the cgroup to a user, so that a container with its own cgroup
// namespace and a writable mount manages what is below. Only v2 is safe to
// delegate (cgroups(7), "Cgroups delegation"); elsewhere it does nothing.
func (g *Group) Delegate(uid int) error {
	if !g.unified || len(g.hierarchies) == 0 {
		return nil
	}
	dir := g.hierarchies[0].Dir
	list, err := os.ReadFile("/sys/kernel/cgroup/delegate")
	if err != nil {
		return fmt.Errorf("cannot delegate cgroup: %w", err)
	}
	if err := os.Chown(dir, uid, -1); err != nil {
		return fmt.Errorf("cannot delegate cgroup: %w", err)
	}
	for name := range strings.FieldsSeq(string(list)) {
		err := os.Chown(dir+"/"+name, uid, -1)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("cannot delegate cgroup: %w", err)
		}
	}
	return nil
}

func removeAll(dirs []string) {
	for _, dir := range slices.Backward(dirs) {
		unix.Rmdir(dir)
	}
}
