package setup

import "bytes"

// maxProcessors is the highest number of processors that a Linux kernel can be
// built for (x86-64, MAXSMP).
const maxProcessors = 8192

// freeProcessors lets the program run on all processors of its cpuset, whatever
// tongs and who started it are restricted to, as runc does.
func freeProcessors(e *Env) error {
	e.B.For("", "cannot reset the processor affinity")
	e.B.SchedSetaffinity(bytes.Repeat([]byte{0xff}, maxProcessors/8))
	return nil
}
