package linuxtest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// grace is how long the kernel may take to end what a runtime has killed or
// closed, after the command has returned.
const grace = 15 * time.Second

// snapshot is what a runtime can leave behind: one line for each thing.
type snapshot []string

// snapshot looks at all that this test can have made. Other tests may run at the
// same time, so what is not private is told by the test's name.
func (h *Host) snapshot() snapshot {
	var s snapshot
	add := func(kind string, list []string) {
		for _, item := range list {
			s = append(s, kind+" "+item)
		}
	}
	add("process", processes(h.owns))
	add("mount", lines("/proc/thread-self/mountinfo"))
	add("cgroup", h.cgroups())
	for _, p := range h.shared.programs {
		add("state file", names(p.root))
	}
	add("shared memory", names("/dev/shm"))
	add("temporary file", names("/var/tmp"))
	add("pinned network namespace", names("/run/netns"))
	add("network device", entries("/sys/class/net"))
	add("temporary file", h.temporary())
	for _, key := range lines("/proc/keys") {
		if strings.Contains(key, filepath.Base(h.Dir)) {
			s = append(s, "key "+key)
		}
	}
	return s
}

// minus gives what is in s and not in o.
func (s snapshot) minus(o snapshot) []string {
	var more []string
	for _, item := range s {
		if !slices.Contains(o, item) {
			more = append(more, item)
		}
	}
	return more
}

// CheckClean fails the test if anything is there that was not when the test
// began, or the other way round.
func (h *Host) CheckClean() {
	h.t.Helper()
	h.complain(h.leaks(grace))
}

// CheckCleanButKeys is CheckClean without keys, which the kernel collects only
// some time after their last use. It is for use between many containers.
func (h *Host) CheckCleanButKeys() {
	h.t.Helper()
	isKey := func(s string) bool { return strings.HasPrefix(s, "key ") }
	for end := time.Now().Add(grace); ; time.Sleep(time.Millisecond) {
		more, less := h.leaks(0)
		more, less = slices.DeleteFunc(more, isKey), slices.DeleteFunc(less, isKey)
		if len(more)+len(less) == 0 {
			return
		}
		if time.Now().After(end) {
			h.complain(more, less)
			return
		}
	}
}

func (h *Host) complain(more, less []string) {
	h.t.Helper()
	if len(more) > 0 {
		h.t.Errorf("left behind:\n%s", strings.Join(more, "\n"))
	}
	if len(less) > 0 {
		h.t.Errorf("missing now:\n%s", strings.Join(less, "\n"))
	}
}

// leaks gives what is there that was not when the test began, and the other way
// round, once the kernel has had its time. No Process may be under way.
func (h *Host) leaks(grace time.Duration) (more, less []string) {
	for end := time.Now().Add(grace); ; time.Sleep(5 * time.Millisecond) {
		reap(h.owns)
		now := h.snapshot()
		more, less = now.minus(h.shared.before), h.shared.before.minus(now)
		if len(more)+len(less) == 0 || time.Now().After(end) {
			return more, less
		}
	}
}

// Adopt waits for a process that a detached exec has left to the test, as an
// engine's shim does: until somebody has taken its status, its PID namespace
// cannot end.
func (h *Host) Adopt(pid int) {
	go func() {
		_, err := unix.Wait4(pid, nil, 0, nil)
		for err == unix.EINTR {
			_, err = unix.Wait4(pid, nil, 0, nil)
		}
	}()
}

// reap waits for children that have ended. To be called when no Process of these is
// under way, since it takes it, too.
func reap(which func(pid int) bool) {
	for _, pid := range children(os.Getpid()) {
		if status(pid) == "Z" && which(pid) {
			var ws unix.WaitStatus
			unix.Wait4(pid, &ws, unix.WNOHANG, nil)
		}
	}
}

// owns reports whether a process is this test's: all are, if no other test may run at
// the same time; otherwise those that have its name in their arguments or cgroup.
func (h *Host) owns(pid int) bool {
	if !h.shared.beside {
		return true
	}
	cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // may be gone
	cgroup, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return strings.Contains(string(cmdline)+string(cgroup), filepath.Base(h.Dir))
}

func anybody(int) bool { return true }

// processes lists our descendants. A container's are among them since this process is
// a subreaper.
func processes(which func(pid int) bool) []string {
	var list []string
	var add func(pid int)
	add = func(pid int) {
		for _, c := range children(pid) {
			cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", c)) // may be gone
			if which(c) {
				list = append(list, fmt.Sprintf("%d (%s) %q", c, status(c), strings.ReplaceAll(string(cmdline), "\x00", " ")))
			}
			add(c)
		}
	}
	add(os.Getpid())
	return list
}

// remaining gives the descendants that are left when all tests are over.
func remaining() []string {
	for end := time.Now().Add(grace); ; time.Sleep(5 * time.Millisecond) {
		reap(anybody)
		list := processes(anybody)
		if len(list) == 0 || time.Now().After(end) {
			return list
		}
	}
}

