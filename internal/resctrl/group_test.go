package resctrl

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// fake imitates the file system in a directory: a group has its files at once,
// and goes with them. It has room for so many groups.
func fake(t *testing.T, room int) (root string, fs fileSystem) {
	t.Helper()
	root = t.TempDir()
	fill := func(dir string) error {
		for _, d := range []string{"mon_groups", "mon_data/mon_L3_00", "mon_data/mon_L3_01"} {
			if strings.Contains(dir, "/mon_groups/") && d == "mon_groups" {
				continue
			}
			if err := os.MkdirAll(dir+"/"+d, 0o755); err != nil {
				return err
			}
		}
		return errors.Join(os.WriteFile(dir+"/tasks", nil, 0o644), os.WriteFile(dir+"/schemata", []byte(""), 0o644))
	}
	if err := fill(root); err != nil {
		t.Fatal(err)
	}
	put(t, root, map[string]string{"schemata": "    L3:0=fffff;1=fffff\n    MB:0= 100;1= 100\n", "info/L3/cbm_mask": "fffff\n", "info/L3/min_cbm_bits": "1\n", "info/L3/num_closids": "16\n",
		"info/MB/bandwidth_gran": "10\n", "info/MB/min_bandwidth": "10\n", "info/MB/delay_linear": "1\n", "info/MB/num_closids": "8\n",
		"info/L3_MON/mon_features": "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n", "info/last_cmd_status": "ok\n"})
	return root, fileSystem{
		mkdir: func(dir string) error {
			if room--; room < 0 {
				return unix.ENOSPC
			}
			if err := unix.Mkdir(dir, 0o755); err != nil {
				return err
			}
			return fill(dir)
		},
		rmdir: func(dir string) error {
			if err := unix.Access(dir, unix.F_OK); err != nil {
				return err
			}
			return os.RemoveAll(dir)
		},
	}
}

