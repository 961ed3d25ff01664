package setup

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// The text is runc's.
var (
	errNoSELinux  = errors.New("process.selinuxLabel: selinux label is specified in config, but selinux is disabled or not supported")
	errNoAppArmor = errors.New("process.apparmorProfile: the profile cannot be applied: AppArmor is not enabled on this host")
)

// lookForLabels finds out what the labels of the configuration mean on this
// host (runtime-spec 1.3, config-linux § Mount Label, config § Linux Process).
// Without SELinux a mount label is ignored, as runc does; the label of a
// process is not, and neither is a profile of AppArmor.
func lookForLabels(e *Env) error {
	mounts := ""
	if e.Spec.Linux != nil && e.Joined == nil {
		mounts = e.Spec.Linux.MountLabel
	}
	p := e.Spec.Process
	if mounts != "" || p.SelinuxLabel != "" {
		on, err := e.haveSELinux()
		switch {
		case err != nil:
			return err
		case on:
			e.label = mounts
		case p.SelinuxLabel != "":
			return errNoSELinux
		default:
			e.Warn("linux.mountLabel: ignored: SELinux is not enabled")
		}
	}
	if p.ApparmorProfile != "" {
		if on, err := e.haveAppArmor(); err != nil || !on {
			return errors.Join(err, notOn(on))
		}
	}
	if p.SelinuxLabel == "" && p.ApparmorProfile == "" {
		return nil
	}
	return e.openHostProc()
}

func (e *Env) haveSELinux() (bool, error) {
	b := e.onHost()
	b.For("linux.mountLabel", "cannot look for SELinux")
	h := b.Openat2(kernel.CWD(), "/sys/fs/selinux", unix.O_PATH, 0, 0)
	b.Allow()
	fs := b.Fstatfs(h)
	b.Allow()
	b.Close(h).Allow()
	err := e.Host.Run(b)
	return h.Errno() == 0 && fs.Type() == unix.SELINUX_MAGIC, err
}

func (e *Env) haveAppArmor() (bool, error) {
	b := e.onHost()
	b.For("process.apparmorProfile", "cannot look for AppArmor")
	h := b.Openat2(kernel.CWD(), "/sys/module/apparmor/parameters/enabled", unix.O_RDONLY, 0, 0)
	b.Allow()
	text := b.Read(h, 1)
	b.Allow()
	b.Close(h).Allow()
	err := e.Host.Run(b)
	return string(text.Bytes()) == "Y", err
}

func notOn(on bool) error {
	if on {
		return nil
	}
	return errNoAppArmor
}

// openHostProc opens the host's proc file system for setLabels.
func (e *Env) openHostProc() error {
	b := e.onHost()
	b.For("process", "cannot open /proc")
	e.hostProc = b.Openat2(kernel.CWD(), "/proc", unix.O_PATH|unix.O_DIRECTORY, 0, 0)
	fs := b.Fstatfs(e.hostProc)
	b.Check(func() error {
		if fs.Type() != unix.PROC_SUPER_MAGIC {
			return errors.New("process: /proc is not a proc file system")
		}
		return nil
	})
	if err := e.Host.Run(b); err != nil {
		return err
	}
	e.keep(&e.hostProc)
	return nil
}

// setLabels sets what the process becomes when it executes its program. Only a
// process itself can do that. It writes through the host's proc file system,
// which it was given: nothing that the container or a joined namespace has at
// /proc is met (CVE-2019-16884, CVE-2025-52881, rule R2). A child that takes
// over later has what was set.
func setLabels(e *Env) error {
	if !e.hostProc.Valid() {
		return nil
	}
	if p := e.Spec.Process.ApparmorProfile; p != "" {
		e.B.For("process.apparmorProfile", "cannot apply the profile "+p+", which has to be loaded")
		e.writeLabel("apparmor/exec", "exec "+p)
	}
	if l := e.Spec.Process.SelinuxLabel; l != "" {
		e.B.For("process.selinuxLabel", "cannot set the label "+l)
		e.writeLabel("exec", l)
	}
	e.B.Close(e.hostProc)
	return nil
}

// labelKeys sets the label of keys that are made from here on; "\n" is none.
func (e *Env) labelKeys(label string) {
	if e.Spec.Process.SelinuxLabel != "" && e.Joined == nil {
		e.B.For("process.selinuxLabel", "cannot set the label of the session keyring")
		e.writeLabel("keycreate", label)
	}
}

func (e *Env) writeLabel(name, text string) {
	h := e.B.Openat2(e.hostProc, processFile(e.PID, "attr/"+name)[len("/proc/"):], unix.O_WRONLY, 0, kernel.Beneath)
	e.B.Write(h, text)
	e.B.Close(h)
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
