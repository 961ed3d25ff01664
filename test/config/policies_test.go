package config

import (
	"fmt"
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
	"tongs/test/inside/report"
)

const since12 = "1.1 does not know the field"

func TestScheduler(t *testing.T) {
	set := func(s specs.Scheduler) linuxtest.Edit { return func(spec *specs.Spec) { spec.Process.Scheduler = &s } }
	sched := func(want string) func(*testing.T, *report.Report) {
		return func(t *testing.T, r *report.Report) {
			t.Helper()
			linuxtest.Equal(t, "scheduler", r.Scheduler, want)
			online, err := os.ReadFile("/sys/devices/system/cpu/online")
			if err != nil {
				t.Fatal(err)
			}
			linuxtest.Equal(t, "affinity", r.Affinity, strings.TrimSpace(string(online)))
		}
	}
	plain := func(want string) func(*testing.T, *report.Report) {
		return func(t *testing.T, r *report.Report) {
			t.Helper()
			if got := strings.Join(strings.Fields(r.Scheduler)[:4], " "); got != want {
				t.Errorf("scheduler: got %s, want %s", got, want)
			}
		}
	}
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	own := fmt.Sprint(20 - raw) // the test's nice value, as the call gives it
	fifo := specs.Scheduler{Policy: specs.SchedFIFO, Priority: 3}
	deadline := specs.Scheduler{Policy: specs.SchedDeadline, Runtime: 2_000_000, Deadline: 50_000_000, Period: 100_000_000,
		Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}}
	user := func(s *specs.Spec) { s.Process.User.UID, s.Process.Capabilities = 1000, nil }
	// v2: with v1, real-time policies need a share of real time for the cgroup.
	each(t, linuxtest.OneV2(t), []row{
		{name: "none", check: plain("0 0 " + own + " 0")},
		{name: "other", edits: []linuxtest.Edit{set(specs.Scheduler{Policy: specs.SchedOther, Nice: -7})}, check: plain("0 0 -7 0"), onlyTongs: since12},
		{name: "batch", edits: []linuxtest.Edit{set(specs.Scheduler{Policy: specs.SchedBatch, Nice: 5})}, check: plain("3 0 5 0"), onlyTongs: since12},
		{name: "idle", edits: []linuxtest.Edit{set(specs.Scheduler{Policy: specs.SchedIdle})}, check: plain("5 0 " + own + " 0"), onlyTongs: since12},
		{name: "fifo", edits: []linuxtest.Edit{set(fifo)}, check: sched("1 0 0 3 0 0 0"), onlyTongs: since12},
		{name: "fifo of a user", edits: []linuxtest.Edit{set(fifo), user}, check: sched("1 0 0 3 0 0 0"), onlyTongs: since12},
		{name: "fifo in a user namespace", edits: []linuxtest.Edit{set(fifo), mapped}, check: sched("1 0 0 3 0 0 0"), onlyTongs: since12},
		{name: "round robin", edits: []linuxtest.Edit{set(specs.Scheduler{Policy: specs.SchedRR, Priority: 99,
			Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}})}, check: sched("2 1 0 99 0 0 0"), onlyTongs: since12},
		// A program in Go could not make its threads without the flag.
		{name: "deadline", edits: []linuxtest.Edit{set(deadline)}, check: sched("6 1 0 0 2000000 50000000 100000000"), onlyTongs: since12},
		{name: "deadline in a user namespace", edits: []linuxtest.Edit{set(deadline), mapped}, check: sched("6 1 0 0 2000000 50000000 100000000"), onlyTongs: since12},
	})
}

