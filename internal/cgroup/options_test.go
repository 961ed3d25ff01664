package cgroup

import (
	"slices"
	"testing"
)

func TestUnifiedOptions(t *testing.T) {
	for text, want := range map[string]struct {
		point   string
		options []string
	}{
		"30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n": {"/sys/fs/cgroup", []string{"nsdelegate", "memory_recursiveprot"}},
		"30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 none rw\n":                                             {"/sys/fs/cgroup", nil},
		"30 24 0:26 / /sys/fs/cgroup/unified rw - cgroup2 none rw,nsdelegate\n":                                 {"/sys/fs/cgroup/unified", []string{"nsdelegate"}},
		"30 24 0:26 / /mnt rw - cgroup2 none rw,nsdelegate\n":                                                   {"", nil},
		"30 24 0:26 / /sys/fs/cgroup rw - tmpfs none rw,nsdelegate\n":                                           {"", nil},
	} {
		point, options := parseUnifiedOptions(text)
		if point != want.point || !slices.Equal(options, want.options) {
			t.Errorf("%q: %q, %q, want %+v", text, point, options, want)
		}
	}
}
