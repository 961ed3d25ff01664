package cgroup

import (
	"fmt"
	"strconv"
	"strings"
)

// OutOfMemory says of a cgroup in which the kernel has killed processes for lack
// of memory how much they may have and had; "" if it has killed none, or cannot
// be asked.
func (g *Group) OutOfMemory() string {
	files := [3]string{"memory.oom_control", "memory.limit_in_bytes", "memory.max_usage_in_bytes"}
	dir := g.dir("memory")
	if g.unified {
		files = [3]string{"memory.events", "memory.max", "memory.peak"} // the last: 5.19
		dir = g.dir("")
	}
	if dir == "" {
		return ""
	}
	var text [3]string
	for i, name := range files {
		text[i], _ = readFile(dir, name) // what is missing is left out
	}
	if kills := value(text[0], "oom_kill"); kills == "" || kills == "0" {
		return ""
	}
	said := "the kernel has killed for lack of memory"
	for i, what := range []string{"linux.resources.memory.limit is ", "it has used up to "} {
		if n, err := strconv.ParseUint(strings.TrimSpace(text[i+1]), 10, 63); err == nil {
			said += fmt.Sprintf("; %s%d bytes", what, n)
		}
	}
	return said
}
