package config

import (
	"fmt"
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
	"tongs/test/inside/report"
)

func TestHostname(t *testing.T) {
	each(t, linuxtest.One(t), []row{
		{name: "host name", edits: edit(func(s *specs.Spec) { s.Hostname = "some-name.example" }),
			check: func(t *testing.T, r *report.Report) { linuxtest.Equal(t, "hostname", r.Hostname, "some-name.example") }},
		{name: "none", edits: edit(func(s *specs.Spec) { s.Hostname = "" })},
		{name: "longest", edits: edit(func(s *specs.Spec) { s.Hostname = strings.Repeat("h", 64) })},
		{name: "domain name", edits: edit(func(s *specs.Spec) { s.Domainname = "example.org" }),
			check:     func(t *testing.T, r *report.Report) { linuxtest.Equal(t, "domain name", r.Domainname, "example.org") },
			onlyTongs: "1.1 does not know the field"},
	})
}

func device(path, kind string, major, minor int64, mode os.FileMode, uid, gid uint32) linuxtest.Edit {
	return func(s *specs.Spec) {
		d := specs.LinuxDevice{Path: path, Type: kind, Major: major, Minor: minor, UID: &uid, GID: &gid}
		if mode != 0 {
			d.FileMode = &mode
		}
		s.Linux.Devices = append(s.Linux.Devices, d)
	}
}

func allow(kind string, major, minor int64, access string) linuxtest.Edit {
	return func(s *specs.Spec) {
		s.Linux.Resources.Devices = append(s.Linux.Resources.Devices, specs.LinuxDeviceCgroup{Allow: true, Type: kind, Major: &major, Minor: &minor, Access: access})
	}
}

func TestDevices(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		each(t, h, []row{
			{name: "character", edits: []linuxtest.Edit{linuxtest.Inside("/dev/mine"), device("/dev/mine", "c", 1, 5, 0o640, 7, 8), allow("c", 1, 5, "rw")},
				check: func(t *testing.T, r *report.Report) {
					p := r.Paths["/dev/mine"]
					linuxtest.Equal(t, "node", p.Type+" "+p.Device+" "+p.Mode+" "+p.Owner, "c 1:5 0640 7:8")
				}},
			{name: "directory is made", edits: []linuxtest.Edit{linuxtest.Inside("/dev/a/b/mine", "/dev/a"), device("/dev/a/b/mine", "c", 1, 3, 0o666, 0, 0)}},
			{name: "block", edits: []linuxtest.Edit{linuxtest.Inside("/dev/disk"), device("/dev/disk", "b", 7, 200, 0o600, 0, 0)},
				check: func(t *testing.T, r *report.Report) {
					linuxtest.Equal(t, "node", r.Paths["/dev/disk"].Type+" "+r.Paths["/dev/disk"].Device, "b 7:200")
				}},
			{name: "FIFO", edits: []linuxtest.Edit{linuxtest.Inside("/dev/fifo"), device("/dev/fifo", "p", 0, 0, 0o622, 1, 2)},
				check: func(t *testing.T, r *report.Report) { linuxtest.Equal(t, "type", r.Paths["/dev/fifo"].Type, "p") }},
			{name: "denied by the cgroup", edits: []linuxtest.Edit{linuxtest.Inside("/dev/log", "/dev/null"), device("/dev/log", "c", 1, 11, 0o666, 0, 0)},
				check: func(t *testing.T, r *report.Report) {
					linuxtest.Equal(t, "reading", r.Paths["/dev/log"].ReadError, "operation not permitted")
					linuxtest.Equal(t, "writing", r.Paths["/dev/log"].WriteError, "operation not permitted")
					linuxtest.Equal(t, "null", r.Paths["/dev/null"].ReadError+r.Paths["/dev/null"].WriteError, "")
				}},
			{name: "write only", edits: []linuxtest.Edit{linuxtest.Inside("/dev/log"), device("/dev/log", "c", 1, 11, 0o666, 0, 0), allow("c", 1, 11, "w")},
				check: func(t *testing.T, r *report.Report) {
					linuxtest.Equal(t, "reading", r.Paths["/dev/log"].ReadError, "operation not permitted")
					linuxtest.Equal(t, "writing", r.Paths["/dev/log"].WriteError, "")
				}},
			{name: "all allowed", edits: []linuxtest.Edit{linuxtest.Inside("/dev/log"), device("/dev/log", "c", 1, 11, 0o666, 0, 0), func(s *specs.Spec) {
				s.Linux.Resources.Devices[0].Allow = true
			}}, check: func(t *testing.T, r *report.Report) {
				linuxtest.Equal(t, "writing", r.Paths["/dev/log"].WriteError, "")
			}},
			{name: "no resources", edits: []linuxtest.Edit{linuxtest.Inside("/dev/log"), device("/dev/log", "c", 1, 11, 0o666, 0, 0), func(s *specs.Spec) {
				s.Linux.Resources = nil
			}}},
			{name: "mode of its own for null", edits: []linuxtest.Edit{linuxtest.Inside("/dev/null"), device("/dev/null", "c", 1, 3, 0o600, 0, 0)},
				check:     func(t *testing.T, r *report.Report) { linuxtest.Equal(t, "mode", r.Paths["/dev/null"].Mode, "0600") },
				onlyTongs: "1.1 cannot open it then"},
		})
	})
}

