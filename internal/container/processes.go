package container

import (
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"tongs/internal/cgroup"
	"tongs/internal/state"
)

// Processes lists the processes of a container, in the host's numbers.
func Processes(store *state.Store, id string) (pids []int, err error) {
	info, err := Query(store, id)
	if err != nil {
		return nil, err
	}
	if len(info.State.CgroupPaths) == 0 {
		return withoutCgroup(info)
	}
	err = withGroup(info.State, func(g *cgroup.Group) error {
		pids, err = g.PIDs()
		return err
	})
	if err == nil && len(pids) == 0 { // ended, or moved away by somebody
		return withoutCgroup(info)
	}
	return pids, err
}

// withoutCgroup lists the processes of a container that has no cgroup, as that of
// an ordinary user, or is not in it: the first, those of its PID namespace, if that was made for it, and
// the descendants of all these.
func withoutCgroup(info *Info) ([]int, error) {
	first := info.PID()
	if first == 0 {
		return nil, nil
	}
	var namespace unix.Stat_t
	own := ownsPIDNamespace(info.State) && unix.Stat(processFile(first, "ns/pid"), &namespace) == nil
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	parents := map[int]int{}
	found := []int{first}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == first {
			continue
		}
		if parents[pid], err = state.Parent(pid); err != nil {
			delete(parents, pid) // it has ended
			continue
		}
		var st unix.Stat_t
		if own && unix.Stat(processFile(pid, "ns/pid"), &st) == nil && st.Ino == namespace.Ino {
			found = append(found, pid)
		}
	}
	for i := 0; i < len(found); i++ {
		for pid, parent := range parents {
			if parent == found[i] && !slices.Contains(found, pid) {
				found = append(found, pid)
			}
		}
	}
	slices.Sort(found)
	return found, nil
}

func processFile(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }
