package bundle

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// linux makes a change of a configuration from one of its linux section.
func linux(f func(l *specs.Linux)) func(*specs.Spec) {
	return func(s *specs.Spec) { f(s.Linux) }
}

func TestCheckNamespaces(t *testing.T) {
	add := func(ns ...specs.LinuxNamespace) func(*specs.Spec) {
		return linux(func(l *specs.Linux) { l.Namespaces = append(l.Namespaces, ns...) })
	}
	runChecks(t, []checkCase{
		{"path with a comma", linux(func(l *specs.Linux) { l.Namespaces[0].Path = "/a,b" }), nil},
		{"duplicate", add(specs.LinuxNamespace{Type: "pid", Path: "/x"}, specs.LinuxNamespace{Type: "pid"}), []string{
			`linux.namespaces[8].type: namespace "pid" is given twice`,
			`linux.namespaces[9].type: namespace "pid" is given twice`,
		}},
		{"unknown", add(specs.LinuxNamespace{Type: "net"}, specs.LinuxNamespace{}), []string{
			`linux.namespaces[8].type: unknown namespace "net"`,
			`linux.namespaces[9].type: required`,
		}},
		{"paths", linux(func(l *specs.Linux) { l.Namespaces[0].Path, l.Namespaces[1].Path = "x", "/\x00" }), []string{
			`linux.namespaces[0].path: "x" is not an absolute path`,
			`linux.namespaces[1].path: "/\x00" contains NUL`,
		}},
	})
}

func TestCheckMappings(t *testing.T) {
	uid := func(m ...specs.LinuxIDMapping) func(*specs.Spec) {
		return linux(func(l *specs.Linux) { l.UIDMappings = m })
	}
	runChecks(t, []checkCase{
		{"whole range", uid(specs.LinuxIDMapping{Size: 1<<32 - 1}), nil},
		{"neighbours", uid(
			specs.LinuxIDMapping{ContainerID: 0, HostID: 20, Size: 10},
			specs.LinuxIDMapping{ContainerID: 10, HostID: 10, Size: 10},
		), nil},
		{"no namespace", func(s *specs.Spec) { without(s, specs.UserNamespace) }, []string{
			`linux.uidMappings: needs a user namespace in linux.namespaces`,
			`linux.gidMappings: needs a user namespace in linux.namespaces`,
		}},
		{"no mappings", linux(func(l *specs.Linux) { l.UIDMappings, l.GIDMappings = nil, nil }), []string{
			`linux.uidMappings: required for a new user namespace`,
			`linux.gidMappings: required for a new user namespace`,
		}},
		{"no mappings for a path", linux(func(l *specs.Linux) {
			l.UIDMappings, l.GIDMappings = nil, nil
			l.Namespaces[6].Path = "/proc/1/ns/user"
		}), nil},
		{"no size", uid(specs.LinuxIDMapping{ContainerID: 1}), []string{`linux.uidMappings[0].size: must be above 0`}},
		{"overflow", uid(
			specs.LinuxIDMapping{ContainerID: 1, Size: 1<<32 - 1},
			specs.LinuxIDMapping{HostID: 1<<32 - 2, Size: 2},
		), []string{
			`linux.uidMappings[0]: ids 1+4294967295 in the container run past 4294967294`,
			`linux.uidMappings[1]: ids 4294967294+2 on the host run past 4294967294`,
		}},
		{"overlap", uid(
			specs.LinuxIDMapping{ContainerID: 5, HostID: 100, Size: 5},
			specs.LinuxIDMapping{ContainerID: 0, HostID: 104, Size: 6},
		), []string{
			`linux.uidMappings[1]: overlaps entry 0 in the container`,
			`linux.uidMappings[1]: overlaps entry 0 on the host`,
		}},
		{"too long", uid(many(300)...), []string{`linux.uidMappings: 7200 bytes as the kernel reads them, which takes less than 4096`}},
		{"too many", uid(make([]specs.LinuxIDMapping, 341)...),
			[]string{`linux.uidMappings: 341 entries, more than the kernel's limit of 340`}},
	})
}

func TestCheckTimeOffsets(t *testing.T) {
	with := func(offsets map[string]specs.LinuxTimeOffset) func(*specs.Spec) {
		return linux(func(l *specs.Linux) { l.TimeOffsets = offsets })
	}
	good := map[string]specs.LinuxTimeOffset{"monotonic": {Secs: -1, Nanosecs: 999999999}, "boottime": {Secs: 1 << 40}}
	runChecks(t, []checkCase{
		{"good", with(good), nil},
		{"bad", with(map[string]specs.LinuxTimeOffset{"realtime": {}, "boottime": {Nanosecs: 1e9}}), []string{
			`linux.timeOffsets.boottime.nanosecs: 1000000000 is more than 999999999`,
			`linux.timeOffsets.realtime: unknown clock "realtime"`,
		}},
		{"no namespace", func(s *specs.Spec) { with(good)(s); without(s, specs.TimeNamespace) },
			[]string{`linux.timeOffsets: needs a time namespace in linux.namespaces`}},
		{"joined", linux(func(l *specs.Linux) { l.TimeOffsets = good; l.Namespaces[7].Path = "/t" }),
			[]string{`linux.timeOffsets: cannot be set in a time namespace that is joined by path`}},
	})
}

