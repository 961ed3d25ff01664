package cgroup

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

func systemdDriver() driver { return drivers()[1] }

// loadState asks systemd whether it has a unit.
func loadState(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("systemctl", "show", "--property=LoadState", "--value", "--", name).CombinedOutput()
	if err != nil {
		t.Fatalf("systemctl show: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func annotate(key, value string) linuxtest.Edit {
	return func(s *specs.Spec) {
		if s.Annotations == nil {
			s.Annotations = make(map[string]string)
		}
		s.Annotations[key] = value
	}
}

func placed(text string) linuxtest.Edit {
	return func(s *specs.Spec) { s.Linux.CgroupsPath = text }
}

// linux.cgroupsPath is slice:prefix:name, and each part may be left out.
func TestUnitNames(t *testing.T) {
	h := linuxtest.One(t)
	d := systemdDriver()
	id := h.ID("a")
	for _, c := range []struct{ name, path, want string }{
		{"whole", "system.slice:e2e:" + id, "system.slice/e2e-" + id + ".scope"},
		{"nothing", "", "system.slice/NAME-" + id + ".scope"},
		{"no slice", ":e2e:" + id, "system.slice/e2e-" + id + ".scope"},
		{"no prefix", "system.slice::" + id, "system.slice/-" + id + ".scope"},
		{"slice in slices", "e2e-b-c.slice:e2e:" + id, "e2e.slice/e2e-b.slice/e2e-b-c.slice/e2e-" + id + ".scope"},
		{"the root slice", "-.slice:e2e:" + id, "e2e-" + id + ".scope"},
		{"dashes in the name", "system.slice:e2e:x-y-" + id, "system.slice/e2e-x-y-" + id + ".scope"},
	} {
		h.Sub(t, c.name, func(t *testing.T, h *linuxtest.Host) {
			look := func(h *linuxtest.Host, prefix string) {
				want := "/sys/fs/cgroup/" + strings.ReplaceAll(c.want, "NAME", prefix)
				d.must(t, h, "run", "--detach", "--bundle", h.Bundle(linuxtest.Args("/bin/sleep", "1000"), placed(c.path)), id)
				st, _ := h.State(id)
				if got := h.CgroupDir(st.PID, ""); got != want {
					t.Errorf("%s: the cgroup is %q, want %q", prefix, got, want)
				}
				d.must(t, h, "delete", "--force", id)
				if got := loadState(t, filepath.Base(want)); got != "not-found" {
					t.Errorf("%s: the unit is left: %s", prefix, got)
				}
			}
			look(h, "tongs")
			look(h.With("runc"), "runc")
		})
	}
	exec.Command("systemctl", "stop", "e2e.slice").Run() // slices stay, as with runc
	for _, path := range []string{"/absolute", "relative", "a:b", "a.slice:b:", "a:b:c:d", "no:b:c", "a--b.slice:b:c", "../x.slice:b:c", "system.slice:b:x.slice"} {
		r := d.run(h, "run", "--bundle", h.Bundle(linuxtest.Args("/bin/true"), placed(path)), id)
		if r.Status != 1 || !strings.Contains(r.Stderr, "linux.cgroupsPath") {
			t.Errorf("%q: status %d, stderr %s", path, r.Status, r.Stderr)
		}
	}
}

// Annotations set properties by runc's text form, but only harmless ones.
func TestUnitAnnotations(t *testing.T) {
	h := linuxtest.One(t)
	d := systemdDriver()
	id := h.ID("a")
	edits := []linuxtest.Edit{linuxtest.Args("/bin/sleep", "1000"), d.place(id)}
	for key, value := range map[string]string{"TimeoutStopUSec": "uint64 7000000", "CollectMode": "'inactive-or-failed'", "RuntimeMaxSec": "3600.5",
		"After": "['dbus.service', 'basic.target']", "DefaultDependencies": "true", "MemoryHigh": "uint64 50331648", "TasksMax": "uint64 99"} {
		edits = append(edits, annotate("org.systemd.property."+key, value))
	}
	edits = append(edits, annotate("org.example", "x"), func(s *specs.Spec) { s.Linux.Resources.Pids = &specs.LinuxPids{Limit: pointer[int64](44)} })
	look := func(h *linuxtest.Host) map[string]string {
		d.must(t, h, "run", "--detach", "--bundle", h.Bundle(edits...), id)
		values := unit(t, "e2e-"+id+".scope")
		d.must(t, h, "delete", "--force", id)
		return values
	}
	tongs, runc := look(h), look(h.With("runc"))
	for key, want := range map[string]string{"TimeoutStopUSec": "7s", "CollectMode": "inactive-or-failed", "RuntimeMaxUSec": "1h 500ms", "DefaultDependencies": "yes",
		"MemoryHigh": "50331648", "TasksMax": "44"} {
		if tongs[key] != want || runc[key] != want {
			t.Errorf("%s is %q, with runc %q, want %q", key, tongs[key], runc[key], want)
		}
	}
	if !strings.Contains(tongs["After"], "dbus.service") {
		t.Errorf("After is %q", tongs["After"])
	}

	for key, value := range map[string]string{
		"ExecStopPost": "'/bin/true'", "ExecStop": "'/bin/true'", "Environment": "['A=b']", "Delegate": "false", "PIDs": "[uint32 1]", "Slice": "'user.slice'",
		"OnFailure": "['reboot.target']", "FailureAction": "'reboot'", "Conflicts": "['dbus.service']", "BindsTo": "['x.service']", "User": "'root'", "Wants": "['x.service']",
		"DeviceAllow": "[]", "DevicePolicy": "'auto'", "BPFProgram": "[]", "JobTimeoutAction": "'reboot'", "RequiresMountsFor": "['/mnt']",
		"execstoppost": "'x'", "Nonsense": "1", "": "1", "Memory Max": "1", "JobTimeoutSec": "1",
		// Known, and of another type.
		"MemoryMax": "'much'", "TimeoutStopUSec": "-1", "CollectMode": "7", "TimeoutStopSec": "'never'", "RuntimeMaxSec": "-1", "CPUWeight": "true", "TasksMax": "",
	} {
		r := d.run(h, "run", "--bundle", h.Bundle(linuxtest.Args("/bin/true"), d.place(id), annotate("org.systemd.property."+key, value)), id)
		if r.Status != 1 || !strings.Contains(r.Stderr, `annotations[\"org.systemd.property.`+key+`\"]`) {
			t.Errorf("%s=%s: status %d, stderr %s", key, value, r.Status, r.Stderr)
		}
	}
}

// update tells systemd, too: its unit and the files say the same, also after it
// has read everything again, and devices stay as they were.
func TestUnitUpdateAndReload(t *testing.T) {
	h := linuxtest.One(t)
	d := systemdDriver()
	id := h.ID("a")
	rules := func(s *specs.Spec) {
		s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"},
			// One that systemd has no words for.
			{Allow: true, Type: "c", Minor: pointer[int64](1), Access: "r"}}
		s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/vcs1", Type: "c", Major: 7, Minor: 1}, {Path: "/dev/vcs", Type: "c", Major: 7, Minor: 0}}
	}
	const try = `for f in /dev/null /dev/vcs1 /dev/vcs; do (: <$f) 2>/dev/null && echo "$f" works; done; true`
	d.must(t, h, "run", "--detach", "--bundle", h.Bundle(linuxtest.Args("/bin/sleep", "1000"), d.place(id), rules, func(s *specs.Spec) {
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: pointer[int64](64 << 20)}
		s.Linux.Resources.CPU = &specs.LinuxCPU{Quota: pointer[int64](20_000), Period: pointer[uint64](50_000)}
	}), id)
	st, _ := h.State(id)
	dir := h.CgroupDir(st.PID, "")
	check := func(when string) {
		t.Helper()
		if got := d.must(t, h, "exec", id, "/bin/sh", "-c", try).Stdout; got != "/dev/null works\n/dev/vcs1 works\n" {
			t.Errorf("%s: %q", when, got)
		}
	}
	check("at first")
	d.must(t, h, "update", "--memory", "50331648", "--pids-limit", "66", "--cpu-quota", "10000", id)
	check("after update")
	values, properties := files(t, dir), unit(t, "e2e-"+id+".scope")
	for f, want := range map[string]string{"memory.max": "50331648", "pids.max": "66", "cpu.max": "10000 50000"} {
		if values[f] != want {
			t.Errorf("%s is %q, want %q", f, values[f], want)
		}
	}
	for p, want := range map[string]string{"MemoryMax": "50331648", "TasksMax": "66", "CPUQuotaPerSecUSec": "200ms", "CPUQuotaPeriodUSec": "50ms"} {
		if properties[p] != want {
			t.Errorf("%s is %q, want %q", p, properties[p], want)
		}
	}
	// What cannot be set changes neither.
	if r := d.run(h, "update", "--memory", "40000000", "--cpuset-cpus", "77", id); r.Status != 1 || !strings.Contains(r.Stderr, "linux.resources.cpu.cpus") {
		t.Errorf("update with a wrong processor: status %d, stderr %s", r.Status, r.Stderr)
	}
	equal(t, files(t, dir), values, nil)
	if got := unit(t, "e2e-"+id+".scope"); got["MemoryMax"] != "50331648" || got["AllowedCPUs"] != "" {
		t.Errorf("MemoryMax is %q, AllowedCPUs %q", got["MemoryMax"], got["AllowedCPUs"])
	}
	for _, args := range [][]string{{"daemon-reload"}, {"set-property", "--runtime", "e2e-" + id + ".scope", "IOWeight=77"}, {"daemon-reexec"}} {
		if out, err := exec.Command("systemctl", args...).CombinedOutput(); err != nil {
			t.Fatalf("systemctl %s: %v\n%s", args, err, out)
		}
		check(fmt.Sprint("after ", args))
		now := files(t, dir)
		for _, f := range []string{"io.weight", "io.bfq.weight"} { // one of them was set
			delete(now, f)
			delete(values, f)
		}
		equal(t, now, values, nil)
	}
	d.must(t, h, "delete", "--force", id)
	if got := loadState(t, "e2e-"+id+".scope"); got != "not-found" {
		t.Errorf("the unit is left: %s", got)
	}
}

