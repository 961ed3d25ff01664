package setup

import (
	"slices"
	"testing"
)

func TestOutsideProc(t *testing.T) {
	const table = `20 1 8:1 / / rw - ext4 /dev/a rw
21 20 0:5 / /proc rw,nosuid shared:3 - proc proc rw
22 21 0:6 / /proc/sys/fs/binfmt_misc rw - binfmt_misc none rw
23 20 0:7 / /sys rw - sysfs sysfs rw
24 20 0:5 /sys /part rw - proc proc rw
25 20 0:8 / /chroot\040a\134b/proc rw - proc proc rw
40 20 8:1 /rootfs / rw - ext4 /dev/a rw
41 40 0:9 / /proc rw - proc proc rw
42 41 0:9 /sys /proc/sys ro - proc proc rw
43 40 0:7 / /sys ro - sysfs sysfs rw
damaged
50 50 0:7 / /loop ro - sysfs sysfs rw
`
	want := []string{"/loop", `/chroot a\b/proc`, "/sys", "/proc"}
	if got := outsideProc(table, 40); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