func TestSysctl(t *testing.T) {
	values := map[string]string{"net.ipv4.ip_forward": "1", "kernel.msgmax": "12345", "kernel.shm_rmid_forced": "1", "net/ipv4/ip_default_ttl": "77", "fs.mqueue.msg_max": "17"}
	each(t, linuxtest.One(t), []row{{name: "several", edits: []linuxtest.Edit{
		linuxtest.Inside("/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/msgmax", "/proc/sys/kernel/shm_rmid_forced", "/proc/sys/net/ipv4/ip_default_ttl", "/proc/sys/fs/mqueue/msg_max"),
		func(s *specs.Spec) { s.Linux.Sysctl = values },
	}, check: func(t *testing.T, r *report.Report) {
		for name, want := range values {
			path := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
			linuxtest.Equal(t, name, strings.TrimSpace(r.Paths[path].Content), want)
		}
	}}})
}

func TestNamespacesOfTheHost(t *testing.T) {
	var rows []row
	for _, c := range []struct {
		kind  specs.LinuxNamespaceType
		file  string
		edits []linuxtest.Edit
	}{
		{specs.PIDNamespace, "pid", nil},
		{specs.NetworkNamespace, "net", edit(func(s *specs.Spec) {
			for i := range s.Mounts { // sysfs belongs to the network namespace
				if s.Mounts[i].Destination == "/sys" {
					s.Mounts[i] = specs.Mount{Destination: "/sys", Type: "bind", Source: "/sys", Options: []string{"rbind", "ro"}}
				}
			}
			s.Mounts = s.Mounts[:len(s.Mounts)-1]
		})},
		{specs.IPCNamespace, "ipc", nil},
		{specs.UTSNamespace, "uts", edit(func(s *specs.Spec) { s.Hostname = "" })},
	} {
		rows = append(rows, row{name: string(c.kind), edits: append(c.edits, linuxtest.WithoutNamespace(c.kind)),
			check: func(t *testing.T, r *report.Report) {
				linuxtest.Equal(t, c.file, r.Namespaces[c.file], hostNamespace(t, c.file))
			}, differences: differencesOfTheHost(c.kind)})
	}
	rows = append(rows, row{name: "cgroup of its own", edits: []linuxtest.Edit{linuxtest.Namespace(specs.CgroupNamespace, "")},
		check: func(t *testing.T, r *report.Report) {
			if r.Namespaces["cgroup"] == hostNamespace(t, "cgroup") {
				t.Error("it is the host's")
			}
			for _, line := range r.Cgroup {
				if !strings.HasSuffix(line, ":/") {
					t.Errorf("the cgroup is not the root of the namespace: %s", line)
				}
			}
		}})
	each(t, linuxtest.One(t), rows)
}

func differencesOfTheHost(kind specs.LinuxNamespaceType) []difference {
	switch kind {
	case specs.PIDNamespace:
	case specs.NetworkNamespace:
		return []difference{{"Mount :sys options", "flags that the host's /sys has stay"}}
	default:
		return nil
	}
	return []difference{{"PID", "a number of the host's"}, {"PPID", "the same"}, {"Session", "the same"}, {"Group", "the same"}}
}

// A container joins namespaces of another one, as those of a pod do.
func TestNamespacesJoined(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		first := h.ID("first")
		h.Must("run", "--detach", "--bundle", h.Bundle(linuxtest.Args("/bin/sleep", "1000"), linuxtest.Namespace(specs.CgroupNamespace, "")), first)
		st, _ := h.State(first)
		each(t, h, joinRows(t, st.PID))
		h.Must("delete", "--force", first)
	})
}

func joinRows(t *testing.T, pid int) []row {
	files := map[specs.LinuxNamespaceType]string{specs.NetworkNamespace: "net", specs.IPCNamespace: "ipc", specs.UTSNamespace: "uts", specs.CgroupNamespace: "cgroup"}
	var rows []row
	var all []linuxtest.Edit
	for kind, file := range files {
		path := fmt.Sprintf("/proc/%d/ns/%s", pid, file)
		link, err := os.Readlink(path)
		if err != nil {
			t.Fatal(err)
		}
		join := linuxtest.Namespace(kind, path)
		all = append(all, join)
		rows = append(rows, row{name: string(kind), edits: []linuxtest.Edit{join}, check: func(t *testing.T, r *report.Report) {
			linuxtest.Equal(t, file, r.Namespaces[file], link)
		}, differences: otherCgroup()})
	}
	all = append(all, func(s *specs.Spec) { s.Hostname = "" })
	return append(rows, row{name: "all", edits: all, check: func(t *testing.T, r *report.Report) {
		linuxtest.Equal(t, "hostname", r.Hostname, "e2e")
	}, differences: otherCgroup()})
}

func otherCgroup() []difference {
	return []difference{{"Mount :sys:fs:cgroup:* root", "v1: the container sees its own cgroup; with runc that of the one whose namespace it has joined"}}
}

func TestNamespacePathIsWrong(t *testing.T) {
	h := linuxtest.One(t)
	for name, path := range map[string]string{"missing": "/proc/1/ns/nothing", "another kind": "/proc/self/ns/uts", "file": "/etc/passwd"} {
		r := h.Run("run", "--bundle", h.Bundle(linuxtest.Namespace(specs.NetworkNamespace, path)), h.ID("a"))
		if r.Status != 1 || !strings.Contains(r.Stderr, "linux.namespaces[") || !strings.Contains(r.Stderr, path) {
			t.Errorf("%s: status %d, stderr %s", name, r.Status, r.Stderr)
		}
	}
}
