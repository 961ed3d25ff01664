package cgroup

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// A file that changes as the kernel's does.
func TestWatchOOM(t *testing.T) {
	dir := t.TempDir()
	g := &Group{unified: true, fd: -1, hierarchies: []Hierarchy{{Names: []string{""}, Dir: dir}}}
	if _, err := g.WatchOOM(); !errors.Is(err, ErrNoMemoryController) {
		t.Errorf("without the file: %v", err)
	}
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(dir+"/memory.events", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\noom_group_kill 0\n")
	o, err := g.WatchOOM()
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	news := func(what string, want uint64) {
		t.Helper()
		if n, err := o.News(); n != want || err != nil {
			t.Errorf("%s: %d, %v, want %d", what, n, err, want)
		}
	}
	readable := func() bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(o.FD()), Events: unix.POLLIN}}, 0)
		return n == 1 && err == nil
	}
	news("what was before", 0)
	if readable() {
		t.Error("readable before anything has happened")
	}
	put("low 0\nhigh 0\nmax 11\noom 5\noom_kill 5\noom_group_kill 0\n")
	if !readable() {
		t.Error("not readable after a change")
	}
	news("two more", 2)
	news("again", 0)
	put("low 1\nhigh 0\nmax 11\noom 5\noom_kill 5\noom_group_kill 0\n")
	news("another event", 0)
	if err := os.Remove(dir + "/memory.events"); err != nil {
		t.Fatal(err)
	}
	news("removed", 0)
}
