package probe

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// kernelCalls tries the calls without which there is no container, the newest of
// which is of 5.14.
func (w *World) kernelCalls() []Finding {
	const newer = "use Linux 5.14 or newer"
	release, err := kernelRelease()
	list := one(Finding{Name: "kernel", Serves: "containers", Required: true, Detail: "Linux " + release, Remedy: newer}, err)
	add := func(name string, err error) {
		f := Finding{Name: name, Serves: "containers", Required: true, Remedy: newer}
		if err == unix.EPERM {
			f.Remedy = "a sandbox or seccomp profile around tongs forbids the call: allow it there"
		}
		list = append(list, f.of(err))
	}
	add("openat2", closing(unix.Openat2(unix.AT_FDCWD, ".", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})))
	add("pidfd_open", closing(unix.PidfdOpen(unix.Getpid(), 0)))
	add("close_range", unix.CloseRange(1<<30, 1<<30, 0))
	return append(list, memoryFiles())
}

// mounts tries what each container does, in namespaces as its process has them.
func (w *World) mounts() []Finding {
	flags := uint64(unix.CLONE_NEWNS)
	if w.user {
		flags |= unix.CLONE_NEWUSER
	}
	f := Finding{Serves: "containers", Required: true, Remedy: "give tongs CAP_SYS_ADMIN; if it has it, let what is around it (a sandbox, a seccomp profile) allow the calls"}
	tree, fs := f, f
	tree.Name, fs.Name = "open_tree, mount_setattr", "fsopen"
	return []Finding{tree.of(w.inside(flags, copyTree)), fs.of(w.inside(flags, mountNew("tmpfs")))}
}

func closing(fd int, err error) error {
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func kernelRelease() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", err
	}
	release := unix.ByteSliceToString(u.Release[:])
	major, rest, _ := strings.Cut(release, ".")
	minor := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
	x, _ := strconv.Atoi(major)
	y, _ := strconv.Atoi(minor) // zero for what is no number
	if x < 5 || x == 5 && y < 14 {
		return release, fmt.Errorf("%s is older than 5.14", release)
	}
	return release, nil
}

// copyTree is what becomes of each root file system.
func copyTree(b *kernel.Batch) {
	b.For("", "cannot copy mounts")
	// With all that is mounted below: in a user namespace that may not be uncovered.
	h := b.OpenTree(kernel.CWD(), "/", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	b.MountSetattr(h, 0, kernel.MountAttr{Set: unix.MOUNT_ATTR_NOSUID})
	b.Close(h)
}

func memoryFiles() Finding {
	f := Finding{Name: "executable memory files", Serves: "starting without a file on disk", Remedy: "sysctl vm.memfd_noexec=0; without it the state directory serves"}
	fd, err := unix.MemfdCreate("probe", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if err == unix.EINVAL { // before 6.3 all were
		fd, err = unix.MemfdCreate("probe", unix.MFD_CLOEXEC)
	}
	if err == unix.EACCES {
		err = errors.New("vm.memfd_noexec is " + sysctl("vm/memfd_noexec"))
	}
	return f.of(closing(fd, err))
}

// sysctl is a value below /proc/sys, or nothing.
func sysctl(name string) string { return line("/proc/sys/" + name) }

// line is the content of a file of one line, or nothing.
func line(path string) string {
	data, _ := os.ReadFile(path) // nothing says the same
	return strings.TrimSpace(string(data))
}
