package linuxtest

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"tongs/test/inside/report"
)

// Difference is a place where a container of tongs looks otherwise than one of
// Debian's runc 1.1.5. docs/differences.md tells users.
type Difference struct {
	Key    string // pattern of path.Match for a line of flat
	Reason string
}

// everywhere are the differences that every container shows.
func everywhere() []Difference {
	return []Difference{
		{"Descriptors [012]", "a foreground container has the caller's streams; runc's has pipes and copies"},
		{"Paths :dev:std* FileSystem", "the same"},
		{"Mount :proc:acpi data", "one file system masks all directories, each mount of it is read-only"},
		{"Mount :sys:firmware data", "the same"},
		{"Mount :proc:keys *", "the host's null device masks files; with runc it is the container's"},
		{"Mount :proc:timer_list *", "the same"},
		{"Mount :proc:kcore *", "the same"},
		{"Mount :sys data", "ro makes the mount read-only, and not the file system"},
		{"Mount :sys:fs:cgroup:systemd source", "the source of each v1 hierarchy is named cgroup"},
		{"Mount :sys:fs:cgroup options", "v1: ro is for the directory of the hierarchies, too"},
		{"Paths :sys:fs:cgroup Mode", "the same; runc takes the write permission away instead"},
		{"Paths :sys:fs:cgroup WriteError", "the same"},
	}
}

// Row is a container that is made by both runtimes, each with a bundle of its own.
type Row struct {
	Name        string
	Edits       []Edit
	Prepare     func(t *testing.T, rootfs string)
	Check       func(t *testing.T, r *report.Report) // of what tongs made
	Differences []Difference
	OnlyTongs   string // why runc 1.1.5 is not asked
	Flags       []string
}

// Rows runs the rows: what the program of Inside sees, and what is in the root
// file system afterwards, must be the same but for the differences.
func (h *Host) Rows(t *testing.T, rows []Row) {
	t.Helper()
	for _, c := range rows {
		h.Sub(t, c.Name, func(t *testing.T, h *Host) {
			got := h.outcome(t, c)
			if c.OnlyTongs == "" {
				c.OnlyTongs, c.Check = "asked", nil
				compare(t, got, h.With("runc").outcome(t, c), c.Differences)
			}
		})
	}
}

// outcome runs a row with the host's runtime and gives everything to compare.
func (h *Host) outcome(t *testing.T, c Row) map[string]string {
	t.Helper()
	bundle := h.Bundle(append([]Edit{Inside()}, c.Edits...)...)
	if c.Prepare != nil {
		c.Prepare(t, bundle+"/rootfs")
	}
	run := h.Run(append(append([]string{"run"}, c.Flags...), "--bundle", bundle, h.ID("a"))...)
	if run.Status != 0 {
		t.Fatalf("%s: status %d, stderr %s", h.program, run.Status, run.Stderr)
	}
	r := h.Look(run.Stdout)
	if c.Check != nil {
		c.Check(t, r)
	}
	list := flat(t, r)
	addTree(t, list, bundle+"/rootfs")
	for key, value := range list {
		list[key] = strings.ReplaceAll(value, filepath.Base(bundle), "bundle")
	}
	return list
}

// Compare wants two reports to be equal but for what differs everywhere.
func Compare(t *testing.T, tongs, runc *report.Report) {
	t.Helper()
	compare(t, flat(t, tongs), flat(t, runc), nil)
}

func compare(t *testing.T, g, w map[string]string, differences []Difference) {
	t.Helper()
	differences = append(everywhere(), differences...)
	all := maps.Clone(g)
	maps.Copy(all, w)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if g[key] == w[key] {
			continue
		}
		if !slices.ContainsFunc(differences, func(d Difference) bool {
			ok, err := path.Match(d.Key, key)
			if err != nil {
				t.Fatal(err)
			}
			return ok
		}) {
			t.Errorf("%s:\n\ttongs %s\n\trunc  %s", key, g[key], w[key])
		}
	}
}

// addTree adds a line for each file below a directory.
func addTree(t *testing.T, list map[string]string, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		size := info.Size()
		if d.IsDir() {
			size = 0
		}
		list["Tree "+strings.ReplaceAll(strings.TrimPrefix(p, root), "/", ":")] = fmt.Sprintf("%v %d:%d %d bytes", info.Mode(), st.Uid, st.Gid, size)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// flat gives the report as one line for each value. What differs from run to run
// is replaced; mounts are named by their points and not by their order.
func flat(t *testing.T, r *report.Report) map[string]string {
	t.Helper()
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(data, &object); err != nil {
		t.Fatal(err)
	}
	delete(object, "Mounts")
	list := make(map[string]string)
	flatten(list, "", object)
	for _, m := range r.Mounts {
		key := "Mount " + strings.ReplaceAll(m.Point, "/", ":")
		for list[key+" type"] != "" {
			key += "+" // one more on the same point
		}
		list[key+" type"] = m.Type
		list[key+" options"] = m.Options
		list[key+" source"] = m.Source
		list[key+" root"] = m.Root
		list[key+" data"] = m.SuperBlock
		list[key+" propagation"] = Group(m.Optional)
	}
	for ns, link := range r.Namespaces {
		value := "own"
		if link == HostNamespace(t, ns) {
			value = "the host's"
		}
		list["Namespaces "+ns] = value
	}
	for key, value := range list {
		if strings.HasPrefix(key, "Descriptors ") {
			list[key], _, _ = strings.Cut(value, ":[") // pipe:[1234]
			if strings.Contains(value, "/std") {
				list[key] = "a file of the test"
			}
		}
	}
	return list
}

// Group gives the propagation of a mount without the numbers of peer groups.
func Group(optional string) string {
	var names []string
	for f := range strings.FieldsSeq(optional) {
		name, _, _ := strings.Cut(f, ":")
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

func flatten(list map[string]string, key string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for k, v := range v {
			flatten(list, strings.TrimPrefix(key+" "+strings.ReplaceAll(k, "/", ":"), " "), v)
		}
	case []any:
		list[key] = fmt.Sprintf("%q", v)
	default:
		list[key] = fmt.Sprint(v)
	}
}

// HostNamespace is the test's own namespace.
func HostNamespace(t *testing.T, ns string) string {
	t.Helper()
	link, err := os.Readlink("/proc/thread-self/ns/" + ns)
	if err != nil {
		t.Fatal(err)
	}
	return link
}
