package linuxtest

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// view is a cgroup file system as a test wants to see it.
type view struct {
	name string
	v2   bool
	made bool // not the machine's own
}

// views lists what the machine can give, its own first.
func views() []view {
	var st unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &st); err == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
		return []view{{name: "v2", v2: true}}
	}
	return []view{{name: "v1"}, {name: "v2", v2: true, made: true}}
}

// enter moves the calling thread into a new mount namespace, from which nothing
// propagates to the machine's, with this view and an empty /dev/shm and /var/tmp.
func (v view) enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("cannot make a mount namespace: %v", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make mounts private: %v", err)
	}
	for _, dir := range []string{"/dev/shm", "/var/tmp"} {
		if strings.HasPrefix(os.TempDir(), dir) {
			continue // the bundles are there
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil && err != unix.ENOENT {
			return fmt.Errorf("cannot mount on %s: %v", dir, err)
		}
	}
	if !v.made {
		return nil
	}
	if err := unix.Unmount(cgroupRoot, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("cannot take the v1 hierarchies away: %v", err)
	}
	if err := unix.Mount("none", cgroupRoot, "cgroup2", 0, ""); err != nil {
		return fmt.Errorf("cannot mount cgroup v2: %v", err)
	}
	return nil
}

// ReadOnlyCgroups makes every cgroup file system of this host read-only, until the
// test ends.
func (h *Host) ReadOnlyCgroups() {
	h.t.Helper()
	h.setCgroups(unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	h.t.Cleanup(func() { h.setCgroups(unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}) })
}

// setCgroups changes the mounts, and not the file systems, which are everybody's.
func (h *Host) setCgroups(attr unix.MountAttr) {
	h.t.Helper()
	for _, line := range lines("/proc/thread-self/mountinfo") {
		left, right, _ := strings.Cut(line, " - ")
		f := strings.Fields(left)
		if !strings.HasPrefix(right, "cgroup") || len(f) < 5 || !strings.HasPrefix(f[4], cgroupRoot) {
			continue
		}
		if err := unix.MountSetattr(unix.AT_FDCWD, f[4], 0, &attr); err != nil {
			h.t.Errorf("cannot change the mount on %q: %v", f[4], err)
		}
	}
}
