package bundle

import "github.com/opencontainers/runtime-spec/specs-go"

// checkScheduler applies the rules of sched_setattr(2) and sched(7) that the
// kernel would answer with a bare EINVAL.
func checkScheduler(c *checker, s *specs.Scheduler) {
	const path = "process.scheduler"
	if s == nil {
		return
	}
	realtime := false
	switch s.Policy {
	case "":
		c.Addf(path+".policy", "required")
		return
	case specs.SchedFIFO, specs.SchedRR:
		realtime = true
	case specs.SchedOther, specs.SchedBatch:
		if s.Nice < -20 || s.Nice > 19 {
			c.Addf(path+".nice", "%d is outside -20 to 19", s.Nice)
		}
	case specs.SchedISO, specs.SchedIdle, specs.SchedDeadline:
		// A nice value has no effect here; runc accepts any.
	default:
		c.Addf(path+".policy", "unknown policy %s", quote(string(s.Policy)))
		return
	}
	switch {
	case realtime && (s.Priority < 1 || s.Priority > 99):
		c.Addf(path+".priority", "%d is outside 1 to 99, the range for %s", s.Priority, s.Policy)
	case !realtime && s.Priority != 0:
		c.Addf(path+".priority", "only for SCHED_FIFO and SCHED_RR, not %s", s.Policy)
	}
	checkSchedulerFlags(c, s.Flags)
	if s.Policy == specs.SchedDeadline {
		checkDeadline(c, s)
		return
	}
	for _, f := range [...]struct {
		name  string
		value uint64
	}{{"runtime", s.Runtime}, {"deadline", s.Deadline}, {"period", s.Period}} {
		if f.value != 0 {
			c.Addf(at(path, f.name), "only for SCHED_DEADLINE, not %s", s.Policy)
		}
	}
}

// checkDeadline follows the kernel: 1024 ns ≤ runtime ≤ deadline ≤ period, the
// period being the deadline if it is 0, and none with the top bit. (The bounds
// of the period are sysctls, so the kernel is asked for those.)
func checkDeadline(c *checker, s *specs.Scheduler) {
	const path = "process.scheduler"
	const top = 1 << 63
	switch {
	case s.Deadline == 0:
		c.Addf(path+".deadline", "required for SCHED_DEADLINE")
	case s.Deadline >= top:
		c.Addf(path+".deadline", "%d is more than 63 bits", s.Deadline)
	case s.Runtime < 1024:
		c.Addf(path+".runtime", "%d ns is less than the kernel's minimum of 1024", s.Runtime)
	case s.Runtime > s.Deadline:
		c.Addf(path+".runtime", "%d ns is more than the deadline, %d", s.Runtime, s.Deadline)
	}
	switch {
	case s.Period >= top:
		c.Addf(path+".period", "%d is more than 63 bits", s.Period)
	case s.Period != 0 && s.Period < s.Deadline:
		c.Addf(path+".period", "%d ns is less than the deadline, %d", s.Period, s.Deadline)
	}
}

func checkSchedulerFlags(c *checker, flags []specs.LinuxSchedulerFlag) {
	for i, flag := range flags {
		switch flag {
		case specs.SchedFlagResetOnFork, specs.SchedFlagReclaim,
			specs.SchedFlagDLOverrun, specs.SchedFlagKeepPolicy,
			specs.SchedFlagKeepParams, specs.SchedFlagUtilClampMin,
			specs.SchedFlagUtilClampMax:
		default:
			c.Addf(at("process.scheduler.flags", i), "unknown flag %s", quote(string(flag)))
		}
	}
}
