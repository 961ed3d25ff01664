package container

import "golang.org/x/sys/unix"

// mayHoard reports whether the process can keep what it opens until it closes
// all: it opens little, its limit allows it, and nobody of another container can
// see it meanwhile.
func (c *creation) mayHoard() bool {
	const much = 256
	perMount := 4
	if c.env.Locks() {
		perMount = 6 // two more to have it locked
	}
	l := c.b.Spec.Linux
	if l == nil || perMount*(len(c.b.Spec.Mounts)+len(l.MaskedPaths)+len(l.ReadonlyPaths)+len(l.Devices)) > much/2 {
		return false
	}
	for _, n := range l.Namespaces {
		if n.Path != "" {
			return false
		}
	}
	var limit unix.Rlimit
	return unix.Prlimit(c.stub.PID, unix.RLIMIT_NOFILE, nil, &limit) == nil && limit.Cur >= much
}