// Many containers at a time, with limits, do not get into each other's way at
// systemd either.
func TestManyUnits(t *testing.T) {
	h := linuxtest.One(t)
	d := systemdDriver()
	const containers, workers = 32, 16
	id := func(i int) string { return h.ID(fmt.Sprint(i)) }
	bundles := make([]string, containers)
	for i := range bundles {
		bundles[i] = h.Bundle(linuxtest.Args("/bin/sleep", "1000"), d.place(id(i)), func(s *specs.Spec) {
			s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: pointer[int64](32 << 20)}
			s.Linux.Resources.Pids = &specs.LinuxPids{Limit: pointer(int64(20 + i))}
		})
	}
	var wg sync.WaitGroup
	var next atomic.Int32
	for range workers {
		h.Go(&wg, func() {
			for i := int(next.Add(1)) - 1; i < containers; i = int(next.Add(1)) - 1 {
				if r := d.run(h, "run", "--detach", "--bundle", bundles[i], id(i)); r.Status != 0 {
					t.Errorf("run: status %d, stderr %s", r.Status, r.Stderr)
					continue
				}
				for file, want := range map[string]int{"pids.max": 20 + i, "memory.max": 32 << 20} {
					got, err := os.ReadFile("/sys/fs/cgroup/system.slice/e2e-" + id(i) + ".scope/" + file)
					if strings.TrimSpace(string(got)) != fmt.Sprint(want) {
						t.Errorf("%s is %q, want %d: %v", file, got, want, err)
					}
				}
				if r := d.run(h, "delete", "--force", id(i)); r.Status != 0 {
					t.Errorf("delete: status %d, stderr %s", r.Status, r.Stderr)
				}
			}
		})
	}
	wg.Wait()
	for i := range containers {
		if got := loadState(t, "e2e-"+id(i)+".scope"); got != "not-found" {
			t.Errorf("the unit is left: %s", got)
		}
	}
	h.CheckCleanButKeys()
}

