package crash

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

func TestMain(m *testing.M) { linuxtest.Main(m) }

// noise are the calls of the Go runtime for itself. They change nothing outside
// of the process, so to be killed at one is to be killed at the next other one.
func noise(number int) bool {
	return slices.Contains([]int{unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_SCHED_YIELD, unix.SYS_MADVISE, unix.SYS_MMAP,
		unix.SYS_MUNMAP, unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK,
		unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_TGKILL, unix.SYS_EPOLL_PWAIT, unix.SYS_PRCTL, unix.SYS_BRK,
		unix.SYS_SCHED_GETAFFINITY, unix.SYS_PRLIMIT64, unix.SYS_FCNTL}, number)
}

// plain are calls that look and do not act: a part of them is enough.
func plain(number int) bool {
	return slices.Contains([]int{unix.SYS_FSTAT, unix.SYS_STATX, unix.SYS_STATFS, unix.SYS_FSTATFS,
		unix.SYS_READLINKAT, unix.SYS_PREAD64, unix.SYS_LSEEK, unix.SYS_CLOSE, unix.SYS_GETDENTS64, unix.SYS_GETUID, unix.SYS_GETEUID}, number)
}

func TestKillAtEachCall(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		bundle, id := h.Bundle(linuxtest.Args("/bin/sleep", "1000")), h.ID("a")
		argv := h.Argv("create", "--bundle", bundle, id)
		calls, _ := trace(t, argv, func(call) bool { return false })
		h.Must("start", id)
		restore(t, h, bundle, id, "no call at all")

		targets := chooseTargets(calls)
		t.Logf("%d calls, killed at %d of them", len(calls), len(targets))
		if len(targets) < 50 {
			t.Errorf("only %d calls: is it traced?", len(targets))
		}
		missed, own := 0, 0
		for _, target := range targets {
			_, killed := trace(t, argv, func(c call) bool { return c == target })
			if !noise(target.number) { // of those there are more the slower the machine is
				own++
				if !killed { // another run, another number of calls
					missed++
				}
			}
			restore(t, h, bundle, id, target.String())
			if t.Failed() {
				return
			}
		}
		t.Logf("%d of %d calls of tongs' own were not met again", missed, own)
		if missed > own/4 {
			t.Errorf("%d of %d calls of tongs' own were not met again", missed, own)
		}
	})
}

// chooseTargets takes all, or with -short those that matter most.
func chooseTargets(calls []call) []call {
	if !testing.Short() {
		return calls
	}
	var targets []call
	seen := 0
	for _, c := range calls {
		if noise(c.number) {
			continue
		}
		if plain(c.number) {
			if seen++; seen%8 != 0 {
				continue
			}
		}
		targets = append(targets, c)
	}
	return targets
}

// restore deletes what a killed create has left, checks that nothing is there,
// and that the name can be used again.
func restore(t *testing.T, h *linuxtest.Host, bundle, id, when string) {
	t.Helper()
	if r := h.Run("delete", "--force", id); r.Status != 0 || r.Stderr != "" {
		t.Errorf("killed at %s: delete --force: status %d, stderr %s", when, r.Status, r.Stderr)
	}
	h.CheckCleanButKeys()
	h.WriteConfig(bundle, linuxtest.Spec(linuxtest.Shell("exit 42")))
	if r := h.Run("run", "--bundle", bundle, id); r.Status != 42 {
		t.Errorf("killed at %s: run of the same name: status %d, want 42; stderr %s", when, r.Status, r.Stderr)
	}
	h.WriteConfig(bundle, linuxtest.Spec(linuxtest.Args("/bin/sleep", "1000")))
	h.CheckCleanButKeys()
	if t.Failed() {
		t.Errorf("… when killed at %s", when)
	}
}

// While tongs waits, the container's process works: so it is also killed by the
// clock, at moments that are no call's.
func TestKillByClock(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		bundle, id := h.Bundle(linuxtest.Args("/bin/sleep", "1000")), h.ID("a")
		whole := time.Hour
		for range 5 { // the shortest: after one that was held up most kills would be too late
			begin := time.Now()
			h.Must("create", "--bundle", bundle, id)
			whole = min(whole, 2*time.Since(begin))
			h.Must("delete", "--force", id)
		}
		const steps = 100
		killed := 0
		for i := range steps {
			p := h.Start(linuxtest.Command{Args: []string{"create", "--bundle", bundle, id}})
			for end := time.Now().Add(whole * time.Duration(i) / steps); time.Now().Before(end); {
			}
			syscall.Kill(p.PID, syscall.SIGKILL)
			if r := p.Wait(); r.Signal == syscall.SIGKILL {
				killed++
			}
			restore(t, h, bundle, id, fmt.Sprintf("step %d of the clock", i))
			if t.Failed() {
				return
			}
		}
		if killed < steps/10 {
			t.Errorf("only %d of %d were killed in time", killed, steps)
		}
	})
}
