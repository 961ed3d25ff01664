package setup

import (
	"fmt"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/rootfs"
)

// ordinary refuses a link on the way to a proc or sysfs mount: whoever
// controls it could leave /proc to a look-alike (CVE-2019-19921).
func (e *Env) ordinary(m *mount) error {
	if m.fstype != "proc" && m.fstype != "sysfs" {
		return nil
	}
	if n := m.place.Errno(); n == unix.ELOOP || n == 0 && !m.place.IsDir() {
		return fmt.Errorf("%s: %s: a file system of type %s must be mounted on an ordinary directory", m.where, m.path, m.fstype)
	}
	return nil
}

// isProc reports whether what is mounted is a proc file system.
func (e *Env) isProc(m *mount) bool {
	return m.fstype == "proc" || m.opt.bind && e.sources[m.index].proc
}

// guardProc refuses mounts into a proc file system that could make the kernel's
// answers forgeable (CVE-2019-16884). It judges what was opened, not how the path is
// written.
func (e *Env) guardProc(m *mount, place *rootfs.Place) {
	if place.FS == nil {
		place.FS = e.fileSystem(m, place)
	}
	e.B.Check(func() error {
		if place.Errno() != 0 || place.FS.Type() != unix.PROC_SUPER_MAGIC || m.path == "/proc" || procFile(m.path) {
			return nil
		}
		return fmt.Errorf("%s: %s lies in a proc file system, where it cannot be mounted", m.where, m.path)
	})
}

// fileSystem is the one that a place lies in, whose Stat is known: mostly that
// of the root, of which it is known, too.
func (e *Env) fileSystem(m *mount, place *rootfs.Place) *kernel.Statfs {
	if place.Stat.Dev() == e.rootDir.Dev() {
		return e.rootFS
	}
	e.B.ForPath(m.where, "cannot look at", m.path)
	return e.B.Fstatfs(place.H)
}

// procFile lists the files of /proc that may be covered, which are those that
// other runtimes allow: they tell about resources (lxcfs and the like).
func procFile(p string) bool {
	switch p {
	case "/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps", "/proc/uptime", "/proc/loadavg",
		"/proc/slabinfo", "/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled":
		return true
	}
	return false
}
