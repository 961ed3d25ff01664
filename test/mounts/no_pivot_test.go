package mounts

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// belowRoot looks at paths of the old root, which lies under the root of a
// container that was made without a pivot: it enters the container's mount
// namespace, takes the container's root away, and enters it again.
func belowRoot(pid int, look func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread stays there, and ends
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid))
		enter := func() error { return unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS) }
		for _, step := range []func() error{func() error { return err }, func() error { return unix.Unshare(unix.CLONE_FS) }, enter,
			func() error { return unix.Unmount("/", unix.MNT_DETACH) }, enter, look} {
			if err := step(); err != nil {
				result <- err
				return
			}
		}
		result <- nil
	}()
	return <-result
}

// Without a pivot the old root stays in the namespace, without its proc and
// sysfs. (test/vm has a root that lies on the initial ramdisk, for which the flag
// exists.)
func TestNoPivot(t *testing.T) {
	h := linuxtest.One(t)
	noOldProc(t, h, false, linuxtest.Mount("/mnt", "proc", "proc"))
}

// In a user namespace the old root's mounts are locked and cannot be detached
// (mount_namespaces(7)): they are covered.
func TestNoPivotUserNamespace(t *testing.T) {
	h := linuxtest.One(t)
	noOldProc(t, h, true, func(s *specs.Spec) {
		linuxtest.Namespace(specs.UserNamespace, "")(s)
		s.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: 0, Size: 1000}}
		s.Linux.GIDMappings = s.Linux.UIDMappings
	})
}

// noOldProc makes a container without a pivot and looks for the host's proc and
// sysfs in its mount namespace, which are detached or covered.
func noOldProc(t *testing.T, h *linuxtest.Host, covered bool, edit linuxtest.Edit) {
	t.Helper()
	extra := mkdir(t, h.Dir+"/old/a b")
	must(t, unix.Mount("proc", extra, "proc", 0, ""))
	defer func() { must(t, unix.Unmount(extra, 0)) }()
	id := h.ID("a")
	h.Must("create", "--no-pivot", "--bundle", h.Bundle(linuxtest.Args("/bin/sleep", "1000"), edit), id)
	st, _ := h.State(id)
	must(t, belowRoot(st.PID, func() error {
		for _, p := range []string{"/proc", "/sys", extra} {
			var fs unix.Statfs_t
			if err := unix.Statfs(p, &fs); err != nil {
				return fmt.Errorf("%s of the old root: %w", p, err)
			}
			if fs.Type == unix.PROC_SUPER_MAGIC || fs.Type == unix.SYSFS_MAGIC {
				return fmt.Errorf("%s of the old root is still there", p)
			}
			if isCover := fs.Type == unix.TMPFS_MAGIC; isCover != covered {
				return fmt.Errorf("%s of the old root: covered %v, want %v", p, isCover, covered)
			}
		}
		return nil
	}))
	h.Must("delete", "--force", id)
	var fs unix.Statfs_t
	must(t, unix.Statfs(extra, &fs))
	linuxtest.Equal(t, "the host's mount", fs.Type, int64(unix.PROC_SUPER_MAGIC))
}

// The same table of mounts as with runc, with and without a pivot.
func TestNoPivotTable(t *testing.T) {
	h := linuxtest.One(t)
	dir := sources(t, h)
	h.Rows(t, []linuxtest.Row{
		{Name: "default", Flags: []string{"--no-pivot"}},
		{Name: "binds", Flags: []string{"--no-pivot"}, Edits: []linuxtest.Edit{writable, bind("/mnt", dir+"/dir"), linuxtest.Inside("/mnt/sub/deep", "/")}, Check: content("/mnt/sub/deep", "sub")},
	})
}

// Without a mount namespace nothing is mounted on the host, and nothing is left.
func TestNoMountNamespace(t *testing.T) {
	h := linuxtest.One(t)
	dir := sources(t, h)
	before, err := os.ReadFile("/proc/thread-self/mountinfo")
	must(t, err)
	edits := []linuxtest.Edit{linuxtest.WithoutNamespace("mount"), writable, only(mount("/proc", "proc", "proc"), mount("/dev", "tmpfs", "tmpfs", "mode=755", "ro"),
		mount("/mnt", "bind", dir+"/dir", "rbind", "ro", "rprivate"), mount("/mnt/sub", "tmpfs", "tmpfs", "tmpcopyup"), mount("/etc/group", "bind", dir+"/file", "bind")),
		func(s *specs.Spec) { s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil }, linuxtest.Shell("cat /mnt/sub/deep /etc/group; test -c /dev/null && echo; touch /mnt/x 2>&1; touch /dev/x 2>&1")}
	id := h.ID("a")
	r := h.Run("run", "--bundle", h.Bundle(edits...), id)
	const want = "subof the host\ntouch: /mnt/x: Read-only file system\ntouch: /dev/x: Read-only file system\n"
	if r.Stdout != want {
		t.Errorf("status %d, got %q, want %q, stderr %s", r.Status, r.Stdout, want, r.Stderr)
	}
	after, err := os.ReadFile("/proc/thread-self/mountinfo")
	must(t, err)
	linuxtest.Equal(t, "mounts of the host", strings.Count(string(after), "\n"), strings.Count(string(before), "\n"))
}