func put(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func is(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// make goes the way of a container: New, Create, Join.
func makeGroup(t *testing.T, root string, fs fileSystem, rdt *specs.LinuxIntelRdt) *Group {
	t.Helper()
	g, err := New(root, "c1", rdt)
	if err != nil {
		t.Fatal(err)
	}
	g.fs = fs
	owned := g.Owned()
	if err := g.Create(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(owned, g.made) {
		t.Errorf("announced %q, made %q", owned, g.made)
	}
	if err := g.Join(4711); err != nil {
		t.Fatal(err)
	}
	return g
}

// Every combination of closID with what follows from it.
func TestGroups(t *testing.T) {
	schema := specs.LinuxIntelRdt{L3CacheSchema: "L3:0=ff;1=f", MemBwSchema: "MB:0=20;1=70", Schemata: []string{"L2:0=1", "MB:1=30"}}
	const written = "L3:0=ff;1=f\nMB:0=20;1=70\nL2:0=1\nMB:1=30\n"
	for _, c := range []struct {
		name, closID, dir, schemata string
		plain, there, monitor       bool
		owned                       []string
	}{
		{name: "named by the container", dir: "/c1", schemata: written, owned: []string{"/c1"}},
		{name: "named by the container, nothing to write", plain: true, dir: "/c1", owned: []string{"/c1"}},
		{name: "named by the container, left over", there: true, dir: "/c1", schemata: written},
		{name: "new class", closID: "gold", dir: "/gold", schemata: written},
		{name: "class that exists", closID: "gold", plain: true, there: true, dir: "/gold"},
		{name: "default class", closID: "/", plain: true, dir: "", schemata: "    L3:0=fffff;1=fffff\n    MB:0= 100;1= 100\n"},
		{name: "monitored", monitor: true, dir: "/c1", schemata: written, owned: []string{"/c1", "/c1/mon_groups/c1"}},
		{name: "new class, monitored", monitor: true, closID: "gold", dir: "/gold", schemata: written, owned: []string{"/gold/mon_groups/c1"}},
		{name: "default class, monitored", monitor: true, closID: "/", plain: true, schemata: "    L3:0=fffff;1=fffff\n    MB:0= 100;1= 100\n", owned: []string{"/mon_groups/c1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root, fs := fake(t, 9)
			rdt := schema
			if c.plain {
				rdt = specs.LinuxIntelRdt{}
			}
			rdt.ClosID, rdt.EnableMonitoring = c.closID, c.monitor
			if c.there {
				if err := fs.mkdir(root + c.dir); err != nil {
					t.Fatal(err)
				}
			}
			g := makeGroup(t, root, fs, &rdt)
			is(t, "directory", g.Dir(), root+c.dir)
			is(t, "schemata", read(t, g.Dir()+"/schemata"), c.schemata)
			is(t, "tasks", read(t, g.Dir()+"/tasks"), "4711")
			if c.monitor {
				is(t, "tasks of the monitoring group", read(t, g.Dir()+"/mon_groups/c1/tasks"), "4711")
			}
			var owned []string
			for _, d := range g.OwnedAfter() {
				owned = append(owned, strings.TrimPrefix(d, root))
			}
			if !slices.Equal(owned, c.owned) {
				t.Errorf("owned %q, want %q", owned, c.owned)
			}
			for range 2 { // and again, as by a second delete
				if err := remove(g.OwnedAfter(), fs); err != nil {
					t.Error(err)
				}
			}
			for _, d := range c.owned {
				if _, err := os.Stat(root + d); err == nil {
					t.Errorf("%s is still there", d)
				}
			}
			if len(c.owned) == 0 || c.owned[0] != c.dir {
				if _, err := os.Stat(root + c.dir); err != nil {
					t.Errorf("the group is gone: %v", err)
				}
			}
		})
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// A class that exists has to have the schemas that are asked for, in whatever
// form they are written.
func TestCompare(t *testing.T) {
	for _, c := range []struct {
		rdt  specs.LinuxIntelRdt
		want string
	}{
		{specs.LinuxIntelRdt{L3CacheSchema: "L3:0=00ff;1=F0", MemBwSchema: "MB:0=20"}, ""},
		{specs.LinuxIntelRdt{L3CacheSchema: "L3:1=0xf0"}, ""},
		{specs.LinuxIntelRdt{Schemata: []string{"L3:0=ff", "MB:0=20;1=100"}}, ""},
		{specs.LinuxIntelRdt{L3CacheSchema: "L3:0=f"}, `linux.intelRdt.l3CacheSchema: group "ROOT/gold" exists and has another schema: L3 of domain 0 is "ff", not "f"`},
		{specs.LinuxIntelRdt{MemBwSchema: "MB:0=14"}, `linux.intelRdt.memBwSchema: group "ROOT/gold" exists and has another schema: MB of domain 0 is "20", not "14"`},
		{specs.LinuxIntelRdt{Schemata: []string{"L3:0=ff", "L2:0=1"}}, `linux.intelRdt.schemata[1]: group "ROOT/gold" exists and has another schema: L2 of domain 0 is "", not "1"`},
		{specs.LinuxIntelRdt{L3CacheSchema: "L3:7=ff"}, `linux.intelRdt.l3CacheSchema: group "ROOT/gold" exists and has another schema: L3 of domain 7 is "", not "ff"`},
	} {
		root, fs := fake(t, 9)
		if err := fs.mkdir(root + "/gold"); err != nil {
			t.Fatal(err)
		}
		const there = "    L3:0=000ff;1=000f0\n    MB:0=  20;1= 100\n"
		put(t, root, map[string]string{"gold/schemata": there})
		c.rdt.ClosID = "gold"
		_, err := New(root, "c1", &c.rdt)
		got := ""
		if err != nil {
			got = err.Error()
		}
		want := strings.ReplaceAll(strings.ReplaceAll(c.want, "ROOT", root), `is "ff"`, `is "000ff"`)
		is(t, "error", got, want)
		is(t, "schemata afterwards", read(t, root+"/gold/schemata"), there)
	}
}

// Each error names the field, and what was made before it is gone.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		rdt   specs.LinuxIntelRdt
		id    string
		spoil func(t *testing.T, root string)
		want  string
	}{
		{name: "missing class", rdt: specs.LinuxIntelRdt{ClosID: "gold"}, want: "linux.intelRdt.closID: there is no group \"ROOT/gold\", and no schema to make one"},
		{name: "reserved id", id: "info", want: "linux.intelRdt.closID: required, since the container's id \"info\" is a reserved name"},
		{name: "file", rdt: specs.LinuxIntelRdt{ClosID: "tasks"}, want: "linux.intelRdt.closID: \"ROOT/tasks\" is not a group"},
		{name: "no cache", rdt: specs.LinuxIntelRdt{L3CacheSchema: "L3:0=f"}, spoil: without("info/L3"), want: "linux.intelRdt.l3CacheSchema: cannot set: this machine cannot divide its L3 cache: there is no ROOT/info/L3"},
		{name: "no bandwidth", rdt: specs.LinuxIntelRdt{MemBwSchema: "MB:0=5"}, spoil: without("info/MB"), want: "linux.intelRdt.memBwSchema: cannot set: this machine cannot limit memory bandwidth: there is no ROOT/info/MB"},
		{name: "no monitor", rdt: specs.LinuxIntelRdt{EnableMonitoring: true}, spoil: without("info/L3_MON"), want: "linux.intelRdt.enableMonitoring: cannot set: this machine cannot monitor the use of its L3 cache: there is no ROOT/info/L3_MON"},
		{name: "no room", rdt: specs.LinuxIntelRdt{EnableMonitoring: true}, want: "linux.intelRdt.enableMonitoring: cannot make group: mkdir \"ROOT/c1/mon_groups/c1\": no space left on device (the CPU has no more groups)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root, fs := fake(t, 1)
			if c.spoil != nil {
				c.spoil(t, root)
			}
			if c.id == "" {
				c.id = "c1"
			}
			g, err := New(root, c.id, &c.rdt)
			if err == nil {
				g.fs = fs
				err = g.Create()
			}
			got := ""
			if err != nil {
				got = err.Error()
			}
			is(t, "error", got, strings.ReplaceAll(c.want, "ROOT", root))
			if _, err := os.Stat(root + "/c1"); c.want != "" && err == nil {
				t.Error("the group is still there")
			}
		})
	}
}

func without(dir string) func(t *testing.T, root string) {
	return func(t *testing.T, root string) {
		t.Helper()
		if err := os.RemoveAll(root + "/" + dir); err != nil {
			t.Fatal(err)
		}
	}
}

// What the kernel refuses names the line and the kernel's reason.
func TestRefusedSchema(t *testing.T) {
	root, fs := fake(t, 9)
	put(t, root, map[string]string{"info/last_cmd_status": "Mask out of range\n"})
	g, err := New(root, "c1", &specs.LinuxIntelRdt{Schemata: []string{"L3:0=f", "L3:0=fffffff"}})
	if err != nil {
		t.Fatal(err)
	}
	g.fs = fs
	mkdir := fs.mkdir
	g.fs.mkdir = func(dir string) error { // the file goes, so that writing fails
		err := mkdir(dir)
		os.Remove(dir + "/schemata")
		return err
	}
	err = g.Create()
	if err == nil || !strings.HasPrefix(err.Error(), `linux.intelRdt.schemata[0]: cannot set "L3:0=f": open `) || !strings.HasSuffix(err.Error(), ": Mask out of range") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(root + "/c1"); err == nil {
		t.Error("the group is still there")
	}
}

func TestUpdateAndStats(t *testing.T) {
	root, fs := fake(t, 9)
	g := makeGroup(t, root, fs, &specs.LinuxIntelRdt{L3CacheSchema: "L3:0=ff", EnableMonitoring: true})
	put(t, g.monitor, map[string]string{"mon_data/mon_L3_00/mbm_total_bytes": "7\n", "mon_data/mon_L3_00/mbm_local_bytes": "5\n", "mon_data/mon_L3_00/llc_occupancy": "11\n",
		"mon_data/mon_L3_01/mbm_total_bytes": "Unavailable\n"})
	u, err := Open(root, g.Dir(), "L3:0=f", "MB:0=50")
	if err == nil {
		err = u.Update()
	}
	if err != nil {
		t.Fatal(err)
	}
	is(t, "schemata", read(t, g.Dir()+"/schemata"), "L3:0=ff\nL3:0=f\nMB:0=50\n")
	s := ReadStats(root, g.Dir(), g.monitor)
	is(t, "schema", s.L3CacheSchema, "L3:0=ff")
	is(t, "schema of the root", s.L3CacheSchemaRoot, "L3:0=fffff;1=fffff")
	is(t, "bandwidth", s.MemBwSchema, "MB:0=50")
	if *s.L3CacheInfo != (L3CacheInfo{"fffff", 1, 16}) || *s.MemBwInfo != (MemBwInfo{10, 1, 10, 8}) {
		t.Errorf("info %+v %+v", s.L3CacheInfo, s.MemBwInfo)
	}
	if !slices.Equal(s.MBM, []MBM{{7, 5}, {0, 0}}) || !slices.Equal(s.CMT, []CMT{{11}, {0}}) {
		t.Errorf("monitored %+v %+v", s.MBM, s.CMT)
	}
}

// The kernel's rmdir is for nothing but its own file system.
func TestRemoveElsewhere(t *testing.T) {
	dir := t.TempDir() + "/c1"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Remove([]string{dir}); !errors.Is(err, unix.ENODEV) {
		t.Errorf("error %v", err)
	}
	if err := Remove([]string{dir + "/gone"}); err != nil {
		t.Error(err)
	}
}

func TestFindRoot(t *testing.T) {
	const line = "31 23 0:28 / /sys/fs/resctrl rw,relatime - resctrl resctrl rw\n"
	if root, err := findRoot("30 23 0:29 / /sys/fs/cgroup rw - cgroup2 resctrl rw\n" + line); root != "/sys/fs/resctrl" || err != nil {
		t.Errorf("root %q, %v", root, err)
	}
	if root, err := findRoot(""); err == nil || !strings.HasPrefix(err.Error(), "linux.intelRdt: cannot set: no file system of type resctrl is mounted") {
		t.Errorf("root %q, %v", root, err)
	}
}
