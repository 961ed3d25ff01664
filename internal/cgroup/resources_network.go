package cgroup

import (
	"fmt"

	"github.com/opencontainers/cgroups"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// convertNetwork: v1 only; v2 has nothing to write these to and ignores them,
// as in runc.
func convertNetwork(r *cgroups.Resources, n *specs.LinuxNetwork) error {
	if n == nil {
		return nil
	}
	if n.ClassID != nil {
		r.NetClsClassid = *n.ClassID
	}
	for i, p := range n.Priorities {
		if p.Name == "" || !isWord(p.Name) {
			return fmt.Errorf("linux.resources.network.priorities[%d].name: %q is not an interface name", i, p.Name)
		}
		r.NetPrioIfpriomap = append(r.NetPrioIfpriomap, &cgroups.IfPrioMap{Interface: p.Name, Priority: int64(p.Priority)})
	}
	return nil
}
