package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"tongs/internal/linuxtest"
	"tongs/test/inside/report"
)

func TestMain(m *testing.M) { linuxtest.Main(m) }

// difference is a place where a container of tongs looks otherwise than one of
// Debian's runc 1.1.5. docs/differences.md tells users.
type difference struct {
	key    string // pattern of path.Match for a line of flat
	reason string
}

// everywhere are the differences that every container shows.
func everywhere() []difference {
	return []difference{
		{"Descriptors [012]", "a foreground container has the caller's streams; runc's has pipes and copies"},
		{"Paths :dev:std* FileSystem", "the same"},
		{"Mount :proc:acpi data", "one file system masks all directories, each mount of it is read-only"},
		{"Mount :sys:firmware data", "the same"},
		{"Mount :proc:keys *", "the host's null device masks files; with runc it is the container's"},
		{"Mount :proc:timer_list *", "the same"},
		{"Mount :sys data", "ro makes the mount read-only, and not the file system"},
		{"Mount :sys:fs:cgroup:systemd source", "the source of each v1 hierarchy is named cgroup"},
		{"Mount :sys:fs:cgroup options", "v1: ro is for the directory of the hierarchies, too"},
		{"Paths :sys:fs:cgroup Mode", "the same; runc takes the write permission away instead"},
		{"Paths :sys:fs:cgroup WriteError", "the same"},
	}
}

// compare wants the two reports to be equal but for the differences.
func compare(t *testing.T, got, want *report.Report, differences ...difference) {
	t.Helper()
	differences = append(differences, everywhere()...)
	g, w := flat(t, got), flat(t, want)
	for _, key := range slices.Sorted(maps.Keys(merge(g, w))) {
		if g[key] == w[key] {
			continue
		}
		if !slices.ContainsFunc(differences, func(d difference) bool {
			ok, err := path.Match(d.key, key)
			if err != nil {
				t.Fatal(err)
			}
			return ok
		}) {
			t.Errorf("%s:\n\ttongs %s\n\trunc  %s", key, g[key], w[key])
		}
	}
}

func merge(a, b map[string]string) map[string]string {
	m := maps.Clone(a)
	maps.Copy(m, b)
	return m
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
		list[key+" propagation"] = group(m.Optional)
	}
	for ns, link := range r.Namespaces {
		value := "own"
		if link == hostNamespace(t, ns) {
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

// group leaves out the numbers of peer groups.
func group(optional string) string {
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

// hostNamespace is the test's own namespace.
func hostNamespace(t *testing.T, ns string) string {
	t.Helper()
	link, err := os.Readlink("/proc/thread-self/ns/" + ns)
	if err != nil {
		t.Fatal(err)
	}
	return link
}
