package setup

import (
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/kernel"
)

// writeTimeOffsets sets the clocks of the new time namespace, which can be done
// until a process is in it (runtime-spec 1.3, config-linux § Offset for Time
// Namespace; time_namespaces(7)).
func (e *Env) writeTimeOffsets() error {
	if e.Joined != nil || e.Spec.Linux == nil || len(e.Spec.Linux.TimeOffsets) == 0 || !e.newNamespace(specs.TimeNamespace) {
		return nil
	}
	if err := e.run(); err != nil {
		return err
	}
	b := &kernel.Batch{}
	for _, clock := range []string{"monotonic", "boottime"} {
		if o, ok := e.Spec.Linux.TimeOffsets[clock]; ok {
			b.For("linux.timeOffsets["+clock+"]", "cannot set the offset")
			writeProc(b, e.PID, "timens_offsets", clock+" "+strconv.FormatInt(o.Secs, 10)+" "+strconv.FormatUint(uint64(o.Nanosecs), 10)+"\n")
		}
	}
	return e.Host.Run(b)
}
