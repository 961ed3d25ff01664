package probe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// machine looks at tongs' own surroundings.
func (w *World) machine() []Finding {
	list := one(Finding{Name: "state directory", Serves: "containers", Required: true, Detail: w.Root, Remedy: "give --root a directory that this user may write to"}, writable(w.Root))
	if !w.user && !w.nested {
		list = append(list, Finding{Name: "capabilities", Serves: "configurations that give containers all of them, or raise limits",
			Remedy: "start tongs with the capabilities (docker: --privileged)"}.of(allCapabilities()))
	}
	root := Finding{Name: "pivot_root", Serves: "containers", Remedy: "use --no-pivot"}
	if rootFileSystem() == "rootfs" {
		return append(list, root.of(errors.New("the root is the initial file system, which cannot be moved")))
	}
	return append(list, root.of(nil))
}

// writable asks of the nearest directory that is there.
func writable(dir string) error {
	for {
		err := unix.Access(dir, unix.W_OK)
		if err != unix.ENOENT || dir == "/" || dir == "." {
			if err != nil {
				return &os.PathError{Op: "write", Path: dir, Err: err}
			}
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

func allCapabilities() error {
	var missing []string
	for c := 0; ; c++ {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0)
		if err != nil {
			break // beyond the last
		}
		if has == 0 {
			missing = append(missing, capability(c))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing: %s", strings.Join(missing, ", "))
	}
	return nil
}

// capability names the capabilities that sandboxes usually keep.
func capability(n int) string {
	switch n {
	case unix.CAP_SYS_ADMIN:
		return "CAP_SYS_ADMIN"
	case unix.CAP_SYS_RESOURCE:
		return "CAP_SYS_RESOURCE"
	case unix.CAP_NET_ADMIN:
		return "CAP_NET_ADMIN"
	case unix.CAP_SYS_PTRACE:
		return "CAP_SYS_PTRACE"
	case unix.CAP_SYS_MODULE:
		return "CAP_SYS_MODULE"
	case unix.CAP_SYS_RAWIO:
		return "CAP_SYS_RAWIO"
	case unix.CAP_SYS_TIME:
		return "CAP_SYS_TIME"
	}
	return fmt.Sprintf("number %d", n)
}

func rootFileSystem() string {
	kind := ""
	data, _ := os.ReadFile("/proc/self/mountinfo") // then it is not known
	for l := range strings.Lines(string(data)) {
		if before, after, ok := strings.Cut(l, " - "); ok && len(strings.Fields(before)) > 4 && strings.Fields(before)[4] == "/" {
			kind, _, _ = strings.Cut(after, " ")
		}
	}
	return kind
}

// idmaps tries mounts with mapped owners in each of the file systems.
func (w *World) idmaps() []Finding {
	f := Finding{Name: "idmapped mounts", Serves: "mounts with idmap or uidMappings"}
	if w.user || w.nested {
		f.Remedy = "only root of the host can make them"
		return one(f, unix.EPERM)
	}
	paths := w.Paths
	if len(paths) == 0 {
		paths = []string{"/", "/tmp", "/var/lib", "/home", "/dev/shm"}
	}
	var list []Finding
	err := w.withMapping(func(userNS int) {
		seen := map[uint64]bool{}
		for _, p := range paths {
			var st unix.Stat_t
			if err := unix.Stat(p, &st); err != nil && len(w.Paths) == 0 || err == nil && seen[st.Dev] {
				continue
			}
			seen[st.Dev] = true
			f := f
			f.Name, f.Detail = "idmapped mounts of "+p, fileSystem(p)
			f.Remedy = "use another file system, or a newer kernel"
			list = append(list, f.of(mapOwners(p, userNS)))
		}
	})
	if err != nil {
		return one(f, err)
	}
	return list
}

// withMapping calls f with a user namespace whose ids are mapped.
func (w *World) withMapping(f func(userNS int)) error {
	return w.Lend(func(k kernel.Kernel, pid int) error {
		b := &kernel.Batch{}
		b.For("", "cannot make a user namespace")
		b.Unshare(unix.CLONE_NEWUSER)
		if err := k.Run(b); err != nil {
			return err
		}
		dir := fmt.Sprintf("/proc/%d/", pid)
		for _, name := range []string{"uid_map", "gid_map"} {
			if err := os.WriteFile(dir+name, []byte("0 100000 65536"), 0); err != nil {
				return err
			}
		}
		ns, err := unix.Open(dir+"ns/user", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(ns)
		f(ns)
		return nil
	})
}

func mapOwners(path string, userNS int) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userNS)})
	if err == unix.EINVAL {
		return errors.New("the file system cannot map owners on this kernel")
	}
	return err
}

// fileSystem is the type of the file system that a path is in.
func fileSystem(path string) string {
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_MNT_ID, &st) != nil {
		return ""
	}
	data, _ := os.ReadFile("/proc/self/mountinfo") // then it is not known
	for l := range strings.Lines(string(data)) {
		if _, after, ok := strings.Cut(l, " - "); ok && strings.HasPrefix(l, fmt.Sprint(st.Mnt_id)+" ") {
			kind, _, _ := strings.Cut(after, " ")
			return kind
		}
	}
	return ""
}
