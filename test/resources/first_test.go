package resources

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
	"tongs/test/inside/report"
)

// Limits are in force before the program's first instruction: one that grows at
// once, forks at once, or asks for its processors at once never gets more. Many
// times, with others at the same time, since it would be a race.
func TestLimitsFromTheFirstInstruction(t *testing.T) {
	h := linuxtest.One(t) // with all controllers, on v1 or v2
	limit, one := int64(8<<20), int64(1)
	type growth struct {
		name  string
		edits []linuxtest.Edit
		check func(r *linuxtest.Result) bool
	}
	list := []growth{
		{"memory", []linuxtest.Edit{linuxtest.Args("/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"), func(s *specs.Spec) {
			s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit, Swap: &limit}
		}}, func(r *linuxtest.Result) bool { return r.Status == 137 }},
		{"processes", []linuxtest.Edit{linuxtest.Shell("(echo forked); exit 1"), func(s *specs.Spec) {
			s.Linux.Resources.Pids = &specs.LinuxPids{Limit: &one}
		}}, func(r *linuxtest.Result) bool { return r.Status != 0 && !strings.Contains(r.Stdout, "forked") }},
		{"processors", []linuxtest.Edit{linuxtest.Args("/bin/grep", "Cpus_allowed_list", "/proc/self/status"), func(s *specs.Spec) {
			s.Linux.Resources.CPU = &specs.LinuxCPU{Cpus: "1"}
		}}, func(r *linuxtest.Result) bool { return r.Stdout == "Cpus_allowed_list:\t1\n" }},
		{"devices", []linuxtest.Edit{linuxtest.Args("/bin/cat", "/dev/loop-control"), func(s *specs.Spec) {
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/loop-control", Type: "c", Major: 10, Minor: 237}}
		}}, func(r *linuxtest.Result) bool {
			return r.Status != 0 && strings.Contains(r.Stderr, "Operation not permitted")
		}},
	}
	bundles := make([]string, len(list))
	for i, g := range list {
		bundles[i] = h.Bundle(g.edits...)
	}
	var wg sync.WaitGroup
	for worker := range 4 {
		h.Go(&wg, func() {
			for round := range 10 {
				g := list[(worker+round)%len(list)]
				r := h.Run("run", "--bundle", bundles[(worker+round)%len(list)], h.ID(fmt.Sprint(worker, "-", round)))
				if !g.check(r) {
					t.Errorf("%s: status %d, stdout %q, stderr %q", g.name, r.Status, r.Stdout, r.Stderr)
				}
			}
		})
	}
	wg.Wait()
	// An exec is in the cgroup as early.
	id := h.ID("a")
	h.Must("run", "--detach", "--bundle", h.Bundle(forever(), list[0].edits[1]), id)
	for range 5 {
		if r := h.Run("exec", id, "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"); r.Status != 137 {
			t.Errorf("exec: %+v", r)
		}
	}
	h.Must("delete", "--force", id)
}

// linux.cgroupsPath in every form, beside runc: where the container is, and what
// is left.
func TestCgroupsPath(t *testing.T) {
	long := strings.Repeat("x", 200)
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		name := h.ID("group")
		for _, c := range []struct {
			name, path string
			fails      string // what the error says
			runc       string // why runc 1.1.5 is not asked
		}{
			{name: "empty"},
			{name: "absolute", path: "/" + name},
			{name: "relative", path: name},
			{name: "deep", path: "/" + name + "/a/b/c"},
			{name: "relative, deep", path: name + "/a/b"},
			{name: "slashes", path: "//" + name + "///a//"},
			{name: "dots", path: "/" + name + "/./a"},
			{name: "long", path: "/" + name + "/" + long + "/" + long + "/" + long},
			{name: "spaces and stars", path: "/" + name + " * $x"},
			{name: "long name", path: "/" + name + "/" + long + long},
			{name: "too long", path: "/" + name + "/" + strings.Repeat(long+"/", 30), fails: "linux.cgroupsPath: cannot create cgroup"},
			{name: "upwards", path: "/" + name + "/../../a", fails: `linux.cgroupsPath: "/` + name + `/../../a" contains ".."`, runc: "it removes the dots"},
			{name: "root", path: "/", fails: `linux.cgroupsPath: "/" is the root of all cgroups`, runc: "it would set limits for all"},
			{name: "newline", path: "/" + name + "\na", fails: "linux.cgroupsPath: cannot create cgroup"},
		} {
			h.Sub(t, c.name, func(t *testing.T, h *linuxtest.Host) {
				bundle := h.Bundle(linuxtest.Inside(), func(s *specs.Spec) { s.Linux.CgroupsPath = c.path })
				r := h.Run("run", "--bundle", bundle, h.ID("a"))
				if c.fails != "" {
					if r.Status != 1 || !strings.Contains(strings.ReplaceAll(r.Stderr, `\"`, `"`), c.fails) {
						t.Errorf("status %d, stderr %.300s", r.Status, r.Stderr)
					}
					if c.runc == "" {
						same(t, "status of runc", h.With("runc").Run("run", "--bundle", bundle, h.ID("a")).Status, 1)
					}
				} else if r.Status != 0 {
					t.Errorf("status %d, stderr %s", r.Status, r.Stderr)
				} else {
					places(t, h.Look(r.Stdout), h.Look(h.With("runc").Must("run", "--bundle", bundle, h.ID("a")).Stdout))
				}
				h.RemoveCgroups(name)
				h.CheckCleanButKeys()
			})
		}
	})
}

