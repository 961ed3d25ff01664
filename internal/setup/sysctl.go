package setup

import (
	"fmt"
	"slices"

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
