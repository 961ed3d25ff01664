package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// viewEnv marks the second start of this command, in a mount namespace of its
// own.
const viewEnv = "TONGS_BENCH_VIEW"

// enterView starts this command again in a private mount namespace where
// /sys/fs/cgroup is pure cgroup v2, and reports true when that run is over.
// In the second run it makes the view and reports false.
func enterView() (bool, error) {
	if os.Getenv(viewEnv) == "" {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(os.Environ(), viewEnv+"=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGTERM}
		err := cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			os.Exit(max(exit.ExitCode(), 1)) // it has said why
		}
		return true, err
	}
	const dir = "/sys/fs/cgroup"
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return false, fmt.Errorf("cannot make a private mount namespace: %w", err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false, fmt.Errorf("cannot find cgroups: %w", err)
	}
	if st.Type == unix.CGROUP2_SUPER_MAGIC {
		return false, nil
	}
	// Lazy: the v1 hierarchies below go with it.
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		return false, fmt.Errorf("cannot unmount cgroup v1 from the private view: %w", err)
	}
	if err := unix.Mount("none", dir, "cgroup2", 0, ""); err != nil {
		return false, fmt.Errorf("cannot mount cgroup v2 in the private view: %w", err)
	}
	return false, nil
}
