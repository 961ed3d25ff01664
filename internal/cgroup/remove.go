package cgroup

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// removeTime bounds Remove. runc gives up after about one second.
const removeTime = 5 * time.Second

// Remove removes the cgroup and all below it, waiting for processes that are
// ending, at most five seconds. It kills nothing. A missing cgroup is success,
// so Remove can be repeated.
func (g *Group) Remove() error {
	var errs []error
	if g.systemd != nil {
		errs = append(errs, g.systemd.stop())
	}
	deadline := time.Now().Add(removeTime)
	for _, h := range g.hierarchies {
		if err := g.removeDir(h.Dir, deadline); err != nil {
			errs = append(errs, fmt.Errorf("cannot remove cgroup %q: %w", h.Dir, err))
		}
	}
	g.Close()
	return errors.Join(errs...)
}

// RemoveEmpty removes the cgroup that Create has made, and reports whether it
// has. It does so on cgroup v2 only, where one call either removes a cgroup
// without processes or nothing at all, and only if none is below it.
func (g *Group) RemoveEmpty() bool {
	return g.unified && g.made && unix.Rmdir(g.hierarchies[0].Dir) == nil
}

// removeDir tries at once, and only if that fails looks for the reason.
func (g *Group) removeDir(dir string, deadline time.Time) error {
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 10*time.Millisecond) {
		err := unix.Rmdir(dir)
		if err == nil || isGone(err) {
			return nil
		}
		if err == unix.EROFS {
			return nil // nobody can remove anything here; the container is gone all the same
		}
		if isForbidden(err) {
			// A missing directory in one that may not be written to (runc#4518).
			var st unix.Stat_t
			if unix.Lstat(dir, &st) == unix.ENOENT {
				return nil
			}
		}
		if err != unix.EBUSY && err != unix.EINTR {
			return err
		}
		for _, name := range children(dir) {
			if err := g.removeDir(dir+"/"+name, deadline); err != nil {
				return err
			}
		}
		// v1 has no such file: missing is success, and we pause below.
		if err := waitEvent(dir, "populated", "0", deadline); err != nil {
			return fmt.Errorf("it still has processes: %w", err)
		}
		if err = unix.Rmdir(dir); err == nil || isGone(err) {
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
		// The last process is dead and not yet gone.
		time.Sleep(pause)
	}
}
