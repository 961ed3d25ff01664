package setup

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/kernel"
)

// setIOPriority sets process.ioPriority by ioprio_set(2) (runtime-spec 1.3,
// config § Linux Process): from the host if there is a user namespace, since
// IOPRIO_CLASS_RT needs CAP_SYS_NICE or CAP_SYS_ADMIN there. The process is
// alone, and its children inherit the priority; runc names its process group,
// which is the same.
func setIOPriority(e *Env) error {
	p := e.Spec.Process.IOPriority
	if p == nil {
		return nil
	}
	const classShift = 13
	class, ok := ioClass(p.Class)
	if !ok {
		return fmt.Errorf("process.ioPriority.class: unknown class %q", p.Class)
	}
	pid, b, k := kernel.NewHandle(0, "self"), e.B, e.K
	if e.hasNamespace(specs.UserNamespace) {
		pid, b, k = e.PID, &kernel.Batch{}, e.Host
	}
	b.For("process.ioPriority", "cannot set the priority "+string(p.Class))
	b.IoprioSet(pid, class<<classShift|uint64(p.Priority))
	if k == e.K {
		return nil
	}
	return k.Run(b)
}

// ioClass is the number of a class of ioprio_set(2).
func ioClass(c specs.IOPriorityClass) (uint64, bool) {
	switch c {
	case specs.IOPRIO_CLASS_RT:
		return 1, true
	case specs.IOPRIO_CLASS_BE:
		return 2, true
	case specs.IOPRIO_CLASS_IDLE:
		return 3, true
	}
	return 0, false
}
