package cgroup

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/cgroups"
)

// convertUnified takes any v2 file by name. It is written last, so it wins
// over the other fields.
func convertUnified(r *cgroups.Resources, files map[string]string, unified bool) error {
	if len(files) == 0 {
		return nil
	}
	if !unified {
		return fmt.Errorf("linux.resources.unified: this host has cgroup v1, where there are no unified files")
	}
	for _, name := range sortedKeys(files) {
		controller, parameter, ok := strings.Cut(name, ".")
		if !ok || controller == "" || parameter == "" || strings.ContainsAny(name, "/\x00") {
			return fmt.Errorf("linux.resources.unified: %q is not a file name like memory.high", name)
		}
		// Would move processes, or kill or stop the container: not limits.
		switch name {
		case "cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.freeze":
			return fmt.Errorf("linux.resources.unified: %q is not a limit", name)
		}
	}
	r.Unified = files
	return nil
}

func sortedKeys(files map[string]string) []string { return slices.Sorted(maps.Keys(files)) }
