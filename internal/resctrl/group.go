// Package resctrl puts containers into groups of the kernel's resctrl file
// system, which limits and watches the use of caches and memory bandwidth (Intel
// RDT, AMD QoS, Arm MPAM): runtime-spec 1.3, config-linux § IntelRdt, and the
// kernel's filesystems/resctrl document.
//
// It deliberately does not:
//   - mount the file system, or interpret a schema: the kernel judges;
//   - remove a group that is named by linux.intelRdt.closID: others use it too;
//   - remember anything: Dir and Owned are what a state file keeps.
package resctrl

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const field = "linux.intelRdt"

// Root finds the mounted file system by proc_pid_mountinfo(5).
func Root() (string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("%s: cannot find the resctrl file system: %w", field, err)
	}
	return findRoot(string(text))
}

func findRoot(mountinfo string) (string, error) {
	for line := range strings.Lines(mountinfo) {
		left, right, _ := strings.Cut(line, " - ")
		if f := strings.Fields(left); len(f) > 4 && strings.HasPrefix(right, "resctrl ") {
			return f[4], nil
		}
	}
	return "", fmt.Errorf("%s: cannot set: no file system of type resctrl is mounted (mount -t resctrl resctrl /sys/fs/resctrl, where the CPU supports it)", field)
}

// Group is the group of one container.
type Group struct {
	root    string
	dir     string // of the control group
	monitor string // of the container's own monitoring group, or ""
	rdt     *specs.LinuxIntelRdt
	exists  bool     // the control group was there before
	made    []string // what Create has made
	fs      fileSystem
}

// fileSystem is what the kernel does beyond reading and writing: a new directory
// has its files at once, and one that is removed takes them along.
type fileSystem struct {
	mkdir, rmdir func(dir string) error
}

// New decides where a container's group is, and whether it can be; it makes
// nothing. Root is what the function of that name gives.
func New(root, id string, rdt *specs.LinuxIntelRdt) (*Group, error) {
	g := &Group{root: root, rdt: rdt, fs: kernelFS()}
	name := rdt.ClosID
	if name == "" {
		if name = id; name == "info" || name == "mon_groups" || name == "mon_data" {
			return nil, fmt.Errorf("%s.closID: required, since the container's id %q is a reserved name", field, id)
		}
	}
	g.dir = filepath.Join(root, name)
	if rdt.EnableMonitoring {
		g.monitor = filepath.Join(g.dir, "mon_groups", id)
	}
	if err := g.checkSupport(); err != nil {
		return nil, err
	}
	var st unix.Stat_t
	err := unix.Stat(g.dir, &st)
	switch {
	case err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return nil, fmt.Errorf("%s.closID: %q is not a group", field, g.dir)
	case err != nil && err != unix.ENOENT:
		return nil, fmt.Errorf("%s.closID: cannot look at group: stat %q: %w", field, g.dir, err)
	case err != nil && rdt.ClosID != "" && len(g.schemas()) == 0:
		return nil, fmt.Errorf("%s.closID: there is no group %q, and no schema to make one", field, g.dir)
	}
	if g.exists = err == nil; g.exists && rdt.ClosID != "" {
		return g, g.compare()
	}
	return g, nil
}

// checkSupport looks for the directories by which the kernel tells what the CPU
// has.
func (g *Group) checkSupport() error {
	var errs []error
	for _, c := range []struct {
		set         bool
		name, dir   string
		description string
	}{
		{g.rdt.L3CacheSchema != "", "l3CacheSchema", "L3", "divide its L3 cache"},
		{g.rdt.MemBwSchema != "", "memBwSchema", "MB", "limit memory bandwidth"},
		{g.rdt.EnableMonitoring, "enableMonitoring", "L3_MON", "monitor the use of its L3 cache"},
	} {
		// The L3 cache may be split into L3CODE and L3DATA.
		if c.set && !isDir(filepath.Join(g.root, "info", c.dir)) && !isDir(filepath.Join(g.root, "info", c.dir+"CODE")) {
			errs = append(errs, fmt.Errorf("%s.%s: cannot set: this machine cannot %s: there is no %s/info/%s", field, c.name, c.description, g.root, c.dir))
		}
	}
	return errors.Join(errs...)
}

