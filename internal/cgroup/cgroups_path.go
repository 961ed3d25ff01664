package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	root = "/sys/fs/cgroup"
	// hybridRoot is where systemd and others mount v2 beside v1.
	hybridRoot = root + "/unified"
)

func isUnified() (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil {
		return false, fmt.Errorf("cannot find cgroups: statfs %s: %w", root, err)
	}
	return st.Type == unix.CGROUP2_SUPER_MAGIC, nil
}

// inner cleans linux.cgroupsPath. A relative path cannot climb with "..", and
// an empty one is the container's id (runtime-spec 1.3, config-linux §
// Cgroups path: relative paths are the runtime's to place).
func inner(path, id string) string {
	if path == "" {
		path = id
	}
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Clean("/" + path)[1:]
}

// locateUnified finds the directory on cgroup v2. An absolute path counts from
// the mount. A relative one goes under the *parent* of the runtime's own
// cgroup: the own one holds processes, and a cgroup that does cannot give
// controllers to children (cgroups(7), "no internal processes" rule).
func (g *Group) locateUnified(path, id string) error {
	path = inner(path, id)
	dir := root + path
	if !filepath.IsAbs(path) {
		own, err := ownUnified()
		if err != nil {
			return err
		}
		// Clean("/" + …) also keeps a runtime whose own cgroup is
		// outside its cgroup namespace ("/../x") below the mount.
		dir = root + filepath.Clean("/"+filepath.Dir(own)+"/"+path)
	}
	if dir == root || dir == root+"/" {
		return fmt.Errorf("linux.cgroupsPath: %q is the root of all cgroups", path)
	}
	g.hierarchies = []Hierarchy{{Names: []string{""}, Mountpoint: root, Dir: dir}}
	return nil
}

// locateV1 finds the directory in every v1 hierarchy that runc knows, and in
// the v2 one when there is one beside them. A relative path goes under the
// runtime's own cgroup, except in the v2 tree, where runc counts from the
// mount.
func (g *Group) locateV1(path, id string) error {
	path = inner(path, id)
	own, err := ownCgroups()
	if err != nil {
		return err
	}
	mounts, err := readMounts()
	if err != nil {
		return err
	}
	if strings.Trim(path, "/") == "" {
		return fmt.Errorf("linux.cgroupsPath: %q is the root of all cgroups", path)
	}
	for _, m := range mounts {
		dir := filepath.Join(m.point, path)
		for _, name := range m.names {
			// Two mounts of one hierarchy: the first counts.
			if g.dir(name) != "" {
				continue
			}
			if !filepath.IsAbs(path) && name != "" {
				// In a container without a cgroup namespace /proc shows
				// the host's path, of which the mount shows only a part.
				rel, err := filepath.Rel(m.root, own[name])
				if err != nil {
					return fmt.Errorf("cannot place the cgroup below the own one: %w", err)
				}
				dir = filepath.Join(m.point, filepath.Clean("/"+rel), path)
			}
			g.add(name, m.point, dir)
		}
	}
	g.sort()
	if g.dir("devices") == "" {
		// As in runc: a container without device control is not safe.
		return fmt.Errorf("cannot find the devices cgroup: no mount of it in /proc/self/mountinfo")
	}
	return nil
}

// add puts a controller's directory in; without a mount point, as from a state
// file, it is the usual one.
func (g *Group) add(name, mountpoint, dir string) {
	if mountpoint == "" {
		mountpoint = root
		if !g.unified {
			first, _, _ := strings.Cut(dir[len(root)+1:], "/")
			mountpoint += "/" + first
		}
	}
	for i := range g.hierarchies {
		if g.hierarchies[i].Dir == dir {
			g.hierarchies[i].Names = append(g.hierarchies[i].Names, name)
			return
		}
	}
	g.hierarchies = append(g.hierarchies, Hierarchy{Names: []string{name}, Mountpoint: mountpoint, Dir: dir})
}

func (g *Group) sort() {
	if g.unified {
		return
	}
	for _, h := range g.hierarchies {
		slices.Sort(h.Names)
	}
	slices.SortFunc(g.hierarchies, func(a, b Hierarchy) int { return strings.Compare(a.Names[0], b.Names[0]) })
}

// ownCgroups reads which cgroup this process is in, by controller name
// (cgroups(7), /proc/PID/cgroup).
func ownCgroups() (map[string]string, error) {
	text, err := readFile("/proc/self", "cgroup")
	if err != nil {
		return nil, fmt.Errorf("cannot find the own cgroup: %w", err)
	}
	return parseOwnCgroups(text)
}

// ownUnified is the v2 part alone, which is the only line of a host without v1.
func ownUnified() (string, error) {
	text, err := readFile("/proc/self", "cgroup")
	if err != nil {
		return "", fmt.Errorf("cannot find the own cgroup: %w", err)
	}
	for line := range strings.Lines(text) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSuffix(path, "\n"), nil
		}
	}
	return "", errors.New("cannot find the own cgroup: no v2 line in /proc/self/cgroup")
}

func parseOwnCgroups(text string) (map[string]string, error) {
	own := make(map[string]string)
	for line := range strings.Lines(text) {
		_, rest, ok1 := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		names, path, ok2 := strings.Cut(rest, ":")
		if !ok1 || !ok2 {
			return nil, fmt.Errorf("cannot read /proc/self/cgroup: line %q", line)
		}
		for name := range strings.SplitSeq(names, ",") {
			own[name] = path
		}
	}
	return own, nil
}

// mount is one line of mountinfo for a cgroup file system.
type mount struct {
	names       []string
	point, root string
}

func readMounts() ([]mount, error) {
	text, err := readFile("/proc/self", "mountinfo")
	if err != nil {
		return nil, fmt.Errorf("cannot find cgroup mounts: %w", err)
	}
	return parseMounts(text), nil
}

// parseMounts picks the v1 hierarchies with a controller that runc joins, and
// the v2 tree at its usual place, from proc_pid_mountinfo(5).
func parseMounts(text string) []mount {
	var mounts []mount
	for line := range strings.Lines(text) {
		left, right, ok := strings.Cut(line, " - cgroup")
		if !ok {
			continue
		}
		f, super := strings.Fields(left), strings.Fields(right)
		if len(f) < 5 || len(super) == 0 {
			continue
		}
		m := mount{root: unescape(f[3]), point: unescape(f[4])}
		if strings.HasPrefix(right, "2 ") {
			if m.point == hybridRoot {
				m.names = []string{""}
				mounts = append(mounts, m)
			}
			continue
		}
		for option := range strings.SplitSeq(super[len(super)-1], ",") {
			if isController(option) {
				m.names = append(m.names, option)
			}
		}
		if len(m.names) > 0 && strings.HasPrefix(m.point, root+"/") {
			mounts = append(mounts, m)
		}
	}
	return mounts
}

// isController tells the names that runc joins from other mount options.
func isController(name string) bool {
	switch name {
	case "cpuset", "devices", "memory", "cpu", "cpuacct", "pids", "blkio", "hugetlb", "net_cls", "net_prio",
		"perf_event", "freezer", "rdma", "misc", "name=systemd":
		return true
	}
	return false
}

// unescape undoes mountinfo's octal escapes of space, tab, newline, backslash.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
