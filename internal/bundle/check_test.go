package bundle

import (
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func ptr[T any](v T) *T { return &v }

// goodSpec has all namespaces, so that a test breaks one thing at a time.
func goodSpec() *specs.Spec {
	spec := example(true)
	spec.Linux.Namespaces = append(spec.Linux.Namespaces,
		specs.LinuxNamespace{Type: specs.UserNamespace}, specs.LinuxNamespace{Type: specs.TimeNamespace})
	spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 10}}
	spec.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 10}}
	return spec
}

// without removes a namespace.
func without(spec *specs.Spec, kind specs.LinuxNamespaceType) {
	var kept []specs.LinuxNamespace
	for _, ns := range spec.Linux.Namespaces {
		if ns.Type != kind {
			kept = append(kept, ns)
		}
	}
	spec.Linux.Namespaces = kept
}

// A checkCase changes a good configuration. It wants the lines of the error,
// none if the change is fine.
type checkCase struct {
	name   string
	change func(s *specs.Spec)
	want   []string
}

func runChecks(t *testing.T, cases []checkCase) {
	t.Helper()
	for _, test := range cases {
		spec := goodSpec()
		test.change(spec)
		got := ""
		if err := Check(spec); err != nil {
			got = err.Error()
		}
		if want := strings.Join(test.want, "\n"); got != want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, want)
		}
	}
}

func TestCheckTop(t *testing.T) {
	version := func(v string) func(s *specs.Spec) { return func(s *specs.Spec) { s.Version = v } }
	runChecks(t, []checkCase{
		{"good", func(s *specs.Spec) {}, nil},
		{"no linux", func(s *specs.Spec) { s.Linux = nil; s.Hostname = "" }, nil},
		{"candidate", version("1.0.0-rc5"), nil},
		{"dev", version("1.0.2-dev"), nil},
		{"build", version("1.2.3-a.b+c.d-1"), nil},
		{"later minor", version("1.99.0"), nil},
		{"no version", version(""), []string{`ociVersion: required`}},
		{"major 0", version("0.5.0"), []string{`ociVersion: version "0.5.0" is not supported; supported is 1.x`}},
		{"major 2", version("2.0.0-rc1"), []string{`ociVersion: version "2.0.0-rc1" is not supported; supported is 1.x`}},
		{"major 10", version("10.0.0"), []string{`ociVersion: version "10.0.0" is not supported; supported is 1.x`}},
		{"two numbers", version("1.0"), []string{`ociVersion: "1.0" is not a version as in SemVer 2.0.0`}},
		{"v", version("v1.0.0"), []string{`ociVersion: "v1.0.0" is not a version as in SemVer 2.0.0`}},
		{"leading zero", version("1.01.0"), []string{`ociVersion: "1.01.0" is not a version as in SemVer 2.0.0`}},
		{"empty number", version("1..0"), []string{`ociVersion: "1..0" is not a version as in SemVer 2.0.0`}},
		{"empty pre-release", version("1.0.0-"), []string{`ociVersion: "1.0.0-" is not a version as in SemVer 2.0.0`}},
		{"bad build", version("1.0.0+a_b"), []string{`ociVersion: "1.0.0+a_b" is not a version as in SemVer 2.0.0`}},
		{"no process", func(s *specs.Spec) { s.Process = nil }, []string{`process: required`}},
		{"no root", func(s *specs.Spec) { s.Root = nil }, []string{`root: required`}},
		{"empty root", func(s *specs.Spec) { s.Root.Path = "" }, []string{`root.path: required`}},
		{"NUL in root", func(s *specs.Spec) { s.Root.Path = "a\x00b" }, []string{`root.path: "a\x00b" contains NUL`}},
		{"hostname of 64", func(s *specs.Spec) { s.Hostname = strings.Repeat("a", 64) }, nil},
		{"hostname of 65", func(s *specs.Spec) { s.Hostname = strings.Repeat("a", 65) },
			[]string{`hostname: 65 bytes, more than the kernel's limit of 64`}},
		{"names without uts", func(s *specs.Spec) { without(s, specs.UTSNamespace); s.Domainname = "d" }, []string{
			`hostname: needs a uts namespace in linux.namespaces`,
			`domainname: needs a uts namespace in linux.namespaces`,
		}},
		{"hostname without linux", func(s *specs.Spec) { s.Linux = nil },
			[]string{`hostname: needs a uts namespace in linux.namespaces`}},
		{"NUL in domainname", func(s *specs.Spec) { s.Domainname = "\x00" }, []string{`domainname: "\x00" contains NUL`}},
		{"empty annotation", func(s *specs.Spec) { s.Annotations = map[string]string{"": "a", "b": ""} },
			[]string{`annotations: a key is empty`}},
	})
}

