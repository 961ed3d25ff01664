package bundle

import (
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestCheckDevices(t *testing.T) {
	with := func(d ...specs.LinuxDevice) func(*specs.Spec) {
		return linux(func(l *specs.Linux) { l.Devices = d })
	}
	runChecks(t, []checkCase{
		{"good", with(
			specs.LinuxDevice{Path: "/dev/a", Type: "c", Major: 4095, Minor: 1048575},
			specs.LinuxDevice{Path: "/dev/b", Type: "b", Minor: 1},
			specs.LinuxDevice{Path: "/dev/p", Type: "p"},
		), nil},
		{"bad", with(
			specs.LinuxDevice{Path: "dev/a", Type: "u"},
			specs.LinuxDevice{Path: "", Type: "p"},
			specs.LinuxDevice{Path: "/a\x00", Type: ""},
			specs.LinuxDevice{Path: "/a", Type: "char"},
			specs.LinuxDevice{Path: "/a", Type: "c", Major: -1, Minor: 1 << 20},
			specs.LinuxDevice{Path: "/a", Type: "b", Major: 4096, Minor: -1},
		), []string{
			`linux.devices[0].path: "dev/a" is not an absolute path`,
			`linux.devices[0]: major and minor are required for type "u"`,
			`linux.devices[1].path: required`,
			`linux.devices[2].path: "/a\x00" contains NUL`,
			`linux.devices[2].type: required`,
			`linux.devices[3].type: unknown type "char"; known are c, b, u and p`,
			`linux.devices[4].major: -1 is outside 0 to 4095`,
			`linux.devices[4].minor: 1048576 is outside 0 to 1048575`,
			`linux.devices[5].major: 4096 is outside 0 to 4095`,
			`linux.devices[5].minor: -1 is outside 0 to 1048575`,
		}},
	})
}

func TestCheckNetDevices(t *testing.T) {
	with := func(d map[string]specs.LinuxNetDevice) func(*specs.Spec) {
		return linux(func(l *specs.Linux) { l.NetDevices = d })
	}
	runChecks(t, []checkCase{
		{"good", with(map[string]specs.LinuxNetDevice{"eth0": {Name: "net%d"}, "eth0.100": {}}), nil},
		{"names", with(map[string]specs.LinuxNetDevice{"": {}, "a b": {Name: ".."}, "c": {Name: strings.Repeat("x", 16)}, "d": {Name: "à"}}), []string{
			`linux.netDevices: "" is not the name of a network device`,
			`linux.netDevices: "a b" is not the name of a network device`,
			`linux.netDevices["a b"].name: ".." is not the name of a network device`,
			`linux.netDevices.c.name: "xxxxxxxxxxxxxxxx" is not the name of a network device`,
			`linux.netDevices.d.name: "à" is not the name of a network device`,
		}},
		{"same name", with(map[string]specs.LinuxNetDevice{"eth0": {}, "eth1": {Name: "eth0"}}),
			[]string{`linux.netDevices.eth1: would have the name "eth0", as "eth0"`}},
		{"no namespace", func(s *specs.Spec) {
			with(map[string]specs.LinuxNetDevice{"eth0": {}})(s)
			without(s, specs.NetworkNamespace)
		}, []string{`linux.netDevices: needs a network namespace in linux.namespaces`}},
	})
}

func TestCheckPaths(t *testing.T) {
	runChecks(t, []checkCase{
		{"propagation", linux(func(l *specs.Linux) { l.RootfsPropagation = "runbindable" }), nil},
		{"bad propagation", linux(func(l *specs.Linux) { l.RootfsPropagation = "Shared" }),
			[]string{`linux.rootfsPropagation: unknown propagation "Shared"`}},
		{"relative", linux(func(l *specs.Linux) { l.MaskedPaths, l.ReadonlyPaths = []string{"/a", "b"}, []string{"", "/\x00"} }), []string{
			`linux.maskedPaths[1]: "b" is not an absolute path`,
			`linux.readonlyPaths[0]: "" is not an absolute path`,
			`linux.readonlyPaths[1]: "/\x00" contains NUL`,
		}},
		{"root", linux(func(l *specs.Linux) { l.MaskedPaths, l.ReadonlyPaths = []string{"/a", "//"}, []string{"/a/.."} }), []string{
			`linux.maskedPaths[1]: the root directory itself can be neither masked nor a read-only path; root.readonly makes it read-only`,
			`linux.readonlyPaths[0]: the root directory itself can be neither masked nor a read-only path; root.readonly makes it read-only`,
		}},
		{"no mount namespace", func(s *specs.Spec) { without(s, specs.MountNamespace) }, []string{
			`linux.maskedPaths: needs a mount namespace in linux.namespaces`,
			`linux.readonlyPaths: needs a mount namespace in linux.namespaces`,
		}},
		{"cgroup", linux(func(l *specs.Linux) { l.CgroupsPath = "system.slice:a..b:c" }), nil},
		{"cgroup above", linux(func(l *specs.Linux) { l.CgroupsPath = "/a/../../b" }),
			[]string{`linux.cgroupsPath: "/a/../../b" contains ".."`}},
		{"NUL in cgroup", linux(func(l *specs.Linux) { l.CgroupsPath = "a\x00" }),
			[]string{`linux.cgroupsPath: "a\x00" contains NUL`}},
	})
}

func TestCheckIntelRdt(t *testing.T) {
	with := func(r specs.LinuxIntelRdt) func(*specs.Spec) {
		return linux(func(l *specs.Linux) { l.IntelRdt = &r })
	}
	runChecks(t, []checkCase{
		{"default group", with(specs.LinuxIntelRdt{ClosID: "/"}), nil},
		{"good", with(specs.LinuxIntelRdt{ClosID: "a.b", L3CacheSchema: "L3:0=f\nMB:0=1", MemBwSchema: "MB:0=1", Schemata: []string{"L3:0=f"}}), nil},
		{"dots", with(specs.LinuxIntelRdt{ClosID: ".."}), []string{`linux.intelRdt.closID: ".." is not the name of a group`}},
		{"slash", with(specs.LinuxIntelRdt{ClosID: "a/b"}), []string{`linux.intelRdt.closID: "a/b" contains a slash, newline or NUL`}},
		{"reserved", with(specs.LinuxIntelRdt{ClosID: "info"}), []string{`linux.intelRdt.closID: "info" is reserved by the resctrl file system`}},
		{"schemas", with(specs.LinuxIntelRdt{L3CacheSchema: "\x00", MemBwSchema: "L3:\n", Schemata: []string{"a", "b\n"}}), []string{
			`linux.intelRdt.l3CacheSchema: "\x00" contains NUL`,
			`linux.intelRdt.memBwSchema: "L3:\n" does not begin with "MB:"`,
			`linux.intelRdt.memBwSchema: "L3:\n" contains a newline or NUL`,
			`linux.intelRdt.schemata[1]: "b\n" contains a newline or NUL`,
		}},
	})
}

func TestCheckPersonality(t *testing.T) {
	with := func(p specs.LinuxPersonality) func(*specs.Spec) {
		return linux(func(l *specs.Linux) { l.Personality = &p })
	}
	runChecks(t, []checkCase{
		{"good", with(specs.LinuxPersonality{Domain: "LINUX32", Flags: []specs.LinuxPersonalityFlag{"X"}}), nil},
		{"none", with(specs.LinuxPersonality{}), []string{`linux.personality.domain: required`}},
		{"unknown", with(specs.LinuxPersonality{Domain: "BSD"}), []string{`linux.personality.domain: unknown domain "BSD"`}},
	})
}

func TestCheckMemoryPolicy(t *testing.T) {
	with := func(mode specs.MemoryPolicyModeType, nodes string, flags ...specs.MemoryPolicyFlagType) func(*specs.Spec) {
		return linux(func(l *specs.Linux) {
			l.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: mode, Nodes: nodes, Flags: flags}
		})
	}
	runChecks(t, []checkCase{
		{"default", with("MPOL_DEFAULT", ""), nil},
		{"bind", with("MPOL_BIND", "0-3,7", "MPOL_F_STATIC_NODES", "MPOL_F_NUMA_BALANCING"), nil},
		{"preferred local", with("MPOL_PREFERRED", ""), nil},
		{"default with nodes", with("MPOL_DEFAULT", "0", "MPOL_F_STATIC_NODES"), []string{
			`linux.memoryPolicy.nodes: must be empty for MPOL_DEFAULT`,
			`linux.memoryPolicy.flags: flags about nodes are not possible with MPOL_DEFAULT`,
		}},
		{"preferred with flags", with("MPOL_PREFERRED", "", "MPOL_F_RELATIVE_NODES"),
			[]string{`linux.memoryPolicy.nodes: required for MPOL_PREFERRED with flags about nodes`}},
		{"no nodes", with("MPOL_INTERLEAVE", ""), []string{`linux.memoryPolicy.nodes: required for MPOL_INTERLEAVE`}},
		{"bad nodes", with("MPOL_BIND", "1024"), []string{`linux.memoryPolicy.nodes: "1024" is above the largest number possible, 1023`}},
		{"no mode", with("", ""), []string{`linux.memoryPolicy.mode: required`}},
		{"mode", with("BIND", "0"), []string{`linux.memoryPolicy.mode: unknown mode "BIND"`}},
		{"flags", with("MPOL_LOCAL", "", "MPOL_F_NUMA_BALANCING", "X"), []string{
			`linux.memoryPolicy.flags[0]: only for MPOL_BIND and MPOL_PREFERRED_MANY`,
			`linux.memoryPolicy.flags[1]: unknown flag "X"`,
		}},
		{"both flags", with("MPOL_BIND", "0", "MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"),
			[]string{`linux.memoryPolicy.flags: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other`}},
	})
}

