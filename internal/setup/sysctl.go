package setup

import (
	"fmt"
	"maps"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/bundle"
	"tongs/internal/kernel"
)

// writeSysctl writes kernel parameters (runtime-spec 1.3, config-linux §
// Sysctl) through the proc file system that the container was given, or a
// detached one if it has none. Nothing that is mounted or linked over it is
// met on the way (rule R2).
func writeSysctl(e *Env) error {
	if e.Spec.Linux == nil || len(e.Spec.Linux.Sysctl) == 0 {
		return nil
	}
	if !e.proc.Valid() {
		e.B.For("linux.sysctl", "cannot make a proc file system")
		fs := e.B.Fsopen("proc")
		fs.Create()
		e.proc = fs.Mount(0, "proc")
	}
	keys := make([]string, 0, len(e.Spec.Linux.Sysctl))
	for k := range e.Spec.Linux.Sysctl {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		e.B.For("linux.sysctl["+k+"]", "cannot write")
		path, err := bundle.SysctlPath(k)
		if err != nil {
			return fmt.Errorf("linux.sysctl: %w", err)
		}
		h := e.B.Openat2(e.proc, "sys/"+path, unix.O_WRONLY, 0, kernel.Beneath)
		e.B.Write(h, e.Spec.Linux.Sysctl[k])
		e.B.Close(h)
	}
	return nil
}

// refuseHostSysctl refuses kernel parameters of a namespace that is joined and is
// tongs' own: they would be the host's.
func (e *Env) refuseHostSysctl(j *join, n specs.LinuxNamespace) error {
	for _, k := range slices.Sorted(maps.Keys(e.Spec.Linux.Sysctl)) {
		path, err := bundle.SysctlPath(k)
		if err != nil || bundle.SysctlNamespace(path) != n.Type {
			continue // bundle.Check has told of an error
		}
		file := string(n.Type) // in /proc/self/ns, for those that have parameters
		if n.Type == specs.NetworkNamespace {
			file = "net"
		}
		b := e.onHost()
		b.For(j.field, "cannot look at the namespace")
		theirs, ours := b.Stat(j.h), b.StatPath("/proc/self/ns/"+file)
		if err := e.Host.Run(b); err != nil {
			return err
		}
		if theirs.SameFile(ours) {
			return fmt.Errorf("linux.sysctl[%s]: not allowed: %s leads to the host's own namespace, so it would change the host", k, j.field)
		}
		return nil
	}
	return nil
}