func TestCheckSysctl(t *testing.T) {
	with := func(pairs ...string) func(*specs.Spec) {
		return linux(func(l *specs.Linux) {
			l.Sysctl = make(map[string]string)
			for i := 0; i < len(pairs); i += 2 {
				l.Sysctl[pairs[i]] = pairs[i+1]
			}
		})
	}
	all := []string{
		"kernel.msgmax", "1", "kernel.sem", "1 2 3 4", "kernel/shm_rmid_forced", "1", "fs.mqueue.msg_max", "1",
		"net.ipv4.conf.eno2/100.forwarding", "1", "kernel.domainname", "d", "user.max_net_namespaces", "1",
	}
	const host = "not allowed: it belongs to no namespace, so it would change the host"
	runChecks(t, []checkCase{
		{"allowed", with(all...), nil},
		{"same twice", with("net.ipv4.ip_forward", "1", "net/ipv4/ip_forward", "1"), nil},
		{"no namespaces", func(s *specs.Spec) {
			with(all...)(s)
			s.Hostname = ""
			for _, kind := range []specs.LinuxNamespaceType{"ipc", "network", "uts", "user"} {
				without(s, kind)
			}
			s.Linux.UIDMappings, s.Linux.GIDMappings = nil, nil
		}, []string{
			`linux.sysctl["fs.mqueue.msg_max"]: needs a namespace of type "ipc" in linux.namespaces`,
			`linux.sysctl["kernel.domainname"]: needs a namespace of type "uts" in linux.namespaces`,
			`linux.sysctl["kernel.msgmax"]: needs a namespace of type "ipc" in linux.namespaces`,
			`linux.sysctl["kernel.sem"]: needs a namespace of type "ipc" in linux.namespaces`,
			`linux.sysctl["kernel/shm_rmid_forced"]: needs a namespace of type "ipc" in linux.namespaces`,
			`linux.sysctl["net.ipv4.conf.eno2/100.forwarding"]: needs a namespace of type "network" in linux.namespaces`,
			`linux.sysctl["user.max_net_namespaces"]: needs a namespace of type "user" in linux.namespaces`,
		}},
		{"the host's", with("kernel.core_pattern", "|/x", "kernel.hostname", "h", "vm.swappiness", "1", "networks.x", "1", "net", "1"), []string{
			`linux.sysctl["kernel.core_pattern"]: ` + host,
			`linux.sysctl["kernel.hostname"]: not allowed; use the field hostname`,
			`linux.sysctl.net: ` + host,
			`linux.sysctl["networks.x"]: ` + host,
			`linux.sysctl["vm.swappiness"]: ` + host,
		}},
		{"leaving", with("net/../kernel/core_pattern", "", "net.//.kernel.core_pattern", "", "net..x", "", "net/./x", "", "", "", "net.x y", "", "net.x\n", ""), []string{
			`linux.sysctl: "" is not the name of a sysctl`,
			`linux.sysctl: "net..x" is not the name of a sysctl`,
			`linux.sysctl: "net.//.kernel.core_pattern" is not the name of a sysctl`,
			`linux.sysctl: "net.x\n" is not the name of a sysctl`,
			`linux.sysctl: "net.x y" is not the name of a sysctl`,
			`linux.sysctl: "net/../kernel/core_pattern" is not the name of a sysctl`,
			`linux.sysctl: "net/./x" is not the name of a sysctl`,
		}},
		{"values", with("net.a", "1\n2", "net.b", "\x00"), []string{
			`linux.sysctl["net.a"]: value contains a newline or NUL`,
			`linux.sysctl["net.b"]: value contains a newline or NUL`,
		}},
		{"contradiction", with("net.ipv4.ip_forward", "1", "net/ipv4/ip_forward", "0"),
			[]string{`linux.sysctl["net/ipv4/ip_forward"]: contradicts "net.ipv4.ip_forward", another spelling of it`}},
	})
}

func TestSysctlPath(t *testing.T) {
	for name, want := range map[string]string{
		"net.ipv4.ip_forward":               "net/ipv4/ip_forward",
		"net/ipv4/ip_forward":               "net/ipv4/ip_forward",
		"net.ipv4.conf.eno2/100.forwarding": "net/ipv4/conf/eno2.100/forwarding",
		"net/ipv4/conf/eno2.100/forwarding": "net/ipv4/conf/eno2.100/forwarding",
		"kernel":                            "kernel",
	} {
		if got, err := SysctlPath(name); got != want || err != nil {
			t.Errorf("%q: got %q, %v, want %q", name, got, err, want)
		}
	}
}

// many are mappings of ten-digit ids.
func many(n uint32) (list []specs.LinuxIDMapping) {
	for i := range n {
		list = append(list, specs.LinuxIDMapping{ContainerID: 3000000000 + i, HostID: 2000000000 + i, Size: 1})
	}
	return list
}
