package container

import "golang.org/x/sys/unix"

// mayHoard reports whether the process can keep what it opens until it closes
// all: it opens little, its limit allows it, and nobody of another container can
// see it meanwhile.
func (c *creation) mayHoard() bool {
	const few, much, perMount = 256, 1024, 3
	l := c.b.Spec.Linux
	if l == nil {
		return false
	}
	for _, n := range l.Namespaces {
		if n.Path != "" {
			return false
		}
	}
	var limit unix.Rlimit
	needed := few/2 + perMount*(len(c.b.Spec.Mounts)+len(l.MaskedPaths)+len(l.ReadonlyPaths)+len(l.Devices))
	return needed <= much/2 && unix.Prlimit(c.stub.PID, unix.RLIMIT_NOFILE, nil, &limit) == nil && limit.Cur >= uint64(2*needed)
}
