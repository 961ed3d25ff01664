package cgroup

import (
	"reflect"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestInner(t *testing.T) {
	for name, c := range map[string]struct{ path, want string }{
		"empty":                  {"", "id"},
		"relative":               {"a/b", "a/b"},
		"absolute":               {"/a/b/", "/a/b"},
		"relative, climbing":     {"../../a", "a"},
		"absolute, climbing":     {"/../../a", "/a"},
		"climbing in the middle": {"a/../../../b", "b"},
	} {
		if got := inner(c.path, "id"); got != c.want {
			t.Errorf("%s: inner(%q) = %q, want %q", name, c.path, got, c.want)
		}
	}
}

func TestParseMounts(t *testing.T) {
	const text = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 /docker/x /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:1 - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
42 31 0:38 / /mnt/v2 rw,relatime - cgroup2 cgroup2 rw
43 31 0:39 / /mnt/mem\040ory rw,relatime - cgroup cgroup rw,memory
`
	want := []mount{
		{names: []string{"cpu", "cpuacct"}, point: "/sys/fs/cgroup/cpu,cpuacct", root: "/docker/x"},
		{names: []string{"name=systemd"}, point: "/sys/fs/cgroup/systemd", root: "/"},
		{names: []string{""}, point: "/sys/fs/cgroup/unified", root: "/"},
	}
	if got := parseMounts(text); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := unescape(`/a\040b\134c`); got != `/a b\c` {
		t.Errorf("unescape: got %q", got)
	}
}

func TestParseOwnCgroups(t *testing.T) {
	got, err := parseOwnCgroups("3:cpu,cpuacct:/a:b\n1:name=systemd:/s\n0::/u\n")
	want := map[string]string{"cpu": "/a:b", "cpuacct": "/a:b", "name=systemd": "/s", "": "/u"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if _, err := parseOwnCgroups("nonsense\n"); err == nil {
		t.Error("a line without colons was accepted")
	}
}

func TestLoadRefusesForeignPaths(t *testing.T) {
	for _, dir := range []string{"", "/", "/etc", "/sys/fs/cgroup", "/sys/fs/cgroup/../../../etc", "/sys/fs/cgroup/a/", "a"} {
		if _, err := Load(map[string]string{"": dir}, false); err == nil {
			t.Errorf("Load accepted %q", dir)
		}
	}
	paths := map[string]string{"cpu": "/sys/fs/cgroup/cpu,cpuacct/a", "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/a", "": "/sys/fs/cgroup/unified/a"}
	g, err := Load(paths, false)
	if err != nil {
		t.Fatal(err)
	}
	if got := g.Paths(); !reflect.DeepEqual(got, paths) {
		t.Errorf("Paths: got %q, want %q", got, paths)
	}
	if g.Unified() {
		t.Error("hybrid paths were taken for cgroup v2")
	}
	if h := g.Hierarchies(); len(h) != 2 || h[1].Mountpoint != "/sys/fs/cgroup/cpu,cpuacct" {
		t.Errorf("Hierarchies: got %+v", h)
	}
}

func TestDisabled(t *testing.T) {
	limit := int64(1 << 20)
	for _, c := range []struct {
		linux specs.Linux
		want  string // the error's begin
	}{
		{specs.Linux{}, ""},
		{specs.Linux{Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"}}}}, ""},
		{specs.Linux{CgroupsPath: "/a"}, "linux.cgroupsPath: there is no cgroup"},
		{specs.Linux{Resources: &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}}, "linux.resources: there are no limits"},
	} {
		g, err := New(&specs.Spec{Linux: &c.linux}, Options{ID: "id", Disabled: true})
		switch {
		case c.want == "" && (err != nil || len(g.Hierarchies()) != 0 || len(g.Paths()) != 0):
			t.Errorf("%+v: %v, %+v", c.linux, err, g)
		case c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)):
			t.Errorf("%+v: got %v, want %s", c.linux, err, c.want)
		}
	}
}

func TestNewRefusesBadPaths(t *testing.T) {
	for name, c := range map[string]struct {
		path    string
		systemd bool
		want    string
	}{
		"root":                {"/", false, "is the root of all cgroups"},
		"NUL":                 {"a\x00b", false, "NUL"},
		"systemd, fs form":    {"/a/b", true, "slice:prefix:name"},
		"systemd, two parts":  {"a:b", true, "slice:prefix:name"},
		"systemd, no slice":   {"a:b:c", true, "not the name of a slice"},
		"systemd, path parts": {"a.slice:b:../c", true, "slice:prefix:name"},
	} {
		spec := &specs.Spec{Linux: &specs.Linux{CgroupsPath: c.path}}
		_, err := New(spec, Options{ID: "id", Systemd: c.systemd})
		if err == nil || !strings.HasPrefix(err.Error(), "linux.cgroupsPath: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want one with %q", name, err, c.want)
		}
	}
}
