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

func (w *World) namespaces() []Finding {
	var missing []string
	for _, name := range []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"} {
		if _, err := os.Stat("/proc/self/ns/" + name); err != nil {
			missing = append(missing, name)
		}
	}
	var err error
	if len(missing) > 0 {
		err = fmt.Errorf("the kernel lacks %s", strings.Join(missing, ", "))
	}
	return one(Finding{Name: "namespaces", Serves: "linux.namespaces", Remedy: "use a kernel that is built with them (CONFIG_NAMESPACES)"}, err)
}

// userNamespaces tries what containers of a user, and such with uidMappings, do.
func (w *World) userNamespaces() []Finding {
	f := Finding{Name: "user namespaces", Serves: "linux.uidMappings", Required: w.user}
	if w.user {
		f.Serves = "containers of ordinary users"
	}
	err := w.inside(unix.CLONE_NEWUSER|unix.CLONE_NEWNS, func(*kernel.Batch) {})
	f.Remedy = whyNoUserNamespace()
	list := one(f, err)
	if err != nil {
		return list
	}
	list = append(list,
		Finding{Name: "tmpfs in a user namespace", Serves: f.Serves, Required: w.user}.of(w.inside(unix.CLONE_NEWUSER|unix.CLONE_NEWNS, mountNew("tmpfs"))),
		Finding{Name: "overlay in a user namespace", Serves: "engines that build images as a user", Remedy: "use Linux 5.11 or newer, or fuse-overlayfs"}.of(w.overlay()),
		Finding{Name: "proc in a user namespace", Serves: "mounts of proc with a user namespace", Required: w.user,
			Remedy: "let the container that tongs runs in have all of /proc (docker: --security-opt systempaths=unconfined)"}.of(procVisible()))
	return list
}

// inside queues calls in new namespaces and runs them.
func (w *World) inside(flags uint64, queue func(*kernel.Batch)) error {
	return w.Lend(func(k kernel.Kernel, _ int) error {
		b := &kernel.Batch{}
		b.For("", "cannot make namespaces")
		b.Unshare(flags)
		queue(b)
		return k.Run(b)
	})
}

func mountNew(kind string) func(*kernel.Batch) {
	return func(b *kernel.Batch) {
		b.For("", "cannot mount a new "+kind)
		fs := b.Fsopen(kind)
		fs.Create()
		b.Close(fs.Mount(0, kind))
	}
}

// overlay lacks its layers: the kernel asks for rights before it looks for them.
func (w *World) overlay() error {
	err := w.inside(unix.CLONE_NEWUSER|unix.CLONE_NEWNS, mountNew("overlay"))
	if errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// whyNoUserNamespace names the switch that is off.
func whyNoUserNamespace() string {
	switch {
	case sysctl("user/max_user_namespaces") == "0":
		return "sysctl user.max_user_namespaces=10000"
	case sysctl("kernel/unprivileged_userns_clone") == "0":
		return "sysctl kernel.unprivileged_userns_clone=1"
	case sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
		return "give tongs an AppArmor profile with `userns,`, or sysctl kernel.apparmor_restrict_unprivileged_userns=0"
	}
	return "let the container that tongs runs in make user namespaces (seccomp profile, AppArmor profile)"
}

// procVisible looks for what covers parts of /proc: then the kernel refuses a new
// instance to a user namespace (mount_too_revealing).
func procVisible() error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for l := range strings.Lines(string(data)) {
		f := strings.Fields(l)
		if len(f) < 5 || !strings.HasPrefix(f[4], "/proc/") {
			continue
		}
		if f[4] != "/proc/sys/fs/binfmt_misc" && f[4] != "/proc/fs/nfsd" { // directories made for mounts
			return fmt.Errorf("%s is mounted over", f[4])
		}
	}
	return nil
}

// identities looks at what an ordinary user's containers can be mapped to.
func (w *World) identities() []Finding {
	if !w.user {
		return nil
	}
	f := Finding{Name: "subordinate ids", Serves: "more than one user id in containers of ordinary users",
		Remedy: "install newuidmap (Debian: package uidmap), and as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER"}
	var err error
	if err = mapsIDs("newuidmap", "/etc/subuid"); err == nil {
		err = mapsIDs("newgidmap", "/etc/subgid")
	}
	return one(f, err)
}

func mapsIDs(program, file string) error {
	if !inPath(program) {
		return fmt.Errorf("%s is not in PATH", program)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	uid := strconv.Itoa(unix.Getuid())
	names := []string{uid}
	passwd, _ := os.ReadFile("/etc/passwd") // a number does as well
	for l := range strings.Lines(string(passwd)) {
		if f := strings.Split(l, ":"); len(f) > 2 && f[2] == uid {
			names = append(names, f[0])
		}
	}
	for l := range strings.Lines(string(data)) {
		for _, n := range names {
			if strings.HasPrefix(l, n+":") {
				return nil
			}
		}
	}
	return fmt.Errorf("%s has no line for this user", file)
}

func inPath(program string) bool {
	for dir := range strings.SplitSeq(os.Getenv("PATH"), ":") {
		if strings.HasPrefix(dir, "/") && unix.Access(dir+"/"+program, unix.X_OK) == nil {
			return true
		}
	}
	return false
}
