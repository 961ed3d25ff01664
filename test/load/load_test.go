package load

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

func TestMain(m *testing.M) { linuxtest.Main(m) }

const (
	containers = 200
	workers    = 16
	rounds     = 3
)

// inParallel does something for each container, by as many at a time as there
// are workers.
func inParallel(h *linuxtest.Host, do func(i int)) {
	var wg sync.WaitGroup
	var next atomic.Int32
	for range workers {
		h.Go(&wg, func() {
			for i := int(next.Add(1)) - 1; i < containers; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	wg.Wait()
}

// TestMany has all containers at the same time: made, started, looked at, killed
// and deleted in parallel, with limits of what the machine has controllers for.
func TestMany(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		bundle := h.Bundle(linuxtest.Args("/bin/sleep", "1000"), limits(h))
		for round := range rounds {
			many(t, h, bundle, round)
			h.CheckClean()
			if t.Failed() {
				return
			}
		}
	})
}

func limits(h *linuxtest.Host) linuxtest.Edit {
	return func(s *specs.Spec) {
		r := s.Linux.Resources
		if h.V2 {
			r.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 2 << 20}}
			return
		}
		memory, pids, quota, period, shares := int64(16<<20), int64(5), int64(50_000), uint64(100_000), uint64(512)
		r.Memory = &specs.LinuxMemory{Limit: &memory, Swap: &memory}
		r.Pids = &specs.LinuxPids{Limit: &pids}
		r.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period, Shares: &shares, Cpus: "0"}
	}
}

func many(t *testing.T, h *linuxtest.Host, bundle string, round int) {
	id := func(i int) string { return h.ID(fmt.Sprintf("%d-%d", round, i)) }
	must := func(args ...string) *linuxtest.Result {
		r := h.Run(args...)
		if r.Status != 0 || r.Stderr != "" {
			t.Errorf("%q: status %d, stderr %s", args, r.Status, r.Stderr)
		}
		return r
	}
	inParallel(h, func(i int) {
		must("create", "--bundle", bundle, id(i))
		must("start", id(i))
		must("state", id(i))
		if i%5 == 0 {
			must("list", "-q")
		}
	})
	var list []linuxtest.State
	if err := json.Unmarshal([]byte(must("list", "-f", "json").Stdout), &list); err != nil || len(list) != containers {
		t.Errorf("list has %d containers, want %d: %v", len(list), containers, err)
	}
	pids := make(map[int]bool)
	for _, st := range list {
		if st.Status != "running" || pids[st.PID] {
			t.Errorf("state %+v", st)
		}
		pids[st.PID] = true
		// Of the many runtimes at work, each has passed on its own descriptors only.
		if fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", st.PID)); err != nil || len(fds) != 3 {
			t.Errorf("%s has %d descriptors, want 3: %v", st.ID, len(fds), err)
		}
	}
	inParallel(h, func(i int) {
		must("kill", id(i), "KILL")
		must("list", "-q")
		must("delete", "--force", id(i))
	})
}

// TestManyExecs has short further processes in one container.
func TestManyExecs(t *testing.T) {
	const execs = 10000
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		n := execs
		if !h.V2 {
			n /= 10 // moving a process in each of the v1 hierarchies takes the kernel long
		}
		id := h.ID("a")
		h.Must("run", "--detach", "--bundle", h.Bundle(linuxtest.Args("/bin/sleep", "1000")), id)
		var wg sync.WaitGroup
		var next, failed atomic.Int32
		for range workers {
			h.Go(&wg, func() {
				for i := int(next.Add(1)); i <= n && failed.Load() < 5; i = int(next.Add(1)) {
					want := fmt.Sprint(i)
					r := h.Run("exec", id, "sh", "-c", "echo "+want+"; exit "+fmt.Sprint(i%200))
					if r.Status != i%200 || r.Stdout != want+"\n" || r.Stderr != "" {
						failed.Add(1)
						t.Errorf("exec %d: status %d, stdout %q, stderr %q", i, r.Status, r.Stdout, r.Stderr)
					}
				}
			})
		}
		wg.Wait()
		if r := h.Must("exec", id, "ps"); strings.Count(r.Stdout, "\n") != 3 {
			t.Errorf("something was left: %s", r.Stdout)
		}
		h.Must("delete", "--force", id)
	})
}

// TestManyRuns has short containers in the foreground, while others ask for all
// and for each of them.
func TestManyRuns(t *testing.T) {
	h := linuxtest.One(t)
	bundle := h.Bundle(linuxtest.Shell("echo out; exit 42"))
	var done atomic.Bool
	var wg sync.WaitGroup
	for _, args := range [][]string{{"list"}, {"list", "-f", "json"}, {"state", h.ID("50")}} {
		h.Go(&wg, func() {
			for !done.Load() {
				r := h.Run(args...)
				missing := args[0] == "state" && r.Status == 1 && strings.Contains(r.Stderr, "container does not exist")
				if (r.Status != 0 || r.Stderr != "") && !missing {
					t.Errorf("%q: status %d, stderr %s", args, r.Status, r.Stderr)
				}
			}
		})
	}
	inParallel(h, func(i int) {
		r := h.Run("run", "--bundle", bundle, h.ID(fmt.Sprint(i)))
		if r.Status != 42 || r.Stdout != "out\n" || r.Stderr != "" {
			t.Errorf("status %d, want 42; stdout %q; stderr %q", r.Status, r.Stdout, r.Stderr)
		}
	})
	done.Store(true)
	wg.Wait()
}