// TestCheckAll: everything wrong is told at once, in the fields' order.
func TestCheckAll(t *testing.T) {
	spec := &specs.Spec{
		Process: &specs.Process{Cwd: "x", Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE"}, {Type: "RLIMIT_FOO"}}},
		Mounts:  []specs.Mount{{}},
		Linux:   &specs.Linux{RootfsPropagation: "x"},
	}
	err := Check(spec)
	want := `ociVersion: required
process.args: required
process.cwd: "x" is not an absolute path
process.rlimits[1].type: unknown rlimit "RLIMIT_FOO"
root: required
mounts[0].destination: required
linux.rootfsPropagation: unknown propagation "x"`
	if err == nil || err.Error() != want {
		t.Fatalf("got %v\nwant %s", err, want)
	}
	var list ErrorList
	if !errors.As(err, &list) || len(list.Unwrap()) != 7 || !errors.Is(err, list[3]) {
		t.Errorf("got %#v", err)
	}
}

func TestCheckParts(t *testing.T) {
	err := CheckProcess(&specs.Process{Args: []string{"a"}})
	if err == nil || err.Error() != `process.cwd: required` {
		t.Errorf("process: got %v", err)
	}
	err = CheckResources(&specs.LinuxResources{CPU: &specs.LinuxCPU{Idle: ptr(int64(2))}})
	if err == nil || err.Error() != `linux.resources.cpu.idle: 2 is neither 0 nor 1` {
		t.Errorf("resources: got %v", err)
	}
	if err := CheckResources(&specs.LinuxResources{}); err != nil {
		t.Errorf("empty resources: got %v", err)
	}
}

func TestCheckProcess(t *testing.T) {
	process := func(f func(p *specs.Process)) func(s *specs.Spec) {
		return func(s *specs.Spec) { f(s.Process) }
	}
	runChecks(t, []checkCase{
		{"console", process(func(p *specs.Process) { p.ConsoleSize = &specs.Box{Height: 65536, Width: 65537} }), []string{
			`process.consoleSize.height: 65536 is more than 65535`,
			`process.consoleSize.width: 65537 is more than 65535`,
		}},
		{"largest id", func(s *specs.Spec) {
			s.Process.User.UID = 1<<32 - 2
			s.Linux.UIDMappings = append(s.Linux.UIDMappings, specs.LinuxIDMapping{ContainerID: 1<<32 - 2, HostID: 5, Size: 1})
		}, nil},
		{"no ids", process(func(p *specs.Process) {
			p.User = specs.User{UID: 1<<32 - 1, GID: 1<<32 - 1, AdditionalGids: []uint32{1, 1<<32 - 1}, Umask: ptr(uint32(777))}
		}), []string{
			`process.user.uid: 4294967295 is not an id; the kernel takes it for "unchanged"`,
			`process.user.gid: 4294967295 is not an id; the kernel takes it for "unchanged"`,
			`process.user.additionalGids[1]: 4294967295 is not an id; the kernel takes it for "unchanged"`,
			`process.user.umask: 777 is more than 511 (octal 777); JSON numbers are decimal`,
		}},
		{"full umask", process(func(p *specs.Process) { p.User.Umask = ptr(uint32(0o777)) }), nil},
		{"no program", process(func(p *specs.Process) { p.Args = []string{"", "a\x00"} }), []string{
			`process.args[0]: the name of the program is empty`,
			`process.args[1]: "a\x00" contains NUL`,
		}},
		{"env", process(func(p *specs.Process) { p.Env = []string{"A=", "B==", "C", "=D", "E=\x00", ""} }), []string{
			`process.env[2]: "C" has no "="`,
			`process.env[3]: "=D" has no name before "="`,
			`process.env[4]: "E=\x00" contains NUL`,
			`process.env[5]: "" has no "="`,
		}},
		{"no cwd", process(func(p *specs.Process) { p.Cwd = "" }), []string{`process.cwd: required`}},
		{"NUL in cwd", process(func(p *specs.Process) { p.Cwd = "/\x00" }), []string{`process.cwd: "/\x00" contains NUL`}},
		{"rlimits", process(func(p *specs.Process) {
			p.Rlimits = []specs.POSIXRlimit{
				{Type: "RLIMIT_CORE", Soft: 1, Hard: 1<<64 - 1}, {Type: "RLIMIT_CORE"}, {Type: ""},
				{Type: "rlimit_core"}, {Type: "RLIMIT_AS", Soft: 2, Hard: 1},
			}
		}), []string{
			`process.rlimits[1].type: RLIMIT_CORE is given twice, first in rlimits[0]`,
			`process.rlimits[2].type: required`,
			`process.rlimits[3].type: unknown rlimit "rlimit_core"`,
			`process.rlimits[4].soft: 2 is above the hard limit 1`,
		}},
		{"labels", process(func(p *specs.Process) { p.ApparmorProfile, p.SelinuxLabel = "a\x00", "b\x00" }), []string{
			`process.apparmorProfile: "a\x00" contains NUL`,
			`process.selinuxLabel: "b\x00" contains NUL`,
		}},
		{"lowest oom score", process(func(p *specs.Process) { p.OOMScoreAdj = ptr(-1000) }), nil},
		{"oom score", process(func(p *specs.Process) { p.OOMScoreAdj = ptr(1001) }),
			[]string{`process.oomScoreAdj: 1001 is outside -1000 to 1000`}},
		{"low oom score", process(func(p *specs.Process) { p.OOMScoreAdj = ptr(-1001) }),
			[]string{`process.oomScoreAdj: -1001 is outside -1000 to 1000`}},
		{"io priority", process(func(p *specs.Process) { p.IOPriority = &specs.LinuxIOPriority{Class: "IOPRIO_CLASS_BE", Priority: 7} }), nil},
		{"no io class", process(func(p *specs.Process) { p.IOPriority = &specs.LinuxIOPriority{Priority: 8} }), []string{
			`process.ioPriority.class: required`,
			`process.ioPriority.priority: 8 is outside 0 to 7`,
		}},
		{"io class", process(func(p *specs.Process) { p.IOPriority = &specs.LinuxIOPriority{Class: "BE", Priority: -1} }), []string{
			`process.ioPriority.class: unknown class "BE"`,
			`process.ioPriority.priority: -1 is outside 0 to 7`,
		}},
		{"affinity", process(func(p *specs.Process) { p.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0-3, 7,", Final: "0"} }), nil},
		{"bad affinity", process(func(p *specs.Process) {
			p.ExecCPUAffinity = &specs.CPUAffinity{Initial: "3-1,a,1-", Final: " ,"}
		}), []string{
			`process.execCPUAffinity.initial: range "3-1" runs backwards`,
			`process.execCPUAffinity.initial: "a" is not a number or range, as in "0-3,7"`,
			`process.execCPUAffinity.initial: "1-" is not a number or range, as in "0-3,7"`,
			`process.execCPUAffinity.final: " ," names nothing`,
		}},
		{"large cpu", process(func(p *specs.Process) { p.ExecCPUAffinity = &specs.CPUAffinity{Initial: "8191,0-8192"} }),
			[]string{`process.execCPUAffinity.initial: "0-8192" is above the largest number possible, 8191`}},
	})
}

func TestCheckScheduler(t *testing.T) {
	with := func(s specs.Scheduler) func(*specs.Spec) {
		return func(spec *specs.Spec) { spec.Process.Scheduler = &s }
	}
	runChecks(t, []checkCase{
		{"other", with(specs.Scheduler{Policy: "SCHED_OTHER", Nice: -20, Flags: []specs.LinuxSchedulerFlag{"SCHED_FLAG_RESET_ON_FORK"}}), nil},
		{"fifo", with(specs.Scheduler{Policy: "SCHED_FIFO", Priority: 99, Nice: 100}), nil},
		{"idle", with(specs.Scheduler{Policy: "SCHED_IDLE", Nice: 100}), nil},
		{"deadline", with(specs.Scheduler{Policy: "SCHED_DEADLINE", Runtime: 1024, Deadline: 1024}), nil},
		{"no policy", with(specs.Scheduler{}), []string{`process.scheduler.policy: required`}},
		{"policy", with(specs.Scheduler{Policy: "FIFO"}), []string{`process.scheduler.policy: unknown policy "FIFO"`}},
		{"nice", with(specs.Scheduler{Policy: "SCHED_BATCH", Nice: 20}), []string{`process.scheduler.nice: 20 is outside -20 to 19`}},
		{"no priority", with(specs.Scheduler{Policy: "SCHED_RR"}),
			[]string{`process.scheduler.priority: 0 is outside 1 to 99, the range for SCHED_RR`}},
		{"flag", with(specs.Scheduler{Policy: "SCHED_OTHER", Flags: []specs.LinuxSchedulerFlag{"X"}}),
			[]string{`process.scheduler.flags[0]: unknown flag "X"`}},
		{"mixed", with(specs.Scheduler{Policy: "SCHED_OTHER", Priority: 1, Runtime: 1, Deadline: 2, Period: 3}), []string{
			`process.scheduler.priority: only for SCHED_FIFO and SCHED_RR, not SCHED_OTHER`,
			`process.scheduler.runtime: only for SCHED_DEADLINE, not SCHED_OTHER`,
			`process.scheduler.deadline: only for SCHED_DEADLINE, not SCHED_OTHER`,
			`process.scheduler.period: only for SCHED_DEADLINE, not SCHED_OTHER`,
		}},
		{"no deadline", with(specs.Scheduler{Policy: "SCHED_DEADLINE", Period: 1 << 63}), []string{
			`process.scheduler.deadline: required for SCHED_DEADLINE`,
			`process.scheduler.period: 9223372036854775808 is more than 63 bits`,
		}},
		{"long deadline", with(specs.Scheduler{Policy: "SCHED_DEADLINE", Deadline: 1 << 63}),
			[]string{`process.scheduler.deadline: 9223372036854775808 is more than 63 bits`}},
		{"short runtime", with(specs.Scheduler{Policy: "SCHED_DEADLINE", Runtime: 1023, Deadline: 2000, Period: 1999}), []string{
			`process.scheduler.runtime: 1023 ns is less than the kernel's minimum of 1024`,
			`process.scheduler.period: 1999 ns is less than the deadline, 2000`,
		}},
		{"long runtime", with(specs.Scheduler{Policy: "SCHED_DEADLINE", Runtime: 3000, Deadline: 2000}),
			[]string{`process.scheduler.runtime: 3000 ns is more than the deadline, 2000`}},
	})
}

func TestCheckMounts(t *testing.T) {
	one := []specs.LinuxIDMapping{{Size: 1}}
	with := func(m specs.Mount) func(*specs.Spec) {
		return func(spec *specs.Spec) { spec.Mounts = []specs.Mount{{Destination: "/"}, m} }
	}
	runChecks(t, []checkCase{
		{"relative", with(specs.Mount{Destination: "data"}), nil},
		{"any options", with(specs.Mount{Destination: "/a", Options: []string{"bind", "", "foo=bar"}}), nil},
		{"no destination", with(specs.Mount{}), []string{`mounts[1].destination: required`}},
		{"NUL", with(specs.Mount{Destination: "/a\x00", Type: "b\x00", Source: "c\x00", Options: []string{"x", "d\x00"}}), []string{
			`mounts[1].destination: "/a\x00" contains NUL`,
			`mounts[1].type: "b\x00" contains NUL`,
			`mounts[1].source: "c\x00" contains NUL`,
			`mounts[1].options[1]: "d\x00" contains NUL`,
		}},
		{"mappings", with(specs.Mount{Destination: "/a", UIDMappings: one, GIDMappings: one}), nil},
		{"uid mappings", with(specs.Mount{Destination: "/a", UIDMappings: one}),
			[]string{`mounts[1].gidMappings: required with uidMappings`}},
		{"gid mappings", with(specs.Mount{Destination: "/a", GIDMappings: []specs.LinuxIDMapping{{}}}), []string{
			`mounts[1].uidMappings: required with gidMappings`,
			`mounts[1].gidMappings[0].size: must be above 0`,
		}},
	})
}

func TestCheckHooks(t *testing.T) {
	bad := []specs.Hook{{Path: "/a", Timeout: ptr(1)}, {Timeout: ptr(0)}}
	runChecks(t, []checkCase{
		{"every list", func(s *specs.Spec) {
			s.Hooks = &specs.Hooks{Prestart: bad, CreateRuntime: bad, CreateContainer: bad, StartContainer: bad, Poststart: bad, Poststop: bad}
		}, []string{
			`hooks.prestart[1].path: required`,
			`hooks.prestart[1].timeout: 0 is not above 0`,
			`hooks.createRuntime[1].path: required`,
			`hooks.createRuntime[1].timeout: 0 is not above 0`,
			`hooks.createContainer[1].path: required`,
			`hooks.createContainer[1].timeout: 0 is not above 0`,
			`hooks.startContainer[1].path: required`,
			`hooks.startContainer[1].timeout: 0 is not above 0`,
			`hooks.poststart[1].path: required`,
			`hooks.poststart[1].timeout: 0 is not above 0`,
			`hooks.poststop[1].path: required`,
			`hooks.poststop[1].timeout: 0 is not above 0`,
		}},
		{"texts", func(s *specs.Spec) {
			s.Hooks = &specs.Hooks{Poststop: []specs.Hook{
				{Path: "bin/x"}, {Path: "/\x00"}, {Path: "/a", Args: []string{"\x00"}, Env: []string{"a", "\x00"}},
			}}
		}, []string{
			`hooks.poststop[0].path: "bin/x" is not an absolute path`,
			`hooks.poststop[1].path: "/\x00" contains NUL`,
			`hooks.poststop[2].args[0]: "\x00" contains NUL`,
			`hooks.poststop[2].env[1]: "\x00" contains NUL`,
		}},
	})
}
