package cgroup

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// killTime bounds Kill and Signal.
const killTime = 5 * time.Second

// PIDs returns every process of the cgroup and of those below it. A missing
// cgroup has none.
func (g *Group) PIDs() ([]int, error) {
	dir := g.procsDir()
	if dir == "" {
		return nil, nil
	}
	pids, err := pidsBelow(dir, nil)
	if isGone(err) {
		return nil, nil
	}
	return pids, err
}

// procsDir is the directory that is asked for processes: on v1 the devices
// one, as in runc, which every container has.
func (g *Group) procsDir() string {
	if dir := g.dir("devices"); dir != "" {
		return dir
	}
	if len(g.hierarchies) > 0 {
		return g.hierarchies[0].Dir
	}
	return ""
}

func pidsBelow(dir string, pids []int) ([]int, error) {
	text, err := readFile(dir, "cgroup.procs")
	if errors.Is(err, unix.EOPNOTSUPP) {
		// A threaded cgroup lists threads only; signalling one reaches
		// its process.
		text, err = readFile(dir, "cgroup.threads")
	}
	if err != nil {
		return pids, err
	}
	for field := range strings.FieldsSeq(text) {
		pid, err := strconv.Atoi(field)
		if err != nil || pid <= 0 {
			// 0 is a process outside of our PID namespace: kill(0) would
			// hit ourselves.
			continue
		}
		pids = append(pids, pid)
	}
	for _, name := range children(dir) {
		if pids, err = pidsBelow(dir+"/"+name, pids); err != nil && !isGone(err) {
			return pids, err
		}
	}
	return pids, nil
}

// children returns the names of the cgroups directly below one.
func children(dir string) []string {
	// A directory's link count is 2 plus its children on cgroupfs (kernfs):
	// this saves listing some forty files.
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil || st.Nlink == 2 {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// Kill sends SIGKILL to every process of the cgroup, also to those that it
// forks meanwhile, and makes sure that they can die: a v1 freezer is thawed.
// It does not wait for the deaths; Wait and Remove do. A missing cgroup is
// success.
func (g *Group) Kill() error {
	if dir := g.dir(""); dir != "" {
		// 5.14. Covers descendants and forks. A frozen v2 cgroup dies too.
		err := writeFile(dir, "cgroup.kill", "1")
		// On a hybrid the processes may still be v1-frozen, or elsewhere.
		if (err == nil || isGone(err)) && g.unified {
			return nil
		}
		// EOPNOTSUPP: a threaded cgroup; EROFS: a mount that became read-only.
		// Go on by hand.
		if err != nil && !isGone(err) && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EROFS) {
			return fmt.Errorf("cannot kill cgroup: %w", err)
		}
	}
	deadline := time.Now().Add(killTime)
	for {
		left, err := g.killPass()
		if err != nil || left == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("cannot kill cgroup %q: new processes appeared for %v", g.procsDir(), killTime)
		}
		// Without a freeze only repetition catches forks.
		time.Sleep(time.Millisecond)
	}
}

// killPass signals all under a freeze, so that no new ones appear, and thaws.
// It returns 0 when nobody can have been missed.
func (g *Group) killPass() (int, error) {
	pids, err := g.PIDs()
	if err != nil || len(pids) == 0 {
		g.Freeze(false)
		return 0, err
	}
	errFreeze := g.Freeze(true)
	defer g.Freeze(false)
	if pids, err = g.PIDs(); err != nil {
		return 0, err
	}
	if err := signal(pids, unix.SIGKILL); err != nil {
		return 0, err
	}
	if errFreeze == nil {
		return 0, nil
	}
	return len(pids), nil
}

// Signal sends a signal to every process of the cgroup, under a freeze unless
// it is frozen anyway. SIGKILL is Kill.
func (g *Group) Signal(sig unix.Signal) error {
	if sig == unix.SIGKILL {
		return g.Kill()
	}
	if frozen, err := g.Frozen(); err == nil && !frozen {
		if g.Freeze(true) == nil {
			defer g.Freeze(false)
		}
	}
	pids, err := g.PIDs()
	if err != nil {
		return err
	}
	return signal(pids, sig)
}

// signal needs no pidfd: the callers read the list from a frozen cgroup, whose
// processes neither end nor make room for others of the same number.
func signal(pids []int, sig unix.Signal) error {
	var first error
	for _, pid := range pids {
		if err := unix.Kill(pid, sig); err != nil && err != unix.ESRCH && first == nil {
			first = fmt.Errorf("cannot signal process %d: %w", pid, err)
		}
	}
	return first
}

// Wait returns when the cgroup has no living process, or after the time with
// an error. A missing cgroup has none.
func (g *Group) Wait(limit time.Duration) error {
	deadline := time.Now().Add(limit)
	if dir := g.dir(""); dir != "" {
		if err := waitEvent(dir, "populated", "0", deadline); err != nil {
			return fmt.Errorf("cannot wait for cgroup %q to be empty: %w", dir, err)
		}
		if g.unified {
			return nil
		}
	}
	// v1 has no event.
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 10*time.Millisecond) {
		pids, err := g.PIDs()
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("cannot wait for cgroup %q to be empty: %d processes are left after %v", g.procsDir(), len(pids), limit)
		}
		time.Sleep(pause)
	}
}
