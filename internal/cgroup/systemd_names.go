package cgroup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// runsSystemd tells whether systemd is the host's service manager, as
// sd_booted(3) does.
func runsSystemd() bool {
	var st unix.Stat_t
	return unix.Lstat("/run/systemd/system", &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// slicePath is where a slice is below the cgroup of its service manager: dashes
// in its name nest it (systemd.slice(5)). "-.slice" is the root.
func slicePath(slice string) (string, error) {
	const suffix = ".slice"
	name, ok := strings.CutSuffix(slice, suffix)
	if !ok || strings.Contains(name, "/") {
		return "", fmt.Errorf("%q is not the name of a slice", slice)
	}
	if name == "-" {
		return "/", nil
	}
	var path strings.Builder
	for at := 0; at <= len(name); at++ {
		if at < len(name) && name[at] != '-' {
			continue
		}
		if at == 0 || name[at-1] == '-' { // a part without a name
			return "", fmt.Errorf("%q is not the name of a slice", slice)
		}
		path.WriteString("/" + name[:at] + suffix)
	}
	return path.String(), nil
}

// mostBits bounds the numbers of CPUs and memory nodes; the kernel has at most 8,192
// and 1,024 of them.
const mostBits = 1 << 16

// setBits turns a list as cpuset files have it, "0-3,7" (cpuset(7), "List format"),
// into systemd's form of it: bit n of byte n/8 stands for number n.
func setBits(list string) ([]byte, error) {
	var bits []byte
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, err := strconv.ParseUint(from, 10, 32)
		if err != nil {
			return nil, err
		}
		last, err := strconv.ParseUint(to, 10, 32)
		if err != nil {
			return nil, err
		}
		if first > last {
			return nil, fmt.Errorf("%q ends before it begins", part)
		}
		if last >= mostBits {
			return nil, fmt.Errorf("%d is more than any machine has", last)
		}
		for n := first; n <= last; n++ {
			for uint64(len(bits)) <= n/8 {
				bits = append(bits, 0)
			}
			bits[n/8] |= 1 << (n % 8)
		}
	}
	if len(bits) == 0 {
		return nil, errors.New("it is empty")
	}
	return bits, nil
}
