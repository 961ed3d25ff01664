package cgroup

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// KeepOptions notes the options of the v2 file system, and gives what sets them
// again if they are others by then. Whoever mounts cgroup2 anywhere, with other
// options and in the first cgroup namespace, changes them for all: without
// nsdelegate containers could leave their cgroups (cgroups(7), cgroup-v2 document,
// "Mounting"). CRIU does that.
func KeepOptions() (again func() error) {
	before, err := unifiedOptions()
	if err != nil || before == nil {
		return func() error { return err } // there is no such file system
	}
	return func() error {
		after, err := unifiedOptions()
		if err != nil || slices.Equal(before, after) {
			return err
		}
		if err := setUnifiedOptions(before); err != nil {
			return fmt.Errorf("cannot set the options %q of %s again, which criu has changed: %w", strings.Join(before, ","), root, err)
		}
		return nil
	}
}

// unifiedOptions are those of the file system on /sys/fs/cgroup, without ro and rw;
// nil if it is not cgroup2.
func unifiedOptions() ([]string, error) {
	text, err := readFile("/proc/self", "mountinfo")
	if err != nil {
		return nil, fmt.Errorf("cannot find the options of %s: %w", root, err)
	}
	return parseUnifiedOptions(text), nil
}

func parseUnifiedOptions(text string) (options []string) {
	for line := range strings.Lines(text) {
		left, right, ok := strings.Cut(line, " - cgroup2 ")
		f, super := strings.Fields(left), strings.Fields(right)
		if !ok || len(f) < 5 || f[4] != root || len(super) < 2 {
			continue
		}
		options = slices.DeleteFunc(strings.Split(super[len(super)-1], ","), func(o string) bool { return o == "rw" || o == "ro" })
	}
	return options
}

func setUnifiedOptions(options []string) error {
	fs, err := unix.Fspick(unix.AT_FDCWD, root, unix.FSPICK_CLOEXEC)
	if err != nil {
		return fmt.Errorf("fspick: %w", err)
	}
	defer unix.Close(fs)
	for _, o := range options {
		if err := unix.FsconfigSetFlag(fs, o); err != nil {
			return fmt.Errorf("fsconfig(%s): %w", o, err)
		}
	}
	if err := unix.FsconfigReconfigure(fs); err != nil {
		return fmt.Errorf("fsconfig: %w", err)
	}
	return nil
}