// Dir is the directory of the control group.
func (g *Group) Dir() string { return g.dir }

// Owned lists the directories that Create makes, to be written down before; a
// killed creation is cleaned up after by them.
func (g *Group) Owned() []string {
	var list []string
	if !g.exists {
		list = append(list, g.dir)
	}
	if g.monitor != "" {
		list = append(list, g.monitor)
	}
	return list
}

// OwnedAfter is Owned once the creation has succeeded: a group that is named by
// closID stays when the container is deleted.
func (g *Group) OwnedAfter() []string {
	list := g.Owned()
	if g.rdt.ClosID != "" && !g.exists {
		list = list[1:]
	}
	return list
}

// Create makes the groups and writes the schemas. When it fails, what it made is
// gone again.
func (g *Group) Create() error {
	err := g.create()
	if err != nil {
		return errors.Join(err, g.Undo())
	}
	return nil
}

func (g *Group) create() error {
	if !g.exists {
		if err := g.mkdir(g.dir, "closID"); err != nil {
			return err
		}
	}
	if !g.exists || g.rdt.ClosID == "" {
		if err := g.writeSchemas(); err != nil {
			return err
		}
	}
	if g.monitor == "" {
		return nil
	}
	return g.mkdir(g.monitor, "enableMonitoring")
}

func (g *Group) mkdir(dir, name string) error {
	if err := g.fs.mkdir(dir); err != nil {
		hint := ""
		if err == unix.ENOSPC {
			hint = " (the CPU has no more groups)"
		}
		return fmt.Errorf("%s.%s: cannot make group: mkdir %q: %w%s%s", field, name, dir, err, hint, g.status())
	}
	g.made = append(g.made, dir)
	return nil
}

// Undo removes what Create has made.
func (g *Group) Undo() error { return remove(g.made, g.fs) }

// Join puts a process with one thread into the groups. What it forks is in them
// too.
func (g *Group) Join(pid int) error { return Join(g.dir, g.monitor, pid) }

// Join is for a further process of a container: the control group first, since a
// monitoring group takes only its tasks.
func Join(dir, monitor string, pid int) error {
	for _, d := range []string{dir, monitor} {
		if d == "" {
			continue
		}
		if err := write(filepath.Join(d, "tasks"), strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("%s: cannot move process %d to group: %w", field, pid, err)
		}
	}
	return nil
}

// JoinThreads is Join for a process that runs, with all its threads.
func (g *Group) JoinThreads(pid int) error {
	tasks, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if errors.Is(err, os.ErrNotExist) {
		return nil // it has ended
	}
	if err != nil {
		return fmt.Errorf("%s: cannot list threads: %w", field, err)
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err == nil {
			err = g.Join(tid)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// Remove removes what Owned or OwnedAfter named. Missing ones are success.
func Remove(dirs []string) error { return remove(dirs, kernelFS()) }

func remove(dirs []string, fs fileSystem) error {
	var errs []error
	for i := len(dirs) - 1; i >= 0; i-- { // a monitoring group lies in its control group
		if err := fs.rmdir(dirs[i]); err != nil && err != unix.ENOENT {
			errs = append(errs, fmt.Errorf("%s: cannot remove group: rmdir %q: %w", field, dirs[i], err))
		}
	}
	return errors.Join(errs...)
}

// kernelFS is the kernel's own. It removes nothing from other file systems.
func kernelFS() fileSystem {
	return fileSystem{
		mkdir: func(dir string) error { return unix.Mkdir(dir, 0o755) },
		rmdir: func(dir string) error {
			var st unix.Statfs_t
			if err := unix.Statfs(dir, &st); err != nil {
				return err
			}
			if st.Type != unix.RDTGROUP_SUPER_MAGIC {
				return unix.ENODEV
			}
			return unix.Rmdir(dir)
		},
	}
}

// write writes a file that is there, in one call. Appending is the same to the
// kernel.
func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if errClose := f.Close(); err == nil {
		err = errClose
	}
	return err
}

// status is what the kernel says of the last thing that it refused.
func (g *Group) status() string {
	text, err := os.ReadFile(filepath.Join(g.root, "info", "last_cmd_status"))
	if s := strings.TrimSpace(string(text)); err == nil && s != "" && s != "ok" {
		return ": " + s
	}
	return ""
}
