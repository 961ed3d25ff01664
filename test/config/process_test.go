package config

import (
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
	"tongs/test/inside/report"
)

func edit(f func(*specs.Spec)) []linuxtest.Edit { return []linuxtest.Edit{f} }

func TestDefault(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		paths := strings.Fields("/ /dev /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/console /dev/ptmx /dev/fd " +
			"/dev/stdin /dev/stdout /dev/stderr /dev/core /dev/pts /dev/shm /dev/mqueue /proc /proc/keys /proc/acpi /proc/kcore " +
			"/proc/sys/kernel/hostname /proc/fs /proc/bus /sys /sys/firmware /sys/fs/cgroup")
		each(t, h, []row{{name: "default", edits: []linuxtest.Edit{linuxtest.Inside(paths...)}, check: checkDefault}})
	})
}

func checkDefault(t *testing.T, r *report.Report) {
	linuxtest.Equal(t, "pid", r.PID, 1)
	linuxtest.Equal(t, "session", r.Session, 1)
	linuxtest.Equal(t, "terminal", r.Terminal, "")
	linuxtest.Equal(t, "hostname", r.Hostname, "e2e")
	linuxtest.Equal(t, "cwd", r.Cwd, "/")
	linuxtest.Equal(t, "umask", r.Umask, "0022")
	linuxtest.Equal(t, "no_new_privs", r.NoNewPrivs, "1")
	linuxtest.Equal(t, "loopback", r.Loopback, "up")
	linuxtest.Equal(t, "open files", r.Limits["Max open files"], "1024 1024")
	linuxtest.Equal(t, "effective capabilities", r.Capabilities["CapEff"], "0000000020000420")
	linuxtest.Equal(t, "bounding set", r.Capabilities["CapBnd"], "0000000020000420")
	linuxtest.EqualList(t, "groups", r.Groups)
	linuxtest.EqualList(t, "descriptors", slices.Sorted(maps.Keys(r.Descriptors)), "0", "1", "2")
	for _, path := range []string{"/", "/proc/sys/kernel/hostname", "/sys"} {
		linuxtest.Equal(t, "writing to "+path, r.Paths[path].WriteError, "read-only file system")
	}
	for _, path := range []string{"/proc/bus", "/proc/fs", "/proc/sys"} {
		if m, ok := r.At(path); !ok || !strings.HasPrefix(m.Options, "ro,") {
			t.Errorf("%s is not read-only: %+v", path, m)
		}
	}
	linuxtest.Equal(t, "masked file", r.Paths["/proc/keys"].Device, "1:3")
	linuxtest.Equal(t, "names in a masked directory", len(r.Paths["/sys/firmware"].Names)+len(r.Paths["/proc/acpi"].Names), 0)
	linuxtest.Equal(t, "null device", r.Paths["/dev/null"].Type+" "+r.Paths["/dev/null"].Device+" "+r.Paths["/dev/null"].Mode, "c 1:3 0666")
	for ns, link := range r.Namespaces {
		if ns == "cgroup" {
			continue // a part of the default where there is only v2
		}
		host := hostNamespace(t, ns)
		if shared := ns == "user" || ns == "time"; (link == host) != shared {
			t.Errorf("%s namespace: the host's is %s, the container's %s", ns, host, link)
		}
	}
}

func TestUser(t *testing.T) {
	umask := uint32(0o077)
	each(t, linuxtest.One(t), []row{
		{name: "ids", edits: edit(func(s *specs.Spec) {
			s.Process.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{5, 27, 2000000000}, Umask: &umask}
		}), check: func(t *testing.T, r *report.Report) {
			linuxtest.EqualList(t, "uids", r.UIDs, "1000", "1000", "1000", "1000")
			linuxtest.EqualList(t, "gids", r.GIDs, "1001", "1001", "1001", "1001")
			linuxtest.EqualList(t, "groups", r.Groups, "5", "27", "2000000000")
			linuxtest.Equal(t, "umask", r.Umask, "0077")
			if !slices.Contains(r.Env, "HOME=/home/user") {
				t.Errorf("no HOME from passwd in %q", r.Env)
			}
		}},
		{name: "unknown to passwd", edits: edit(func(s *specs.Spec) { s.Process.User = specs.User{UID: 4242, GID: 4242} }),
			check: func(t *testing.T, r *report.Report) {
				if !slices.Contains(r.Env, "HOME=/") {
					t.Errorf("no HOME=/ in %q", r.Env)
				}
			}},
		{name: "no passwd", edits: edit(func(s *specs.Spec) {
			linuxtest.Mount("/etc", "tmpfs", "tmpfs")(s)
		}), differences: []difference{modeOption()}},
	})
}

