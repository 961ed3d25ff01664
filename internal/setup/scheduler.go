package setup

import (
	"encoding/binary"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// setScheduler sets process.scheduler by sched_setattr(2) (runtime-spec 1.3,
// config § Linux Process): before the capabilities are dropped, since most
// policies need CAP_SYS_NICE, and from the host if there is a user namespace,
// since they need it there.
func setScheduler(e *Env) error {
	s := e.Spec.Process.Scheduler
	if s == nil {
		return nil
	}
	attr, err := schedAttr(s)
	if err != nil {
		return err
	}
	// SCHED_DEADLINE is for processes that may run everywhere (sched(7)).
	if err := freeProcessors(e); err != nil {
		return err
	}
	if err := e.run(); err != nil {
		return err
	}
	pid, b, k := kernel.NewHandle(0, "self"), e.B, e.K
	if e.hasNamespace(specs.UserNamespace) {
		pid, b, k = e.PID, &kernel.Batch{}, e.Host
	}
	b.For("process.scheduler", "cannot set the policy "+string(s.Policy))
	b.SchedSetattr(pid, attr)
	err = k.Run(b)
	b.Reset()
	if e.hasCpuset() {
		return hint(err, unix.EPERM, "process scheduler can't be used together with AllowedCPUs") // runc's words
	}
	return hint(err, unix.EPERM, "it needs CAP_SYS_NICE, and a real-time policy a share of real time for the cgroup")
}

func (e *Env) hasCpuset() bool {
	l := e.Spec.Linux
	return l != nil && l.Resources != nil && l.Resources.CPU != nil && l.Resources.CPU.Cpus != ""
}

// schedAttr is struct sched_attr of sched_setattr(2), with the fields of 5.3.
func schedAttr(s *specs.Scheduler) ([]byte, error) {
	policy, ok := schedPolicy(s.Policy)
	if !ok {
		return nil, fmt.Errorf("process.scheduler.policy: unknown policy %q", s.Policy)
	}
	var flags uint64
	for i, f := range s.Flags {
		bit, ok := schedFlag(f)
		if !ok {
			return nil, fmt.Errorf("%s: unknown flag %q", item("process.scheduler.flags", i), f)
		}
		flags |= bit
	}
	mem := make([]byte, unix.SizeofSchedAttr)
	order := binary.NativeEndian
	order.PutUint32(mem, uint32(len(mem)))
	order.PutUint32(mem[4:], policy)
	order.PutUint64(mem[8:], flags)
	order.PutUint32(mem[16:], uint32(s.Nice))
	order.PutUint32(mem[20:], uint32(s.Priority))
	order.PutUint64(mem[24:], s.Runtime)
	order.PutUint64(mem[32:], s.Deadline)
	order.PutUint64(mem[40:], s.Period)
	return mem, nil
}

// schedPolicy is the number of a policy of sched(7). SCHED_ISO has one, but no
// kernel that implements it.
func schedPolicy(p specs.LinuxSchedulerPolicy) (uint32, bool) {
	switch p {
	case specs.SchedOther:
		return unix.SCHED_NORMAL, true
	case specs.SchedFIFO:
		return unix.SCHED_FIFO, true
	case specs.SchedRR:
		return unix.SCHED_RR, true
	case specs.SchedBatch:
		return unix.SCHED_BATCH, true
	case specs.SchedISO:
		return 4, true
	case specs.SchedIdle:
		return unix.SCHED_IDLE, true
	case specs.SchedDeadline:
		return unix.SCHED_DEADLINE, true
	}
	return 0, false
}

func schedFlag(f specs.LinuxSchedulerFlag) (uint64, bool) {
	switch f {
	case specs.SchedFlagResetOnFork:
		return unix.SCHED_FLAG_RESET_ON_FORK, true
	case specs.SchedFlagReclaim:
		return unix.SCHED_FLAG_RECLAIM, true
	case specs.SchedFlagDLOverrun:
		return unix.SCHED_FLAG_DL_OVERRUN, true
	case specs.SchedFlagKeepPolicy:
		return unix.SCHED_FLAG_KEEP_POLICY, true
	case specs.SchedFlagKeepParams:
		return unix.SCHED_FLAG_KEEP_PARAMS, true
	case specs.SchedFlagUtilClampMin:
		return unix.SCHED_FLAG_UTIL_CLAMP_MIN, true
	case specs.SchedFlagUtilClampMax:
		return unix.SCHED_FLAG_UTIL_CLAMP_MAX, true
	}
	return 0, false
}
