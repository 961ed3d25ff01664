package cgroup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// OOM counts how often memory of a cgroup ran out. Its descriptor becomes
// readable when there may be something new.
type OOM struct {
	fd   int
	dir  string
	v2   bool
	last uint64 // v2: what was counted already
}

// WatchOOM begins to count. ErrNoMemoryController: there is nothing to watch.
func (g *Group) WatchOOM() (*OOM, error) {
	dir := g.dir("memory")
	if g.unified {
		dir = g.dir("")
	}
	if dir == "" {
		return nil, ErrNoMemoryController
	}
	watch := watchV1
	if g.unified {
		watch = watchUnified
	}
	o, err := watch(dir)
	if err != nil && !errors.Is(err, ErrNoMemoryController) {
		err = fmt.Errorf("cannot watch for lack of memory: %w", err)
	}
	return o, err
}

// ErrNoMemoryController: nobody counts the cgroup's memory.
var ErrNoMemoryController = errors.New("the container has no memory controller")

// watchV1 asks the kernel to count in an eventfd (the kernel's cgroup-v1/memory
// document, § OOM Control).
func watchV1(dir string) (*OOM, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	control, err := unix.Open(dir+"/memory.oom_control", unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open %q: %w", dir+"/memory.oom_control", err)
	}
	defer unix.Close(control) // the kernel needs it for the registration only
	if err := writeFile(dir, "cgroup.event_control", strconv.Itoa(fd)+" "+strconv.Itoa(control)); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &OOM{fd: fd, dir: dir}, nil
}

// watchUnified watches memory.events, which the kernel marks as modified when a
// number in it changes (cgroup-v2 document).
func watchUnified(dir string) (*OOM, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify_init1: %w", err)
	}
	if _, err := unix.InotifyAddWatch(fd, dir+"/memory.events", unix.IN_MODIFY); err != nil {
		unix.Close(fd)
		var st unix.Stat_t
		if err == unix.ENOENT && unix.Stat(dir, &st) == nil {
			return nil, ErrNoMemoryController
		}
		return nil, fmt.Errorf("inotify_add_watch %q: %w", dir+"/memory.events", err)
	}
	o := &OOM{fd: fd, dir: dir, v2: true}
	o.last, err = o.killed()
	if err != nil {
		o.Close()
		return nil, err
	}
	return o, nil
}

// FD is for poll(2). It stays o's.
func (o *OOM) FD() int { return o.fd }

// Close ends the counting.
func (o *OOM) Close() { unix.Close(o.fd) }

// News returns how often memory ran out since it was asked last. A cgroup that
// has been removed has no news.
func (o *OOM) News() (uint64, error) {
	var buf [4096]byte
	n, err := unix.Read(o.fd, buf[:])
	if err != nil && err != unix.EAGAIN && err != unix.EINTR {
		return 0, fmt.Errorf("cannot read of lack of memory: %w", err)
	}
	if o.v2 {
		now, err := o.killed()
		if isGone(err) {
			return 0, nil
		}
		news := now - o.last
		o.last = max(now, o.last)
		return news, err
	}
	if n != 8 {
		return 0, nil
	}
	news := binary.NativeEndian.Uint64(buf[:8])
	// The kernel counts the removal of the cgroup as well.
	var st unix.Stat_t
	if unix.Stat(o.dir, &st) != nil {
		news--
	}
	return news, nil
}

// killed is how many processes of a v2 cgroup the kernel has killed for lack
// of memory.
func (o *OOM) killed() (uint64, error) { return oomKills(o.dir, "memory.events") }

func oomKills(dir, file string) (uint64, error) {
	text, err := readFile(dir, file)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(value(text, "oom_kill"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("cannot read oom_kill in %q: %w", dir+"/"+file, err)
	}
	return n, nil
}