// A unit with the name, which is not a container's, is not taken.
func TestUnitTaken(t *testing.T) {
	h := linuxtest.One(t)
	d := systemdDriver()
	id := h.ID("a")
	name := "e2e-" + id + ".scope"
	other := exec.Command("systemd-run", "--scope", "--unit="+name, "sleep", "1000")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		exec.Command("systemctl", "stop", name).Run()
		other.Wait()
	}()
	if !linuxtest.Until(func() bool { return loadState(t, name) == "loaded" }) {
		t.Fatal("the other unit does not start")
	}
	r := d.run(h, "run", "--bundle", h.Bundle(linuxtest.Args("/bin/true"), d.place(id)), id)
	if r.Status != 1 || !strings.Contains(r.Stderr, name) {
		t.Errorf("status %d, stderr %s", r.Status, r.Stderr)
	}
	if got := loadState(t, name); got != "loaded" {
		t.Errorf("the other unit is %s", got)
	}
}

// Of a container that was killed for lack of memory the unit is "failed", and
// still has to go.
func TestFailedUnit(t *testing.T) {
	h := linuxtest.One(t)
	d := systemdDriver()
	id := h.ID("a")
	for range 2 {
		d.must(t, h, "create", "--bundle", h.Bundle(d.place(id), linuxtest.Args("/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"), func(s *specs.Spec) {
			s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: pointer[int64](8 << 20), Swap: pointer[int64](8 << 20)}
		}), id)
		d.must(t, h, "start", id)
		h.WaitFor(id, "stopped")
		d.must(t, h, "delete", id)
		if got := loadState(t, "e2e-"+id+".scope"); got != "not-found" {
			t.Errorf("the unit is left: %s", got)
		}
	}
}