func places(t *testing.T, tongs, runc *report.Report) {
	t.Helper()
	same(t, "cgroups", strings.Join(tongs.Cgroup, "\n"), strings.Join(runc.Cgroup, "\n"))
}

// A cgroup that is in use is nobody else's: with processes, below which there are
// processes, or frozen. One that is there and empty is taken, and left.
func TestCgroupInUse(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		bundle := h.Bundle(forever(), func(s *specs.Spec) { s.Linux.CgroupsPath = "/" + h.ID("group") })
		below := h.Bundle(forever(), func(s *specs.Spec) { s.Linux.CgroupsPath = "/" + h.ID("group") + "/below" })
		first, second := h.ID("first"), h.ID("second")
		for _, occupied := range []string{bundle, below} {
			h.Must("create", "--bundle", occupied, first)
			r := h.Run("create", "--bundle", bundle, second)
			if r.Status != 1 || !strings.Contains(r.Stderr, "linux.cgroupsPath: cannot use cgroup") || !strings.Contains(r.Stderr, "it is not empty: 1 processes found") {
				t.Errorf("status %d, stderr %s", r.Status, r.Stderr)
			}
			same(t, "status of the first", h.WaitFor(first, "created").Status, "created")
			h.Must("delete", "--force", first)
		}
		h.Must("create", "--bundle", below, first) // makes the one above, too
		st, _ := h.State(first)
		h.Freeze(st.PID, true)
		if r := h.Run("create", "--bundle", below, second); r.Status != 1 {
			t.Errorf("frozen, with processes: status %d", r.Status)
		}
		h.Must("delete", "--force", first)
		if !h.V2 {
			if err := os.Mkdir("/sys/fs/cgroup/devices/"+h.ID("group")+"/below", 0o755); err != nil {
				t.Fatal(err)
			}
		}
		r := h.Run("create", "--bundle", bundle, second)
		want := `linux.resources.devices: write /sys/fs/cgroup/devices/` + h.ID("group") + `/devices.deny: invalid argument: not in a cgroup that has others below it`
		if h.V2 {
			want = "linux.cgroupsPath: cannot use cgroup \"/sys/fs/cgroup/" + h.ID("group") + "\": those below it have its controllers, so it may have no processes"
		}
		if r.Status != 1 || !strings.Contains(strings.ReplaceAll(r.Stderr, `\"`, `"`), want) {
			t.Errorf("with another below: status %d, stderr %s", r.Status, r.Stderr)
		}
		h.RemoveCgroups(h.ID("group"))
	})
}

// A threaded cgroup takes containers without limits of memory, I/O or huge pages
// (cgroups(7), "Thread mode"), and says why it takes no others.
func TestThreaded(t *testing.T) {
	h := linuxtest.OneV2(t)
	top := "/sys/fs/cgroup/" + h.ID("group")
	if err := os.MkdirAll(top+"/threads", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(top+"/threads/cgroup.type", []byte("threaded"), 0); err != nil {
		t.Fatal(err)
	}
	huge := func(s *specs.Spec) {
		s.Linux.Resources.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 1 << 21}}
	}
	for _, path := range []string{"/threads", "/threads/below", "/beside"} { // the one beside is of an invalid domain
		at := func(s *specs.Spec) { s.Linux.CgroupsPath = "/" + h.ID("group") + path }
		for _, r := range []*linuxtest.Host{h, h.With("runc")} {
			if path != "/threads" || r == h { // runc 1.1.5 cannot read the processes of a threaded cgroup that exists
				r.Must("run", "--bundle", h.Bundle(linuxtest.Args("/bin/true"), at), h.ID("a"))
			}
		}
		r := h.Run("run", "--bundle", h.Bundle(linuxtest.Args("/bin/true"), at, huge), h.ID("a"))
		if r.Status != 1 || !strings.Contains(r.Stderr, "linux.cgroupsPath: cannot create cgroup") || !strings.Contains(r.Stderr, "linux.resources asks for what only a cgroup of type domain can limit") {
			t.Errorf("%s: status %d, stderr %s", path, r.Status, r.Stderr)
		}
	}
	h.RemoveCgroups(h.ID("group"))
}