func TestEnvironment(t *testing.T) {
	each(t, linuxtest.One(t), []row{
		{name: "order and values", edits: edit(func(s *specs.Spec) {
			s.Process.Env = []string{"Z=1", "A=2=3", "EMPTY=", "SPACE=a b\nc", "HOME=/somewhere", "PATH=/bin"}
		}), check: func(t *testing.T, r *report.Report) {
			linuxtest.EqualList(t, "env", r.Env, "Z=1", "A=2=3", "EMPTY=", "SPACE=a b\nc", "HOME=/somewhere", "PATH=/bin")
		}},
		{name: "twice the same", edits: edit(func(s *specs.Spec) { s.Process.Env = []string{"A=1", "B=2", "A=3"} }),
			check:       func(t *testing.T, r *report.Report) { linuxtest.EqualList(t, "env", r.Env, "B=2", "A=3", "HOME=/root") },
			differences: []difference{{"Env", "the place of the last counts, as since runc 1.3; before, that of the first"}}},
		{name: "empty HOME", edits: edit(func(s *specs.Spec) { s.Process.Env = []string{"HOME="} })},
		{name: "none", edits: edit(func(s *specs.Spec) { s.Process.Env = nil })},
		{name: "program by PATH", edits: edit(func(s *specs.Spec) {
			s.Process.Args = []string{"inside"}
			s.Process.Env = []string{"PATH=/nowhere:/bin"}
		}), check: func(t *testing.T, r *report.Report) { linuxtest.EqualList(t, "args", r.Args, "inside") }},
		{name: "arguments", edits: []linuxtest.Edit{linuxtest.Inside("", " a", "ä\n", "*")}, check: func(t *testing.T, r *report.Report) {
			linuxtest.EqualList(t, "args", r.Args, "/bin/inside", "", " a", "ä\n", "*")
		}},
	})
}

func TestCwd(t *testing.T) {
	writable := func(s *specs.Spec) { s.Root.Readonly = false }
	cwd := func(path string) linuxtest.Edit { return func(s *specs.Spec) { s.Process.Cwd = path } }
	h := linuxtest.One(t)
	each(t, h, []row{
		{name: "there", edits: []linuxtest.Edit{cwd("/tmp")}, check: func(t *testing.T, r *report.Report) { linuxtest.Equal(t, "cwd", r.Cwd, "/tmp") }},
		{name: "made", edits: []linuxtest.Edit{cwd("/made/for/it"), writable, linuxtest.Inside("/made", "/made/for/it")},
			check: func(t *testing.T, r *report.Report) {
				linuxtest.Equal(t, "cwd", r.Cwd, "/made/for/it")
				linuxtest.Equal(t, "mode", r.Paths["/made/for/it"].Mode, "0755")
			}},
		{name: "made, root read-only", edits: []linuxtest.Edit{cwd("/made")}},
		{name: "in a mount", edits: []linuxtest.Edit{cwd("/dev/shm")}},
		{name: "the user's alone", edits: []linuxtest.Edit{cwd("/own"), user(1000), linuxtest.Mount("/own", "tmpfs", "tmpfs", "mode=700", "uid=1000", "gid=1000")},
			check: func(t *testing.T, r *report.Report) { linuxtest.Equal(t, "cwd", r.Cwd, "/own") }, differences: []difference{modeOption(),
				{"Mount :own options", "the same"}}},
	})
	// Root's alone: it is entered with all rights, so that a user who could not
	// enter it is there.
	for _, o := range []*linuxtest.Host{h, h.With("runc")} {
		closed := linuxtest.Mount("/closed", "tmpfs", "tmpfs", "mode=700")
		r := o.Run("run", "--bundle", h.Bundle(cwd("/closed"), user(1000), closed, linuxtest.Shell("pwd; ls . 2>&1 || true")), o.ID("closed"))
		if r.Stdout != "/closed\nls: .: Permission denied\n" {
			t.Errorf("status %d; %s%s", r.Status, r.Stdout, r.Stderr)
		}
	}
}

