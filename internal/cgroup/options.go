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
	point, before, err := unifiedOptions()
	if err != nil || point == "" {
		return func() error { return err } // there is no such file system
	}
	return func() error {
		_, after, err := unifiedOptions()
		if err != nil || slices.Equal(before, after) {
			return err
		}
		if err := setUnifiedOptions(point, before); err != nil {
			return fmt.Errorf("cannot set the options %q of %s again, which criu has changed: %w", strings.Join(before, ","), point, err)
		}
		return nil
	}
}

// unifiedOptions are the mount point of the v2 file system, "" if there is none,
// and its options, without ro and rw.
func unifiedOptions() (point string, options []string, err error) {
	text, err := readFile("/proc/self", "mountinfo")
	if err != nil {
		return "", nil, fmt.Errorf("cannot find the options of %s: %w", root, err)
	}
	point, options = parseUnifiedOptions(text)
	return point, options, nil
}

func parseUnifiedOptions(text string) (point string, options []string) {
	for line := range strings.Lines(text) {
		left, right, ok := strings.Cut(line, " - cgroup2 ")
		f, super := strings.Fields(left), strings.Fields(right)
		if !ok || len(f) < 5 || f[4] != root && f[4] != root+"/unified" || len(super) < 2 {
			continue
		}
		point = f[4]
		options = slices.DeleteFunc(strings.Split(super[len(super)-1], ","), func(o string) bool { return o == "rw" || o == "ro" })
	}
	return point, options
}

func setUnifiedOptions(point string, options []string) error {
	fs, err := unix.Fspick(unix.AT_FDCWD, point, unix.FSPICK_CLOEXEC)
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
