package bundle

import (
	"strconv"
	"strings"
)

// Largest numbers in the lists of cpuset(7) § List format. Above, the kernel's
// masks end whatever its configuration (CONFIG_NR_CPUS, CONFIG_NODES_SHIFT).
const (
	maxCPU  = 8191
	maxNode = 1023
)

// checkList checks a list of CPUs or memory nodes as "0-3,7". As in runc,
// spaces around an element and empty elements are allowed, but something must
// be in a list that is not empty.
func checkList(c *checker, path, list string, limit uint64) {
	if list == "" {
		return
	}
	some := false
	for element := range strings.SplitSeq(list, ",") {
		element = strings.TrimSpace(element)
		if element == "" {
			continue
		}
		some = true
		first, last, isRange := strings.Cut(element, "-")
		low, err := strconv.ParseUint(first, 10, 32)
		high := low
		if err == nil && isRange {
			high, err = strconv.ParseUint(last, 10, 32)
		}
		switch {
		case err != nil:
			c.Addf(path, "%s is not a number or range, as in \"0-3,7\"", quote(element))
		case low > high:
			c.Addf(path, "range %s runs backwards", quote(element))
		case high > limit:
			c.Addf(path, "%s is above the largest number possible, %d", quote(element), limit)
		}
	}
	if !some {
		c.Addf(path, "%s names nothing", quote(list))
	}
}
