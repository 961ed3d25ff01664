package namespaces

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
	"tongs/test/inside/report"
)

// mix is a row of the table.
type mix struct {
	name        string
	edits       []linuxtest.Edit
	own         string // namespaces that are not the host's; cgroup is added where the default has it
	uids        string // uid_map
	same        map[string]string
	differences []linuxtest.Difference
	onlyTongs   string
	check       func(t *testing.T, r *report.Report)
}

const (
	identity = "0 0 4294967295"
	shifted  = "0 100000 65536"
)

func TestMixes(t *testing.T) {
	t.Setenv("TONGS_TEST_SECRET", "1")
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		secrets(t)
		for _, list := range [][]mix{shared(), users(), joined(t, h), times(t, h)} {
			rows(t, h, list)
		}
	})
}

func rows(t *testing.T, h *linuxtest.Host, list []mix) {
	t.Helper()
	var rows []linuxtest.Row
	for _, m := range list {
		edits := append([]linuxtest.Edit{linuxtest.Inside("/", "/..", "/proc/1/root", "/proc/keys", "/proc/self/uid_map", "/proc/self/gid_map")}, m.edits...)
		for _, key := range []string{"PID", "PPID", "Session", "Group"} {
			if !strings.Contains(m.own, "pid") || m.same["pid"] != "" {
				m.differences = append(m.differences, linuxtest.Difference{Key: key, Reason: "it is a number among those of others"})
			}
		}
		rows = append(rows, linuxtest.Row{Name: m.name, Edits: edits, Differences: m.differences, OnlyTongs: m.onlyTongs,
			Check: func(t *testing.T, r *report.Report) {
				want := strings.Fields(m.own)
				if h.V2 && !strings.Contains(m.own, "cgroup") {
					want = append([]string{"cgroup"}, want...)
				}
				linuxtest.Equal(t, "own namespaces", linuxtest.OwnNamespaces(t, r), strings.Join(want, " "))
				linuxtest.Equal(t, "uid_map", linuxtest.Words(r.Paths["/proc/self/uid_map"].Content), m.uids)
				linuxtest.Equal(t, "gid_map", linuxtest.Words(r.Paths["/proc/self/gid_map"].Content), strings.ReplaceAll(m.uids, "100000", "200000"))
				linuxtest.Equal(t, "capabilities", r.Capabilities["CapEff"], "0000000020000420")
				for name, link := range m.same {
					linuxtest.Equal(t, "namespace "+name, r.Namespaces[name], link)
				}
				scan(t, linuxtest.Spec(edits...), r)
				if m.check != nil {
					m.check(t, r)
				}
			}})
	}
	h.Rows(t, rows)
}

// shared are mixes in which the container has a namespace of the host's.
func shared() []mix {
	no := linuxtest.WithoutNamespace
	loopback := func(t *testing.T, r *report.Report) { linuxtest.Equal(t, "loopback", r.Loopback, "up") }
	return []mix{
		{name: "all own", own: "ipc mnt net pid uts", uids: identity, check: loopback},
		{name: "host's network", edits: []linuxtest.Edit{no(specs.NetworkNamespace)}, own: "ipc mnt pid uts", uids: identity},
		{name: "host's processes", edits: []linuxtest.Edit{no(specs.PIDNamespace), bare}, own: "ipc mnt net uts", uids: identity},
		{name: "host's messages", edits: []linuxtest.Edit{no(specs.IPCNamespace)}, own: "mnt net pid uts", uids: identity},
		{name: "host's name", edits: []linuxtest.Edit{no(specs.UTSNamespace), func(s *specs.Spec) { s.Hostname = "" }}, own: "ipc mnt net pid", uids: identity},
		{name: "cgroup", edits: []linuxtest.Edit{linuxtest.Namespace(specs.CgroupNamespace, "")}, own: "cgroup ipc mnt net pid uts", uids: identity},
		{name: "only mounts", edits: []linuxtest.Edit{no(specs.NetworkNamespace), no(specs.PIDNamespace), no(specs.IPCNamespace), no(specs.UTSNamespace), bare,
			func(s *specs.Spec) { s.Hostname = "" }}, own: "mnt", uids: identity},
	}
}

// sysMount are the differences where /sys is the host's with all below it.
func sysMount() []linuxtest.Difference {
	return []linuxtest.Difference{{Key: "Mount :sys:fs:cgroup+ source", Reason: "runc 1.1 copies the host's mount of cgroup v2 in a user namespace"},
		{Key: "Mount :sys:fs:cgroup+ options", Reason: "v1: ro is for the directory of the hierarchies, too"}}
}

// users are mixes with a user namespace of the container's own.
func users() []mix {
	no := linuxtest.WithoutNamespace
	return []mix{
		{name: "user", edits: []linuxtest.Edit{mapped}, own: "ipc mnt net pid user uts", uids: shifted, check: func(t *testing.T, r *report.Report) {
			linuxtest.Equal(t, "pid", r.PID, 1)
			linuxtest.Equal(t, "loopback", r.Loopback, "up")
		}},
		{name: "user, host's network", differences: sysMount(), edits: []linuxtest.Edit{mapped, no(specs.NetworkNamespace), shows("/sys")}, own: "ipc mnt pid user uts", uids: shifted},
		{name: "user, host's processes", edits: []linuxtest.Edit{mapped, no(specs.PIDNamespace), bare, shows("/proc")}, own: "ipc mnt net user uts", uids: shifted},
		{name: "user, host's messages", edits: []linuxtest.Edit{mapped, no(specs.IPCNamespace), without("/dev/mqueue")}, own: "mnt net pid user uts", uids: shifted},
		{name: "user, host's name", edits: []linuxtest.Edit{mapped, no(specs.UTSNamespace), func(s *specs.Spec) { s.Hostname = "" }}, own: "ipc mnt net pid user", uids: shifted},
		{name: "user, cgroup", edits: []linuxtest.Edit{mapped, linuxtest.Namespace(specs.CgroupNamespace, "")}, own: "cgroup ipc mnt net pid user uts", uids: shifted},
		{name: "user, two ranges", edits: []linuxtest.Edit{mapped, func(s *specs.Spec) {
			s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 10}, {ContainerID: 10, HostID: 0, Size: 1}}
			s.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 200000, Size: 10}, {ContainerID: 10, HostID: 0, Size: 1}}
		}}, own: "ipc mnt net pid user uts", uids: "0 100000 10 10 0 1"},
	}
}