func TestCapabilities(t *testing.T) {
	set := func(names ...string) *specs.LinuxCapabilities {
		return &specs.LinuxCapabilities{Bounding: names, Effective: names, Permitted: names}
	}
	caps := func(c *specs.LinuxCapabilities, uid uint32) []linuxtest.Edit {
		return edit(func(s *specs.Spec) { s.Process.Capabilities, s.Process.User.UID = c, uid })
	}
	all := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE", "CAP_BPF"}
	ambient := set("CAP_NET_RAW", "CAP_KILL")
	ambient.Inheritable, ambient.Ambient = ambient.Effective, []string{"CAP_NET_RAW"}
	effective := set("CAP_NET_RAW", "CAP_KILL")
	effective.Effective = []string{"CAP_KILL"}
	has := func(eff, amb string) func(*testing.T, *report.Report) {
		return func(t *testing.T, r *report.Report) {
			t.Helper()
			linuxtest.Equal(t, "effective", r.Capabilities["CapEff"], eff)
			linuxtest.Equal(t, "ambient", r.Capabilities["CapAmb"], amb)
		}
	}
	const none = "0000000000000000"
	each(t, linuxtest.One(t), []row{
		{name: "root", edits: caps(set(all...), 0), check: has("0000018000200003", none)},
		{name: "user", edits: caps(set(all...), 1000), check: has(none, none)},
		{name: "ambient", edits: caps(ambient, 1000), check: has("0000000000002000", "0000000000002000")},
		{name: "ambient of root", edits: caps(ambient, 0), check: has("0000000000002020", "0000000000002000")},
		{name: "effective is less", edits: caps(effective, 0)},
		{name: "empty sets", edits: caps(&specs.LinuxCapabilities{}, 0), check: has(none, none)},
		{name: "no sets", edits: caps(nil, 0), check: untouched,
			differences: []difference{{"Capabilities *", "without the object nothing is changed, as since runc 1.2; before, it meant none"}}},
		{name: "no sets, user", edits: caps(nil, 1000), check: untouched,
			differences: []difference{{"Capabilities *", "the same"}}},
	})
}

// untouched: the bounding set is the test's own.
func untouched(t *testing.T, r *report.Report) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(status), "CapBnd:\t"+r.Capabilities["CapBnd"]+"\n") {
		t.Errorf("bounding set %s", r.Capabilities["CapBnd"])
	}
}

// What is not known is warned of, as with runc.
func TestUnknownCapability(t *testing.T) {
	h := linuxtest.One(t)
	bundle := h.Bundle(linuxtest.Inside(), func(s *specs.Spec) {
		s.Process.Capabilities.Bounding = append(s.Process.Capabilities.Bounding, "CAP_FROM_THE_FUTURE")
	})
	r := h.Must("run", "--bundle", bundle, h.ID("a"))
	if !strings.Contains(r.Stderr, "level=warning") || !strings.Contains(r.Stderr, "CAP_FROM_THE_FUTURE") {
		t.Errorf("stderr %q", r.Stderr)
	}
	linuxtest.Equal(t, "bounding set", h.Look(r.Stdout).Capabilities["CapBnd"], "0000000020000420")
}

func TestNoNewPrivileges(t *testing.T) {
	each(t, linuxtest.One(t), []row{
		{name: "false", edits: edit(func(s *specs.Spec) { s.Process.NoNewPrivileges = false }),
			check: func(t *testing.T, r *report.Report) { linuxtest.Equal(t, "no_new_privs", r.NoNewPrivs, "0") }},
	})
}

// A container runs on all processors of its cpuset, whatever tongs was kept to.
func TestAffinity(t *testing.T) {
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for i := 0; one.Count() == 0; i++ {
		if all.IsSet(i) {
			one.Set(i)
		}
	}
	runtime.LockOSThread() // which is not used again
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	h := linuxtest.One(t)
	want, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		t.Fatal(err)
	}
	bundle := h.Bundle(linuxtest.Inside())
	run := h.Must("run", "--bundle", bundle, h.ID("a"))
	linuxtest.Equal(t, "affinity", h.Look(run.Stdout).Affinity, strings.TrimSpace(string(want)))
}

