package setup

import (
	"fmt"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxNodes is the highest number of memory nodes that a Linux kernel can be
// built for.
const maxNodes = 1024

// setMemoryPolicy sets linux.memoryPolicy (runtime-spec 1.3, config-linux
// § Memory Policy; set_mempolicy(2)). execve(2) keeps it.
func setMemoryPolicy(e *Env) error {
	if e.Spec.Linux == nil || e.Spec.Linux.MemoryPolicy == nil {
		return nil
	}
	p := e.Spec.Linux.MemoryPolicy
	mode, ok := memoryMode(p.Mode)
	if !ok {
		return fmt.Errorf("linux.memoryPolicy.mode: unknown mode %q", p.Mode)
	}
	for i, f := range p.Flags {
		bit, ok := memoryFlag(f)
		if !ok {
			return fmt.Errorf("%s: unknown flag %q", item("linux.memoryPolicy.flags", i), f)
		}
		mode |= bit
	}
	var nodes []byte
	if strings.Trim(p.Nodes, " ,") != "" {
		var err error
		if nodes, err = bitMask(p.Nodes, maxNodes); err != nil {
			return fmt.Errorf("linux.memoryPolicy.nodes: %w", err)
		}
	}
	e.B.For("linux.memoryPolicy", "cannot set the policy "+string(p.Mode))
	e.B.SetMempolicy(mode, nodes)
	return nil
}

func memoryMode(m specs.MemoryPolicyModeType) (uint64, bool) {
	switch m {
	case specs.MpolDefault:
		return unix.MPOL_DEFAULT, true
	case specs.MpolPreferred:
		return unix.MPOL_PREFERRED, true
	case specs.MpolBind:
		return unix.MPOL_BIND, true
	case specs.MpolInterleave:
		return unix.MPOL_INTERLEAVE, true
	case specs.MpolLocal:
		return unix.MPOL_LOCAL, true
	case specs.MpolPreferredMany: // 5.15
		return unix.MPOL_PREFERRED_MANY, true
	case specs.MpolWeightedInterleave: // 6.9
		return unix.MPOL_WEIGHTED_INTERLEAVE, true
	}
	return 0, false
}

func memoryFlag(f specs.MemoryPolicyFlagType) (uint64, bool) {
	switch f {
	case specs.MpolFNumaBalancing:
		return unix.MPOL_F_NUMA_BALANCING, true
	case specs.MpolFRelativeNodes:
		return unix.MPOL_F_RELATIVE_NODES, true
	case specs.MpolFStaticNodes:
		return unix.MPOL_F_STATIC_NODES, true
	}
	return 0, false
}
