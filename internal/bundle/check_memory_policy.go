package bundle

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// checkMemoryPolicy applies the rules of set_mempolicy(2), which the kernel
// answers with a bare EINVAL.
func checkMemoryPolicy(c *checker, p *specs.LinuxMemoryPolicy) {
	const path = "linux.memoryPolicy"
	if p == nil {
		return
	}
	checkMemoryPolicyFlags(c, p)
	checkList(c, path+".nodes", p.Nodes, maxNode)
	static := slices.Contains(p.Flags, specs.MpolFStaticNodes)
	relative := slices.Contains(p.Flags, specs.MpolFRelativeNodes)
	some := strings.Trim(p.Nodes, " ,") != ""
	switch p.Mode {
	case specs.MpolDefault, specs.MpolLocal:
		if some {
			c.Addf(path+".nodes", "must be empty for %s", p.Mode)
		}
		if static || relative {
			c.Addf(path+".flags", "flags about nodes are not possible with %s", p.Mode)
		}
	case specs.MpolPreferred:
		if !some && (static || relative) {
			c.Addf(path+".nodes", "required for MPOL_PREFERRED with flags about nodes")
		}
	case specs.MpolBind, specs.MpolInterleave, specs.MpolWeightedInterleave,
		specs.MpolPreferredMany:
		if !some {
			c.Addf(path+".nodes", "required for %s", p.Mode)
		}
	case "":
		c.Addf(path+".mode", "required")
	default:
		c.Addf(path+".mode", "unknown mode %s", quote(string(p.Mode)))
	}
}

func checkMemoryPolicyFlags(c *checker, p *specs.LinuxMemoryPolicy) {
	const path = "linux.memoryPolicy.flags"
	for i, flag := range p.Flags {
		switch flag {
		case specs.MpolFStaticNodes, specs.MpolFRelativeNodes:
		case specs.MpolFNumaBalancing:
			// With MPOL_BIND since 5.12, MPOL_PREFERRED_MANY since 6.10.
			if p.Mode != specs.MpolBind && p.Mode != specs.MpolPreferredMany {
				c.Addf(at(path, i), "only for MPOL_BIND and MPOL_PREFERRED_MANY")
			}
		default:
			c.Addf(at(path, i), "unknown flag %s", quote(string(flag)))
		}
	}
	if slices.Contains(p.Flags, specs.MpolFStaticNodes) && slices.Contains(p.Flags, specs.MpolFRelativeNodes) {
		c.Addf(path, "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other")
	}
}
