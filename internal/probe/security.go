package probe

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// SeccompFlags lists the flags of filters that this kernel knows, by the
// specification's names (seccomp(2)): asked for a filter at no address, it
// complains of the address only if it likes the flags.
func SeccompFlags() []string {
	var list []string
	for _, f := range []struct {
		name string
		bits uintptr
	}{
		{"SECCOMP_FILTER_FLAG_LOG", unix.SECCOMP_FILTER_FLAG_LOG},
		{"SECCOMP_FILTER_FLAG_SPEC_ALLOW", unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW},
		{"SECCOMP_FILTER_FLAG_TSYNC", unix.SECCOMP_FILTER_FLAG_TSYNC},
		{"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV | unix.SECCOMP_FILTER_FLAG_NEW_LISTENER},
	} {
		if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, f.bits, 0); e == unix.EFAULT {
			list = append(list, f.name)
		}
	}
	return list
}

func seccomp() []Finding {
	flags := SeccompFlags()
	var err error
	if len(flags) == 0 {
		err = errors.New("the kernel knows no flag of filters")
	}
	return one(Finding{Name: "seccomp", Serves: "linux.seccomp", Detail: strings.Join(flags, " "), Remedy: "use a kernel with CONFIG_SECCOMP_FILTER"}, err)
}

// securityModules tells which of the modules that configurations name are there.
func securityModules() []Finding {
	var apparmor, selinux error
	if line("/sys/module/apparmor/parameters/enabled") != "Y" {
		apparmor = errors.New("not enabled in this kernel")
	}
	mode := line("/sys/fs/selinux/enforce")
	if mode == "" {
		selinux = errors.New("not enabled in this kernel, or not mounted on /sys/fs/selinux")
	}
	detail := "permissive"
	if mode == "1" {
		detail = "enforcing"
	}
	return []Finding{
		Finding{Name: "AppArmor", Serves: "process.apparmorProfile", Remedy: "boot with apparmor=1 if profiles are wanted"}.of(apparmor),
		Finding{Name: "SELinux", Serves: "process.selinuxLabel, linux.mountLabel", Detail: detail, Remedy: "boot with selinux=1 if labels are wanted"}.of(selinux),
	}
}

// serviceManager tries to reach systemd, as --systemd-cgroup does.
func (w *World) serviceManager() []Finding {
	f := Finding{Name: "systemd", Serves: "--systemd-cgroup", Remedy: "without systemd leave --systemd-cgroup out; in a container, share /run/systemd and /run/dbus with it"}
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return one(f, errors.New("systemd is not this machine's service manager"))
	}
	bus := "/run/dbus/system_bus_socket"
	if w.user {
		bus = os.Getenv("XDG_RUNTIME_DIR") + "/bus"
		if p, ok := strings.CutPrefix(os.Getenv("DBUS_SESSION_BUS_ADDRESS"), "unix:path="); ok {
			bus, _, _ = strings.Cut(p, ",")
		}
		f.Remedy = "log in so that systemd starts user@.service, and keep it: loginctl enable-linger (Debian: package dbus-user-session)"
	}
	f.Detail = "its bus answers at " + bus
	return one(f, connects(bus))
}

func connects(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil && err != unix.EINPROGRESS && err != unix.EAGAIN {
		return &os.PathError{Op: "connect", Path: path, Err: err}
	}
	return nil
}