// What the kernel refuses is the field's error, and nothing is left.
func TestSchedulerRefused(t *testing.T) {
	h := linuxtest.One(t)
	for name, s := range map[string]specs.Scheduler{
		"no kernel has SCHED_ISO": {Policy: specs.SchedISO},
		"more than the processor": {Policy: specs.SchedDeadline, Runtime: 1 << 40, Deadline: 1 << 40, Period: 1 << 40},
	} {
		r := h.Run("run", "--bundle", h.Bundle(linuxtest.Inside(), func(spec *specs.Spec) { spec.Process.Scheduler = &s }), h.ID("a"))
		if r.Status != 1 || !strings.Contains(r.Stderr, "process.scheduler: cannot set the policy "+string(s.Policy)) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestIOPriority(t *testing.T) {
	h := linuxtest.One(t)
	var rows []row
	for i, class := range []specs.IOPriorityClass{specs.IOPRIO_CLASS_RT, specs.IOPRIO_CLASS_BE, specs.IOPRIO_CLASS_IDLE} {
		for _, priority := range []int{0, 7} {
			want := fmt.Sprint(i+1, priority)
			set := func(s *specs.Spec) {
				s.Process.IOPriority = &specs.LinuxIOPriority{Class: class, Priority: priority}
			}
			check := func(t *testing.T, r *report.Report) { linuxtest.Equal(t, "I/O priority", r.IOPriority, want) }
			rows = append(rows, row{name: want, edits: edit(set), check: check, onlyTongs: since12},
				row{name: want + " in a user namespace", edits: []linuxtest.Edit{set, mapped}, check: check, onlyTongs: since12})
		}
	}
	each(t, h, rows)
}

func TestPersonality(t *testing.T) {
	set := func(p specs.LinuxPersonality) []linuxtest.Edit {
		return edit(func(s *specs.Spec) { s.Linux.Personality = &p })
	}
	has := func(want string) func(*testing.T, *report.Report) {
		return func(t *testing.T, r *report.Report) { linuxtest.Equal(t, "personality", r.Personality, want) }
	}
	h := linuxtest.One(t)
	each(t, h, []row{
		{name: "none", check: has("0x0")},
		{name: "linux", edits: set(specs.LinuxPersonality{Domain: specs.PerLinux}), check: has("0x0"), onlyTongs: since12},
		{name: "linux32", edits: set(specs.LinuxPersonality{Domain: specs.PerLinux32}), check: has("0x8"), onlyTongs: since12},
		{name: "linux32 in a user namespace", edits: append(set(specs.LinuxPersonality{Domain: specs.PerLinux32}), mapped), check: has("0x8"), onlyTongs: since12},
	})
	flags := specs.LinuxPersonality{Domain: specs.PerLinux32, Flags: []specs.LinuxPersonalityFlag{"ADDR_NO_RANDOMIZE"}}
	r := h.Must("run", "--bundle", h.Bundle(append(set(flags), linuxtest.Inside())...), h.ID("b"))
	linuxtest.Equal(t, "personality with flags", h.Look(r.Stdout).Personality, "0x8")
	if !strings.Contains(r.Stderr, "level=warning") || !strings.Contains(r.Stderr, "linux.personality.flags") {
		t.Errorf("flags are not warned of: %q", r.Stderr)
	}
}

// Node 0 is on every machine.
func TestMemoryPolicy(t *testing.T) {
	set := func(mode specs.MemoryPolicyModeType, nodes string, flags ...specs.MemoryPolicyFlagType) linuxtest.Edit {
		return func(s *specs.Spec) {
			s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: mode, Nodes: nodes, Flags: flags}
		}
	}
	const since14 = "since runc 1.4"
	h := linuxtest.One(t)
	has := func(want string) func(*testing.T, *report.Report) {
		return func(t *testing.T, r *report.Report) { linuxtest.Equal(t, "memory policy", r.MemoryPolicy, want) }
	}
	each(t, h, []row{
		{name: "none", check: has("0x0 0x0")},
		{name: "default", edits: []linuxtest.Edit{set(specs.MpolDefault, "")}, check: has("0x0 0x0"), onlyTongs: since14},
		{name: "bind", edits: []linuxtest.Edit{set(specs.MpolBind, "0")}, check: has("0x2 0x1"), onlyTongs: since14},
		{name: "bind, balanced", edits: []linuxtest.Edit{set(specs.MpolBind, "0", specs.MpolFNumaBalancing)}, check: has("0x2002 0x1"), onlyTongs: since14},
		{name: "interleave", edits: []linuxtest.Edit{set(specs.MpolInterleave, "0-0", specs.MpolFStaticNodes)}, check: has("0x8003 0x1"), onlyTongs: since14},
		{name: "preferred", edits: []linuxtest.Edit{set(specs.MpolPreferred, " 0 ,", specs.MpolFRelativeNodes)}, check: has("0x4001 0x1"), onlyTongs: since14},
		{name: "preferred many", edits: []linuxtest.Edit{set(specs.MpolPreferredMany, "0")}, check: has("0x5 0x1"), onlyTongs: since14},
		{name: "weighted", edits: []linuxtest.Edit{set(specs.MpolWeightedInterleave, "0")}, check: has("0x6 0x1"), onlyTongs: since14},
		{name: "local", edits: []linuxtest.Edit{set(specs.MpolLocal, "")}, check: has("0x4 0x0"), onlyTongs: since14},
		{name: "in a user namespace", edits: []linuxtest.Edit{set(specs.MpolBind, "0"), mapped}, check: has("0x2 0x1"), onlyTongs: since14},
	})
	r := h.Run("run", "--bundle", h.Bundle(linuxtest.Inside(), set(specs.MpolBind, "1023")), h.ID("b"))
	if r.Status != 1 || !strings.Contains(r.Stderr, "linux.memoryPolicy: cannot set the policy MPOL_BIND: ") {
		t.Errorf("a node that is not there: %+v", r)
	}
}

// A process of exec has what config.json says of the container's.
func TestPoliciesOfExec(t *testing.T) {
	h := linuxtest.OneV2(t)
	for name, edits := range map[string][]linuxtest.Edit{"plain": nil, "user": {mapped}} {
		id := h.ID(name)
		edits = append(edits, linuxtest.Args("/bin/sleep", "100"), func(s *specs.Spec) {
			s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedFIFO, Priority: 2}
			s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_RT, Priority: 1}
			s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32}
			s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "0"}
		})
		h.Must("run", "--detach", "--bundle", h.Bundle(edits...), id)
		r := h.Look(h.Must("exec", id, "/bin/inside").Stdout)
		linuxtest.Equal(t, name, r.Scheduler+", "+r.IOPriority+", "+r.Personality+", "+r.MemoryPolicy, "1 0 0 2 0 0 0, 1 1, 0x8, 0x2 0x1")
		h.Must("delete", "--force", id)
	}
}