// silent makes a socket to which one can connect and that never answers.
func silent(t *testing.T, h *linuxtest.Host, over string) {
	t.Helper()
	path := h.Dir + "/silent-" + filepath.Base(over)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(path, over, "", unix.MS_BIND, ""); err != nil {
		t.Fatalf("cannot mount over %s: %v", over, err)
	}
	t.Cleanup(func() {
		unix.Unmount(over, unix.MNT_DETACH)
		l.Close()
	})
}

// hide makes a socket one that nobody listens at.
func hide(t *testing.T, h *linuxtest.Host, over string) {
	t.Helper()
	path := h.Dir + "/dead-" + filepath.Base(over)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if err := unix.Mount(path, over, "", unix.MS_BIND, ""); err != nil {
		t.Fatalf("cannot mount over %s: %v", over, err)
	}
	t.Cleanup(func() { unix.Unmount(over, unix.MNT_DETACH); os.Remove(path) })
}

const (
	private = "/run/systemd/private"
	broker  = "/run/dbus/system_bus_socket"
)

// Who does not answer is named, in bounded time, and nothing is left.
func TestNoAnswer(t *testing.T) {
	h := linuxtest.One(t)
	d := systemdDriver()
	id := h.ID("a")
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, h *linuxtest.Host)
		want    []string // in the error; none: it works
	}{
		{"systemd is silent", func(t *testing.T, h *linuxtest.Host) { silent(t, h, private) }, []string{"systemd at " + private, "did not answer", "e2e-" + id + ".scope"}},
		{"the bus is silent", func(t *testing.T, h *linuxtest.Host) { hide(t, h, private); silent(t, h, broker) },
			[]string{"the message bus at " + broker, "did not answer"}},
		{"nobody is there", func(t *testing.T, h *linuxtest.Host) { hide(t, h, private); hide(t, h, broker) },
			[]string{"cannot reach systemd", private, broker}},
		{"only the bus is there", func(t *testing.T, h *linuxtest.Host) { hide(t, h, private) }, nil},
		{"the bus is dead", func(t *testing.T, h *linuxtest.Host) { hide(t, h, broker) }, nil},
	} {
		h.Sub(t, c.name, func(t *testing.T, h *linuxtest.Host) {
			c.prepare(t, h)
			begin := time.Now()
			r := d.run(h, "run", "--bundle", h.Bundle(linuxtest.Args("/bin/echo", "works"), d.place(id)), id)
			t.Logf("%v: %s", time.Since(begin), r.Stderr)
			if c.want == nil {
				if r.Stdout != "works\n" {
					t.Errorf("status %d, stderr %s", r.Status, r.Stderr)
				}
				return
			}
			if r.Status != 1 {
				t.Errorf("status %d, want 1", r.Status)
			}
			for _, w := range c.want {
				if !strings.Contains(r.Stderr, w) {
					t.Errorf("no %q in %s", w, r.Stderr)
				}
			}
		})
		if got := loadState(t, "e2e-"+id+".scope"); got != "not-found" {
			t.Errorf("the unit is left: %s", got)
		}
	}
}

// A delete that systemd does not answer ends the container, and can be repeated.
func TestNoAnswerToDelete(t *testing.T) {
	h := linuxtest.One(t)
	d := systemdDriver()
	id := h.ID("a")
	d.must(t, h, "run", "--detach", "--bundle", h.Bundle(linuxtest.Args("/bin/sleep", "1000"), d.place(id)), id)
	st, _ := h.State(id)
	h.Sub(t, "silent", func(t *testing.T, h *linuxtest.Host) {
		silent(t, h, private)
		r := d.run(h, "delete", "--force", id)
		if r.Status != 1 || !strings.Contains(r.Stderr, private) || !strings.Contains(r.Stderr, "did not answer") {
			t.Errorf("status %d, stderr %s", r.Status, r.Stderr)
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d/exe", st.PID)); err == nil {
			t.Error("the container's process goes on")
		}
	})
	d.must(t, h, "delete", "--force", id)
	if got := loadState(t, "e2e-"+id+".scope"); got != "not-found" {
		t.Errorf("the unit is left: %s", got)
	}
}