// children lists the children of all threads of a process.
func children(pid int) []int {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is fine
	var list []int
	for _, f := range files {
		data, _ := os.ReadFile(f) // the thread may be gone
		for field := range strings.FieldsSeq(string(data)) {
			if n, err := strconv.Atoi(field); err == nil {
				list = append(list, n)
			}
		}
	}
	return list
}

// AwaitNone waits until no process has this in its arguments, which spaces separate.
func AwaitNone(arguments string) {
	Until(func() bool {
		files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is fine
		return !slices.ContainsFunc(files, func(file string) bool {
			data, _ := os.ReadFile(file) // what has gone has none
			return strings.Contains(strings.ReplaceAll(string(data), "\x00", " "), arguments)
		})
	})
}

// status is the letter of a process's state in proc_pid_stat(5).
func status(pid int) string {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // may be gone
	_, rest, _ := strings.Cut(string(data), ") ")
	letter, _, _ := strings.Cut(rest, " ")
	return letter
}

// cgroups lists all that have this test's name in theirs.
func (h *Host) cgroups() []string {
	var list []string
	filepath.WalkDir(cgroupRoot, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(d.Name(), filepath.Base(h.Dir)) {
			list = append(list, path)
		}
		return nil // what is gone is not left
	})
	return list
}

// RemoveCgroups removes the empty cgroups of this test that have the name, and
// what is below, for those that a runtime has to leave.
func (h *Host) RemoveCgroups(name string) {
	h.t.Helper()
	for _, dir := range h.cgroups() {
		if filepath.Base(dir) == name {
			h.removeCgroup(dir)
		}
	}
}

func (h *Host) removeCgroup(dir string) {
	h.t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		h.t.Errorf("cannot remove a cgroup: %v", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			h.removeCgroup(filepath.Join(dir, e.Name()))
		}
	}
	// Its processes may still be ending.
	if !Until(func() bool { err = os.Remove(dir); return err == nil || os.IsNotExist(err) }) {
		h.t.Errorf("cannot remove a cgroup: %v", err)
	}
}

// settle removes the empty cgroups that runc 1.1.5 sometimes leaves of a container
// that has gone, since its processes had not yet.
func (h *Host) settle(id string) {
	if _, err := os.Stat(filepath.Join(h.root, id)); err == nil {
		return
	}
	for _, dir := range h.cgroups() {
		if filepath.Base(dir) == id {
			Until(func() bool { return os.Remove(dir) != unix.EBUSY })
		}
	}
}

// temporary lists what has the test's name in /tmp, which is everybody's, beside
// the test's own directory.
func (h *Host) temporary() []string {
	return slices.DeleteFunc(entries("/tmp"), func(name string) bool {
		return name == filepath.Base(h.Dir) || !strings.Contains(name, filepath.Base(h.Dir))
	})
}

// names lists a tree with paths relative to it, or nothing if it is not there.
func names(dir string) []string {
	var list []string
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, path); err == nil && rel != "." {
			list = append(list, rel)
		}
		if err != nil {
			return fs.SkipDir
		}
		return nil
	})
	return list
}

// entries lists a directory.
func entries(dir string) []string {
	list, _ := os.ReadDir(dir) // as names
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func lines(file string) []string {
	data, _ := os.ReadFile(file) // an empty list differs from the other one
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// sweep ends and removes what a failed test has left, so that the next one does
// not suffer.
func (h *Host) sweep() {
	for _, dir := range h.cgroups() { // what is frozen does not die (v1)
		for file, value := range map[string]string{"freezer.state": "THAWED", "cgroup.freeze": "0"} {
			if f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0); err == nil {
				f.WriteString(value)
				f.Close()
			}
		}
	}
	for _, p := range h.shared.programs {
		entries, _ := os.ReadDir(p.root) // may not exist
		for _, e := range entries {
			p.Run("delete", "--force", e.Name())
		}
	}
	for range 100 {
		list := slices.DeleteFunc(children(os.Getpid()), func(pid int) bool { return !h.owns(pid) })
		for _, pid := range list {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		reap(h.owns)
		if len(list) == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	list := h.cgroups()
	slices.Reverse(list) // children first
	for _, dir := range list {
		os.Remove(dir)
	}
}

// removeDir removes the test's directory, unless something is mounted in it: what
// is mounted may be the machine's.
func (h *Host) removeDir() {
	h.t.Helper()
	for _, line := range lines("/proc/thread-self/mountinfo") {
		if strings.Contains(line, " "+h.Dir) {
			h.t.Errorf("%q is kept, since something is mounted there: %s", h.Dir, line)
			return
		}
	}
	if err := os.RemoveAll(h.Dir); err != nil {
		h.t.Errorf("cannot remove the test's directory: %v", err)
	}
}
