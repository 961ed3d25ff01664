package cgroup

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// freezeTime bounds the wait for processes to stop.
const freezeTime = 5 * time.Second

// Frozen tells whether the cgroup itself, not a parent, is frozen. A missing
// cgroup is not.
func (g *Group) Frozen() (bool, error) {
	h, ok := g.freezer()
	if !ok {
		return false, nil
	}
	frozen, err := isFrozen(h)
	if isGone(err) {
		return false, nil
	}
	return frozen, err
}

// Freeze stops every process of the cgroup (true) or lets it run (false), and
// waits until the kernel says so, at most five seconds. When freezing fails,
// the cgroup is thawed again.
func (g *Group) Freeze(freeze bool) error {
	h, ok := g.freezer()
	if !ok {
		return errors.New("cannot freeze: the container has no freezer cgroup")
	}
	if h.Names[0] == "" {
		return freezeUnified(h.Dir, freeze)
	}
	return freezeV1(h.Dir, freeze)
}

// freezer returns the hierarchy that freezes: v2, or v1's own controller.
func (g *Group) freezer() (Hierarchy, bool) {
	name := "freezer"
	if g.unified {
		name = ""
	}
	dir := g.dir(name)
	return Hierarchy{Names: []string{name}, Dir: dir}, dir != ""
}

// isFrozen of a v1 hierarchy other than the freezer's is always false.
func isFrozen(h Hierarchy) (bool, error) {
	for _, name := range h.Names {
		switch name {
		case "":
			s, err := readFile(h.Dir, "cgroup.freeze")
			return s == "1\n", err
		case "freezer":
			s, err := readFile(h.Dir, "freezer.self_freezing")
			return s == "1\n", err
		}
	}
	return false, nil
}

func freezeUnified(dir string, freeze bool) error {
	value, want := "0", "0"
	if freeze {
		value, want = "1", "1"
	}
	if err := writeFile(dir, "cgroup.freeze", value); err != nil {
		return fmt.Errorf("cannot freeze cgroup: %w", err)
	}
	if !freeze {
		return nil
	}
	if err := waitEvent(dir, "frozen", want, time.Now().Add(freezeTime)); err != nil {
		writeFile(dir, "cgroup.freeze", "0")
		return fmt.Errorf("cannot freeze cgroup %q: %w", dir, err)
	}
	return nil
}

// freezeV1 writes again while the state is FREEZING: a process that forks
// meanwhile may hold it up (kernel's freezer-subsystem document), and the file
// has no event to wait for.
func freezeV1(dir string, freeze bool) error {
	state := "THAWED"
	if freeze {
		state = "FROZEN"
	}
	deadline := time.Now().Add(freezeTime)
	for pause := 10 * time.Microsecond; ; pause = min(2*pause, 10*time.Millisecond) {
		if err := writeFile(dir, "freezer.state", state); err != nil {
			return fmt.Errorf("cannot freeze cgroup: %w", err)
		}
		now, err := readFile(dir, "freezer.state")
		if err != nil {
			return fmt.Errorf("cannot freeze cgroup: %w", err)
		}
		// A frozen parent keeps the state FROZEN after a thaw; that is
		// not ours to change.
		if !freeze || strings.TrimSpace(now) == state {
			return nil
		}
		if time.Now().After(deadline) {
			writeFile(dir, "freezer.state", "THAWED")
			return fmt.Errorf("cannot freeze cgroup %q: still %q after %v", dir, strings.TrimSpace(now), freezeTime)
		}
		time.Sleep(pause)
	}
}

// errTime is what a bounded wait ends with.
var errTime = errors.New("time is over")

// waitEvent waits until a key of cgroup.events has a value: the kernel
// notifies poll(2) with POLLPRI of each change (cgroup-v2 document). Gone is
// success.
func waitEvent(dir, key, want string, deadline time.Time) error {
	path := dir + "/cgroup.events"
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if isGone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot open %q: %w", path, err)
	}
	defer unix.Close(fd)
	buf := make([]byte, 256)
	for {
		n, err := unix.Pread(fd, buf, 0)
		if isGone(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read %q: %w", path, err)
		}
		if value(string(buf[:n]), key) == want {
			return nil
		}
		left := time.Until(deadline)
		if left <= 0 {
			return errTime
		}
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}
		if _, err := unix.Poll(p, int(left/time.Millisecond)+1); err != nil && err != unix.EINTR {
			return fmt.Errorf("cannot poll %q: %w", path, err)
		}
	}
}
