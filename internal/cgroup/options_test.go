package cgroup

import (
	"slices"
	"testing"
)

func TestUnifiedOptions(t *testing.T) {
	for text, want := range map[string][]string{
		"30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n": {"nsdelegate", "memory_recursiveprot"},
		"30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 none rw\n":                                             {},
		"30 24 0:26 / /sys/fs/cgroup/unified rw - cgroup2 none rw,nsdelegate\n":                                 nil,
		"30 24 0:26 / /sys/fs/cgroup rw - tmpfs none rw,nsdelegate\n":                                           nil,
	} {
		got := parseUnifiedOptions(text)
		if !slices.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