// joined are mixes with namespaces that are given by path.
func joined(t *testing.T, h *linuxtest.Host) []mix {
	t.Helper()
	plain, user := hold(t, h, "plain"), hold(t, h, "user", mapped)
	link := func(path string) string {
		to, err := os.Readlink(path)
		if err != nil {
			t.Fatal(err)
		}
		return to
	}
	net := filepath.Join(h.Dir, "net")
	pin(t, plain("net"), net)
	join := func(ns func(string) string, kinds ...specs.LinuxNamespaceType) (edits []linuxtest.Edit, same map[string]string) {
		same = map[string]string{}
		for _, k := range kinds {
			file := map[specs.LinuxNamespaceType]string{specs.PIDNamespace: "pid", specs.NetworkNamespace: "net", specs.IPCNamespace: "ipc",
				specs.UTSNamespace: "uts", specs.UserNamespace: "user", specs.CgroupNamespace: "cgroup", specs.MountNamespace: "mnt"}[k]
			edits = append(edits, linuxtest.Namespace(k, ns(file)))
			same[file] = link(ns(file))
		}
		return edits, same
	}
	row := func(name, own, uids string, ns func(string) string, kinds []specs.LinuxNamespaceType, more ...linuxtest.Edit) mix {
		edits, same := join(ns, kinds...)
		return mix{name: name, edits: append(more, edits...), own: own, uids: uids, same: same}
	}
	kinds := func(list ...specs.LinuxNamespaceType) []specs.LinuxNamespaceType { return list }
	noName := func(s *specs.Spec) { s.Hostname = "" }
	pod := kinds(specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace)
	list := []mix{
		{name: "pinned network", edits: []linuxtest.Edit{linuxtest.Namespace(specs.NetworkNamespace, net)}, own: "ipc mnt net pid uts", uids: identity,
			same: map[string]string{"net": link(plain("net"))}},
		row("pod", "ipc mnt net pid uts", identity, plain, pod),
		row("pod with a name", "ipc mnt net pid uts", identity, plain, append(pod, specs.UTSNamespace), noName),
		row("cgroup namespace", "cgroup ipc mnt net pid uts", identity, hold(t, h, "cgroup", linuxtest.Namespace(specs.CgroupNamespace, "")), kinds(specs.CgroupNamespace)),
		row("mount namespace", "ipc mnt net pid uts", identity, hold(t, h, "mounts"), kinds(specs.MountNamespace)),
		row("user namespace, the rest new", "ipc mnt net pid user uts", shifted, user, kinds(specs.UserNamespace), mapped),
		row("pod with a user namespace", "ipc mnt net pid user uts", shifted, user, append(pod, specs.UserNamespace), mapped),
		row("user namespace of one's own, pod's network", "ipc mnt net pid user uts", shifted, plain, kinds(specs.NetworkNamespace), mapped, shows("/sys")),
	}
	list[len(list)-1].differences = sysMount()
	list[4].onlyTongs = "runc needs the host's /proc in the namespace"
	list[3].differences = []linuxtest.Difference{{Key: "Mount :sys:fs:cgroup:* root", Reason: "v1: the container's own cgroup; with runc that of the namespace's"}}
	return list
}

// times are mixes with a time namespace.
func times(t *testing.T, h *linuxtest.Host) []mix {
	t.Helper()
	const no = "1.1 has no time namespaces"
	offsets := func(s *specs.Spec) {
		linuxtest.Namespace(specs.TimeNamespace, "")(s)
		s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"monotonic": {Secs: 1000, Nanosecs: 5}, "boottime": {Secs: -1}}
		s.Process.Args = append(s.Process.Args, "/proc/self/timens_offsets")
	}
	check := func(t *testing.T, r *report.Report) {
		linuxtest.Equal(t, "offsets", linuxtest.Words(r.Paths["/proc/self/timens_offsets"].Content), "monotonic 1000 5 boottime -1 0")
	}
	holder := hold(t, h, "time", offsets)
	join := func(s *specs.Spec) {
		linuxtest.Namespace(specs.TimeNamespace, holder("time"))(s)
		s.Process.Args = append(s.Process.Args, "/proc/self/timens_offsets")
	}
	return []mix{
		{name: "time", edits: []linuxtest.Edit{offsets}, own: "ipc mnt net pid time uts", uids: identity, onlyTongs: no, check: check},
		{name: "time, user", edits: []linuxtest.Edit{mapped, offsets}, own: "ipc mnt net pid time user uts", uids: shifted, onlyTongs: no, check: check},
		{name: "time, host's processes", edits: []linuxtest.Edit{offsets, linuxtest.WithoutNamespace(specs.PIDNamespace), bare}, own: "ipc mnt net time uts", uids: identity,
			onlyTongs: no, check: check},
		{name: "time joined", edits: []linuxtest.Edit{join}, own: "ipc mnt net pid time uts", uids: identity, onlyTongs: no, check: check},
		{name: "time joined, user", edits: []linuxtest.Edit{mapped, join}, own: "ipc mnt net pid time user uts", uids: shifted, onlyTongs: no, check: check},
	}
}
