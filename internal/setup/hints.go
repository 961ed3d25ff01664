package setup

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// explain adds to the error of a call what the reader can do.
func (e *Env) explain(err error) error {
	var c *kernel.CallError
	if !errors.As(err, &c) {
		return err
	}
	text := ""
	if c.Name == "pivot_root" && c.Errno == unix.EINVAL {
		text = "where the root lies on the initial ramdisk, it takes --no-pivot"
	} else if c.Errno == unix.EMFILE {
		text = "each mount takes descriptors until all are in place, and the caller's hard limit of them (RLIMIT_NOFILE) is too low for so many"
	} else if e.limited() || e.inUserNamespace() {
		text = e.why(c)
	}
	if text != "" && !strings.Contains(c.Hint, text) {
		c.Hint = strings.TrimPrefix(c.Hint+"; "+text, "; ")
	}
	return err
}

// why tells where the kernel refuses to a user namespace, or to who is not the
// host's root, what it allows to that (user_namespaces(7), mount_namespaces(7)).
func (e *Env) why(c *kernel.CallError) string {
	denied := c.Errno == unix.EPERM
	of := func(fstype string) bool {
		return strings.HasSuffix(c.Call, fstype) || strings.Contains(c.Want+" ", fstype+" ")
	}
	switch {
	case denied && c.Name == "fsmount" && of("proc"):
		return "parts of /proc are masked or hidden here, as in most containers, and the kernel makes no new proc where none is fully visible"
	case denied && c.Name == "fsmount" && of("sysfs"):
		return "parts of /sys are masked or hidden here, and the kernel makes no new sysfs where none is fully visible: use a bind of /sys (rbind)"
	case denied && of("proc") && strings.HasPrefix(c.Name, "fs"):
		return "a proc of its own needs a PID namespace of its own: use a bind of /proc (rbind)"
	case denied && of("sysfs") && strings.HasPrefix(c.Name, "fs"):
		return "a sysfs of its own needs a network namespace of its own: use a bind of /sys (rbind)"
	case denied && of("mqueue") && strings.HasPrefix(c.Name, "fs"):
		return "a message queue file system of its own needs an IPC namespace of its own"
	case denied && strings.HasPrefix(c.Name, "fs"):
		return "a user namespace cannot make every file system"
	case c.Errno == unix.EINVAL && c.Name == "open_tree":
		return "in a user namespace the mounts below are locked to it: use rbind"
	case denied && c.Name == "mount_setattr":
		return "in a user namespace the flags of the host's mounts (ro, nosuid, nodev, noexec, atime) are locked and cannot be taken back"
	case denied && c.Name == "unshare":
		return "without privileges a container needs a user namespace, see spec --rootless; the host may forbid those to users (user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
	case c.Errno == unix.ENOSPC && c.Name == "unshare":
		return "the limit of namespaces is reached (sysctl user.max_*_namespaces), or 32 user namespaces are nested"
	case denied && c.Name == "write" && strings.HasSuffix(c.Want, "map"):
		return "these ids are not the user's to map (root's can be mapped with CAP_SETFCAP only)"
	case denied && c.Name == "prlimit64":
		return "only the host's root may raise a limit"
	case c.Errno == unix.EINVAL && (c.Name == "setresuid" || c.Name == "setresgid" || c.Name == "setgroups"):
		return "the id is not mapped in the user namespace"
	case denied && c.Name == "setgroups":
		return "the user namespace denies setgroups, since it maps one id only"
	}
	return ""
}