func TestOOMScoreAdj(t *testing.T) {
	h := linuxtest.One(t)
	score := func(n int) []linuxtest.Edit { return edit(func(s *specs.Spec) { s.Process.OOMScoreAdj = &n }) }
	var rows []row
	for _, n := range []int{-1000, -500, 0, 500, 1000} {
		if n < 0 && !privileged(t) {
			bundle := h.Bundle(append(score(n), linuxtest.Inside())...)
			if r := h.With("runc").Run("run", "--bundle", bundle, h.ID("a")); r.Status != 1 {
				t.Errorf("%d: runc may, and says %+v", n, r)
			}
			if r := h.Run("run", "--bundle", bundle, h.ID("a")); r.Status != 1 || !strings.Contains(r.Stderr, "process.oomScoreAdj: ") {
				t.Errorf("%d, which we may not: %+v", n, r)
			}
			continue
		}
		rows = append(rows, row{name: strconv.Itoa(n), edits: score(n),
			check: func(t *testing.T, r *report.Report) {
				linuxtest.Equal(t, "oom_score_adj", r.OOMScoreAdj, strconv.Itoa(n))
			}})
	}
	each(t, h, rows)
}

// privileged reports whether we have CAP_SYS_RESOURCE, which lowers the score
// and raises limits. Some virtual machines' root lacks it.
func privileged(t *testing.T) bool {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "CapEff:\t")
	word, _, _ := strings.Cut(rest, "\n")
	caps, err := strconv.ParseUint(word, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return caps&(1<<unix.CAP_SYS_RESOURCE) != 0
}

func TestRlimits(t *testing.T) {
	var limits []specs.POSIXRlimit
	want := make(map[string]string)
	for i, l := range []struct {
		kind, name string
		number     int
		most       uint64
	}{
		{"AS", "Max address space", unix.RLIMIT_AS, 1 << 40}, {"CORE", "Max core file size", unix.RLIMIT_CORE, 1 << 33},
		{"CPU", "Max cpu time", unix.RLIMIT_CPU, 1 << 33}, {"DATA", "Max data size", unix.RLIMIT_DATA, 1 << 40},
		{"FSIZE", "Max file size", unix.RLIMIT_FSIZE, 1 << 40}, {"LOCKS", "Max file locks", unix.RLIMIT_LOCKS, 1 << 33},
		{"MEMLOCK", "Max locked memory", unix.RLIMIT_MEMLOCK, 1 << 33}, {"MSGQUEUE", "Max msgqueue size", unix.RLIMIT_MSGQUEUE, 1 << 33},
		{"NICE", "Max nice priority", unix.RLIMIT_NICE, 30}, {"NPROC", "Max processes", unix.RLIMIT_NPROC, 90000},
		{"RSS", "Max resident set", unix.RLIMIT_RSS, 1 << 33}, {"RTPRIO", "Max realtime priority", unix.RLIMIT_RTPRIO, 90},
		{"RTTIME", "Max realtime timeout", unix.RLIMIT_RTTIME, 1 << 33}, {"SIGPENDING", "Max pending signals", unix.RLIMIT_SIGPENDING, 90000},
		{"STACK", "Max stack size", unix.RLIMIT_STACK, 1 << 33}, {"NOFILE", "Max open files", unix.RLIMIT_NOFILE, 10000},
	} {
		var now unix.Rlimit
		if err := unix.Getrlimit(l.number, &now); err != nil {
			t.Fatal(err)
		}
		hard := l.most - uint64(i) // all different
		if !privileged(t) {
			hard = min(hard, now.Max)
		}
		soft := hard / 2
		limits = append(limits, specs.POSIXRlimit{Type: "RLIMIT_" + l.kind, Soft: soft, Hard: hard})
		want[l.name] = limit(soft) + " " + limit(hard)
	}
	h := linuxtest.One(t)
	edits := edit(func(s *specs.Spec) { s.Process.Rlimits = limits })
	// The program in Go raises its own limit of open files to the hard one.
	each(t, h, []row{{name: "all", edits: edits, check: func(t *testing.T, r *report.Report) {
		delete(r.Limits, "Max open files")
		for name, text := range r.Limits {
			linuxtest.Equal(t, name, text, want[name])
		}
	}, differences: []difference{{"Limits Max open files", "deleted above"}}}})

	out := h.Must("run", "--bundle", h.Bundle(append(edits, linuxtest.Args("/bin/cat", "/proc/self/limits"))...), h.ID("b")).Stdout
	if f := strings.Fields(out[strings.Index(out, "Max open files"):]); f[3]+" "+f[4] != want["Max open files"] {
		t.Errorf("open files: got %s %s, want %s", f[3], f[4], want["Max open files"])
	}
}

func limit(n uint64) string {
	if n == 1<<64-1 {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}