func TestCheckResources(t *testing.T) {
	with := func(r specs.LinuxResources) func(*specs.Spec) {
		return linux(func(l *specs.Linux) { l.Resources = &r })
	}
	i64, u16 := func(n int64) *int64 { return &n }, func(n uint16) *uint16 { return &n }
	negative := specs.LinuxBlockIODevice{Major: -1, Minor: -2}
	runChecks(t, []checkCase{
		{"good", with(specs.LinuxResources{
			Devices:        []specs.LinuxDeviceCgroup{{Type: "a", Access: "mwr", Major: i64(-1), Minor: i64(-1)}},
			Memory:         &specs.LinuxMemory{Limit: i64(-1), Swap: i64(-1), Swappiness: ptr(uint64(100))},
			CPU:            &specs.LinuxCPU{Shares: ptr(uint64(1)), Idle: i64(1)},
			Pids:           &specs.LinuxPids{Limit: i64(-5)},
			BlockIO:        &specs.LinuxBlockIO{Weight: u16(0), LeafWeight: u16(1000)},
			HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "64KB"}, {Pagesize: "1GB"}},
			Network:        &specs.LinuxNetwork{Priorities: []specs.LinuxInterfacePriority{{Name: "eth0"}}},
			Unified:        map[string]string{"memory.high": "max"},
		}), nil},
		{"device rules", with(specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{
			{Type: "p", Access: "r"}, {Access: ""}, {Access: "rx", Major: i64(-2), Minor: i64(-2)},
		}}), []string{
			`linux.resources.devices[0].type: unknown type "p"; known are a, b and c`,
			`linux.resources.devices[1].access: required`,
			`linux.resources.devices[2].access: "rx" is not made of r, w and m`,
			`linux.resources.devices[2].major: -2 is below -1`,
			`linux.resources.devices[2].minor: -2 is below -1`,
		}},
		{"memory", with(specs.LinuxResources{Memory: &specs.LinuxMemory{
			Limit: i64(-2), Reservation: i64(-2), Swap: i64(-2), Swappiness: ptr(uint64(101)),
		}}), []string{
			`linux.resources.memory.limit: -2 is below -1`,
			`linux.resources.memory.reservation: -2 is below -1`,
			`linux.resources.memory.swap: -2 is below -1`,
			`linux.resources.memory.swappiness: 101 is outside 0 to 100`,
		}},
		{"swap", with(specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: i64(2), Swap: i64(1)}}),
			[]string{`linux.resources.memory.swap: 1 is below the memory limit 2, which it includes`}},
		{"cpu", with(specs.LinuxResources{CPU: &specs.LinuxCPU{Idle: i64(-1), Cpus: "\x00", Mems: "\x00"}}), []string{
			`linux.resources.cpu.idle: -1 is neither 0 nor 1`,
			`linux.resources.cpu.cpus: "\x00" contains NUL`,
			`linux.resources.cpu.mems: "\x00" contains NUL`,
		}},
		{"blockIO", with(specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{
			Weight: u16(9), LeafWeight: u16(1001),
			WeightDevice:            []specs.LinuxWeightDevice{{}, {LinuxBlockIODevice: negative, Weight: u16(1), LeafWeight: u16(2)}},
			ThrottleWriteIOPSDevice: []specs.LinuxThrottleDevice{{LinuxBlockIODevice: negative}},
		}}), []string{
			`linux.resources.blockIO.weight: 9 is outside 10 to 1000`,
			`linux.resources.blockIO.leafWeight: 1001 is outside 10 to 1000`,
			`linux.resources.blockIO.weightDevice[1].major: -1 is below 0`,
			`linux.resources.blockIO.weightDevice[1].minor: -2 is below 0`,
			`linux.resources.blockIO.weightDevice[1].weight: 1 is outside 10 to 1000`,
			`linux.resources.blockIO.weightDevice[1].leafWeight: 2 is outside 10 to 1000`,
			`linux.resources.blockIO.throttleWriteIOPSDevice[0].major: -1 is below 0`,
			`linux.resources.blockIO.throttleWriteIOPSDevice[0].minor: -2 is below 0`,
		}},
		{"page sizes", with(specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{
			{Pagesize: "2M"}, {Pagesize: "../2MB"}, {Pagesize: "02MB"}, {Pagesize: "B"}, {Pagesize: "MB"}, {Pagesize: "0KB"}, {Pagesize: "2TB"},
		}}), []string{
			`linux.resources.hugepageLimits[0].pageSize: "2M" is not a size as 64KB, 2MB or 1GB`,
			`linux.resources.hugepageLimits[1].pageSize: "../2MB" is not a size as 64KB, 2MB or 1GB`,
			`linux.resources.hugepageLimits[2].pageSize: "02MB" is not a size as 64KB, 2MB or 1GB`,
			`linux.resources.hugepageLimits[3].pageSize: "B" is not a size as 64KB, 2MB or 1GB`,
			`linux.resources.hugepageLimits[4].pageSize: "MB" is not a size as 64KB, 2MB or 1GB`,
			`linux.resources.hugepageLimits[5].pageSize: "0KB" is not a size as 64KB, 2MB or 1GB`,
			`linux.resources.hugepageLimits[6].pageSize: "2TB" is not a size as 64KB, 2MB or 1GB`,
		}},
		{"names", with(specs.LinuxResources{
			Network: &specs.LinuxNetwork{Priorities: []specs.LinuxInterfacePriority{{Name: "a:b"}}},
			Rdma:    map[string]specs.LinuxRdma{"": {}},
			Unified: map[string]string{"": "", "..": "", "../x": ""},
		}), []string{
			`linux.resources.network.priorities[0].name: "a:b" is not the name of a network device`,
			`linux.resources.rdma: a key is empty`,
			`linux.resources.unified: "" is not the name of a file in a cgroup`,
			`linux.resources.unified: ".." is not the name of a file in a cgroup`,
			`linux.resources.unified: "../x" is not the name of a file in a cgroup`,
		}},
	})
}

