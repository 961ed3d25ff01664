package setup

import (
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// lookForSELinux finds out whether linux.mountLabel means anything (runtime-spec
// 1.3, config-linux § Mount Label). Without SELinux it is ignored, as runc does.
func lookForSELinux(e *Env) error {
	if e.Spec.Linux == nil || e.Spec.Linux.MountLabel == "" {
		return nil
	}
	b := e.onHost()
	b.For("linux.mountLabel", "cannot look for SELinux")
	h := b.Openat2(kernel.CWD(), "/sys/fs/selinux", unix.O_PATH, 0, 0)
	b.Allow()
	fs := b.Fstatfs(h)
	b.Allow()
	b.Close(h).Allow()
	if err := e.Host.Run(b); err != nil {
		return err
	}
	if h.Errno() == 0 && fs.Type() == unix.SELINUX_MAGIC {
		e.label = e.Spec.Linux.MountLabel
	} else {
		e.Warn("linux.mountLabel: ignored: SELinux is not enabled")
	}
	return nil
}

// labelOption is the option that gives the files of a new file system the label,
// or empty: for those that have labels of their own, that have none, and where
// the configuration says it itself (selinux(8), mount(8)).
func (e *Env) labelOption(m *mount) string {
	switch m.fstype {
	case "proc", "sysfs", "mqueue", "cgroup", "cgroup2":
		return ""
	}
	for _, o := range m.opt.super {
		if name, _, _ := strings.Cut(o, "="); strings.HasSuffix(name, "context") {
			return ""
		}
	}
	if e.label == "" {
		return ""
	}
	return "context=" + e.label
}

// labelRoot labels the root directory of a file system that has no such option,
// but labels.
func (e *Env) labelRoot(m *mount) {
	if e.label == "" || m.fstype != "mqueue" {
		return
	}
	e.B.For("linux.mountLabel", "cannot label "+m.path)
	dir := e.B.Openat2(m.h, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0, kernel.InRootReal)
	e.B.Fsetxattr(dir, "security.selinux", append([]byte(e.label), 0))
	e.B.Close(dir)
}
