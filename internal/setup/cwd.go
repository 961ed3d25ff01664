package setup

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/rootfs"
)

// lookUpCwd asks whether the working directory exists.
func lookUpCwd(e *Env) error {
	e.B.For("process.cwd", "cannot look up "+e.Spec.Process.Cwd)
	e.cwd = e.Root.Follow(e.B, rootfs.Clean(e.Spec.Process.Cwd))
	return nil
}

// openCwd makes the working directory if it is missing, as other runtimes do.
// It is a descriptor from here on: no link of /proc/self/fd can lead it to a
// leaked one (CVE-2024-21626).
func openCwd(e *Env) error {
	if err := e.Root.Settle("process.cwd", e.cwd); err != nil {
		return err
	}
	if n := e.cwd.Errno(); n != 0 {
		if !e.cwd.Missing() || e.Joined != nil {
			return fmt.Errorf("process.cwd: cannot open %s: %s (%s)", e.cwd.Path, n.Error(), unix.ErrnoName(n))
		}
		var err error
		if e.cwd, err = e.Root.Make("process.cwd", e.cwd.Path, true); err != nil {
			return err
		}
	}
	if !e.cwd.IsDir() {
		return fmt.Errorf("process.cwd: %s: not a directory", e.cwd.Path)
	}
	return nil
}

// enterCwd changes to the working directory with the rights that the process
// still has; setUser tries again, for a directory that only the user may enter.
func enterCwd(e *Env) error {
	e.B.For("process.cwd", "cannot change to "+e.cwd.Path)
	e.B.Fchdir(e.cwd.H)
	e.chdir[0] = e.B.Allow(unix.EACCES, unix.EPERM).Last()
	return nil
}

// checkCwd verifies that the process is where it should be, and that this is
// inside of the root: the kernel marks what is not with "(unreachable)".
func checkCwd(e *Env) error {
	e.B.For("process.cwd", "cannot change to "+e.cwd.Path)
	e.B.Fchdir(e.cwd.H)
	e.chdir[1] = e.B.Allow(unix.EACCES, unix.EPERM).Last()
	e.B.Close(e.cwd.H)
	e.B.For("process.cwd", "cannot ask for the working directory")
	where := e.B.Getcwd()
	e.B.Check(func() error {
		if n := e.chdir[1].Errno(); n != 0 && e.chdir[0].Errno() != 0 {
			return fmt.Errorf("process.cwd: cannot change to %s: %s (%s)", e.cwd.Path, n.Error(), unix.ErrnoName(n))
		}
		if !strings.HasPrefix(string(where.Bytes()), "/") {
			return fmt.Errorf("process.cwd: %s is outside of the container's root", e.cwd.Path)
		}
		return nil
	})
	return nil
}