func TestCheckSeccomp(t *testing.T) {
	with := func(s specs.LinuxSeccomp) func(*specs.Spec) {
		return linux(func(l *specs.Linux) { l.Seccomp = &s })
	}
	rules := func(r ...specs.LinuxSyscall) func(*specs.Spec) {
		return with(specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_ERRNO", ListenerPath: "/s", Syscalls: r})
	}
	names := []string{"read"}
	runChecks(t, []checkCase{
		{"empty", with(specs.LinuxSeccomp{}), nil},
		{"good", with(specs.LinuxSeccomp{
			DefaultAction: "SCMP_ACT_ERRNO", DefaultErrnoRet: ptr(uint(4095)), ListenerPath: "/s", ListenerMetadata: "m",
			Architectures: []specs.Arch{"SCMP_ARCH_X86_64", "SCMP_ARCH_RISCV64"},
			Flags:         []specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"},
			Syscalls: []specs.LinuxSyscall{
				{Names: []string{"read", "no_such_call"}, Action: "SCMP_ACT_ALLOW", Args: []specs.LinuxSeccompArg{{Index: 5, Op: "SCMP_CMP_MASKED_EQ"}}},
				{Names: names, Action: "SCMP_ACT_TRACE", ErrnoRet: ptr(uint(65535))},
				{Names: names, Action: "SCMP_ACT_NOTIFY", ErrnoRet: ptr(uint(1))},
			},
		}), nil},
		{"no default", with(specs.LinuxSeccomp{Syscalls: []specs.LinuxSyscall{{Names: names, Action: "SCMP_ACT_LOG"}}}),
			[]string{`linux.seccomp.defaultAction: required`}},
		{"default notify", with(specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_NOTIFY"}),
			[]string{`linux.seccomp.defaultAction: SCMP_ACT_NOTIFY is not possible for every system call`}},
		{"top", with(specs.LinuxSeccomp{
			DefaultAction: "ALLOW", DefaultErrnoRet: ptr(uint(1)), ListenerMetadata: "m",
			Architectures: []specs.Arch{"SCMP_ARCH_X86", "X86", "SCMP_ARCH_SHEB"}, Flags: []specs.LinuxSeccompFlag{"LOG"},
		}), []string{
			`linux.seccomp.defaultAction: unknown action "ALLOW"`,
			`linux.seccomp.architectures[1]: unknown architecture "X86"`,
			`linux.seccomp.architectures[2]: there is no table of the system calls of SCMP_ARCH_SHEB`,
			`linux.seccomp.flags[0]: unknown flag "LOG"`,
			`linux.seccomp.listenerMetadata: not without listenerPath`,
		}},
		{"errno", with(specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_ALLOW", DefaultErrnoRet: ptr(uint(1))}),
			[]string{`linux.seccomp.defaultErrnoRet: not possible with SCMP_ACT_ALLOW; it is for SCMP_ACT_ERRNO and SCMP_ACT_TRACE`}},
		{"listener", with(specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_ALLOW", ListenerPath: "/" + strings.Repeat("x", 106) + "\x00"}), []string{
			`linux.seccomp.listenerPath: "/` + strings.Repeat("x", 79) + `"… contains NUL`,
			`linux.seccomp.listenerPath: 108 bytes, more than the 107 of a socket's address`,
		}},
		{"no listener", with(specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_ALLOW", Syscalls: []specs.LinuxSyscall{{Names: names, Action: "SCMP_ACT_NOTIFY"}}}),
			[]string{`linux.seccomp.listenerPath: required for SCMP_ACT_NOTIFY in syscalls[0]`}},
		{"rules", rules(
			specs.LinuxSyscall{},
			specs.LinuxSyscall{Names: []string{"a", ""}, Action: "X", ErrnoRet: ptr(uint(1))},
			specs.LinuxSyscall{Names: []string{"write"}, Action: "SCMP_ACT_NOTIFY", ErrnoRet: ptr(uint(65536))},
			specs.LinuxSyscall{Names: names, Action: "SCMP_ACT_KILL", ErrnoRet: ptr(uint(1))},
			specs.LinuxSyscall{Names: names, Action: "SCMP_ACT_ERRNO", ErrnoRet: ptr(uint(4096)), Args: []specs.LinuxSeccompArg{
				{Index: 6}, {Op: "EQ"},
			}},
		), []string{
			`linux.seccomp.syscalls[0].names: required`,
			`linux.seccomp.syscalls[0].action: required`,
			`linux.seccomp.syscalls[1].names[1]: the name is empty`,
			`linux.seccomp.syscalls[1].action: unknown action "X"`,
			`linux.seccomp.syscalls[2].names[0]: SCMP_ACT_NOTIFY is not possible for write`,
			`linux.seccomp.syscalls[2].errnoRet: 65536 is more than 65535`,
			`linux.seccomp.syscalls[3].errnoRet: not possible with SCMP_ACT_KILL; it is for SCMP_ACT_ERRNO and SCMP_ACT_TRACE`,
			`linux.seccomp.syscalls[4].errnoRet: 4096 is more than 4095`,
			`linux.seccomp.syscalls[4].args[0].index: 6 is outside 0 to 5: a system call has six arguments`,
			`linux.seccomp.syscalls[4].args[0].op: required`,
			`linux.seccomp.syscalls[4].args[1].op: unknown operator "EQ"`,
		}},
	})
}

func TestWarnings(t *testing.T) {
	spec := goodSpec()
	spec.Process.Capabilities.Ambient = []string{"CAP_KILL", "cap_kill"}
	spec.Mounts = []specs.Mount{{Destination: "/a"}, {Destination: "b"}}
	spec.Linux.Personality = &specs.LinuxPersonality{Domain: "LINUX", Flags: []specs.LinuxPersonalityFlag{"X"}}
	spec.Linux.Resources.CPU = &specs.LinuxCPU{Shares: ptr(uint64(262145))}
	spec.Linux.Resources.Memory = &specs.LinuxMemory{Kernel: ptr(int64(1)), KernelTCP: ptr(int64(1))}
	if err := Check(spec); err != nil {
		t.Errorf("warnings must not be errors: %v", err)
	}
	want := `process.capabilities.ambient[1]: unknown capability "cap_kill", ignored
mounts[1].destination: "b" is not absolute; used as "/b"
linux.personality.flags: ignored: no flags are defined
linux.resources.cpu.shares: 262145 is outside 2 to 262144; cgroup v2 takes the nearest
linux.resources.memory.kernel: ignored: the kernel has no such limit any more
linux.resources.memory.kernelTCP: ignored: cgroup v2 has no such limit`
	if got := strings.Join(Warnings(spec), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := Warnings(&specs.Spec{}); len(got) > 0 {
		t.Errorf("empty: got %q", got)
	}
}
