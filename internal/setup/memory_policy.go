package setup

import (
	"encoding/binary"
	"fmt"
	"strconv"
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
	nodes, err := nodeMask(p.Nodes)
	if err != nil {
		return fmt.Errorf("linux.memoryPolicy.nodes: %w", err)
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

// nodeMask is a list as "0-3,7" as an array of words with a bit for each node;
// nil if it is empty.
func nodeMask(list string) ([]byte, error) {
	var words [maxNodes / 64]uint64
	some := false
	for part := range strings.SplitSeq(list, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		low, high, ranged := strings.Cut(part, "-")
		from, err := strconv.ParseUint(strings.TrimSpace(low), 10, 16)
		to := from
		if err == nil && ranged {
			to, err = strconv.ParseUint(strings.TrimSpace(high), 10, 16)
		}
		if err != nil || from > to || to >= maxNodes {
			return nil, fmt.Errorf("%q is no range of nodes", part)
		}
		for n := from; n <= to; n++ {
			words[n/64] |= 1 << (n % 64)
		}
		some = true
	}
	if !some {
		return nil, nil
	}
	mem := make([]byte, 0, maxNodes/8)
	for _, w := range words {
		mem = binary.NativeEndian.AppendUint64(mem, w)
	}
	return mem, nil
}
