// Package devices tries linux.resources.devices on cgroup v2 by real opens and
// mknods, and compares with runc.
package devices

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

func TestMain(m *testing.M) { linuxtest.Main(m) }

// scene is a bundle with nodes to try.
type scene struct {
	*linuxtest.Host
	bundle string
}

func newScene(t *testing.T, h *linuxtest.Host) scene {
	t.Helper()
	s := scene{h, h.Bundle()}
	prober := filepath.Join(h.Dir, "prober")
	if err := linuxtest.Program(prober, "test/devices/prober"); err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	root := s.bundle + "/rootfs"
	must(os.Link(prober, root+"/bin/prober"))
	must(os.Mkdir(root+"/nodes", 0o755))
	must(os.Mkdir(root+"/made", 0o755))
	for kind, mode := range map[string]uint32{"b": unix.S_IFBLK, "c": unix.S_IFCHR} {
		for _, major := range []uint32{1, 7} {
			for _, minor := range []uint32{0, 2, 3} { // 3: /dev/null, which every container may use
				must(unix.Mknod(fmt.Sprintf("%s/nodes/%s%d:%d", root, kind, major, minor), mode|0o666, int(unix.Mkdev(major, minor))))
			}
		}
	}
	return s
}

// refused is what both make of a hole in a wildcard, which v1 cannot have: the
// default devices cannot be allowed when all are denied by one.
const refused = "refused"

// try runs a container with the rules and gives what it was let do.
func (s scene) try(t *testing.T, h *linuxtest.Host, rules []specs.LinuxDeviceCgroup, flags ...string) string {
	t.Helper()
	s.WriteConfig(s.bundle, linuxtest.Spec(linuxtest.Args("/bin/prober"), func(spec *specs.Spec) {
		spec.Root.Readonly = false
		spec.Linux.Resources = &specs.LinuxResources{Devices: rules}
		c := spec.Process.Capabilities
		for _, set := range []*[]string{&c.Bounding, &c.Effective, &c.Permitted} {
			*set = append(*set, "CAP_MKNOD")
		}
	}))
	made, err := filepath.Glob(s.bundle + "/rootfs/made/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range made {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	r := h.Run(append(flags, "run", "--bundle", s.bundle, h.ID("a"))...)
	if r.Status != 0 {
		t.Logf("%q: %s", flags, r.Stderr)
		return refused
	}
	return r.Stdout
}

// each runs f for every rule: a type, a major and a minor number or all of them,
// and some access, allowed after all was denied and denied after all was allowed.
func each(f func(name string, rules []specs.LinuxDeviceCgroup)) {
	one, two := int64(1), int64(2)
	text := func(n *int64) string {
		if n == nil {
			return "*"
		}
		return fmt.Sprint(*n)
	}
	for _, allow := range []bool{true, false} {
		for _, kind := range []string{"b", "c"} {
			for _, major := range []*int64{&one, nil} {
				for _, minor := range []*int64{&two, nil} {
					for _, access := range []string{"r", "w", "m", "rw", "rm", "wm", "rwm"} {
						verb := "deny"
						if allow {
							verb = "allow"
						}
						f(fmt.Sprintf("%s %s %s:%s %s", verb, kind, text(major), text(minor), access), []specs.LinuxDeviceCgroup{
							{Allow: !allow, Access: "rwm"}, {Allow: allow, Type: kind, Major: major, Minor: minor, Access: access}})
					}
				}
			}
		}
	}
}

func TestEveryRule(t *testing.T) {
	h := linuxtest.OneV2(t)
	s := newScene(t, h)
	each(func(name string, rules []specs.LinuxDeviceCgroup) {
		h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
			if got := s.compare(t, h, rules); got != refused && !strings.Contains(got, "c1:3 rwbm") {
				t.Errorf("/dev/null cannot be used: %s", got)
			}
		})
	})
}

// compare runs both and gives what tongs let the container do. runc lets a file be
// opened for both reading and writing where one of them is denied after all was
// allowed: its program looks for a rule that denies the whole request.
func (s scene) compare(t *testing.T, h *linuxtest.Host, rules []specs.LinuxDeviceCgroup) string {
	t.Helper()
	tongs, runc := s.try(t, h, rules), s.try(t, h.With("runc"), rules)
	want := ""
	for line := range strings.Lines(runc) {
		device, words, _ := strings.Cut(line, " ")
		if !strings.Contains(words, "r") || !strings.Contains(words, "w") {
			words = strings.ReplaceAll(words, "b", "")
		}
		if words != "" {
			device += " "
		}
		want += device + words
	}
	if tongs != want {
		t.Errorf("tongs:\n%s\nrunc:\n%s", tongs, runc)
	}
	return tongs
}

// Lists of several rules: what comes later counts.
func TestLists(t *testing.T) {
	h := linuxtest.OneV2(t)
	s := newScene(t, h)
	number := func(n int64) *int64 { return &n }
	for name, rules := range map[string][]specs.LinuxDeviceCgroup{
		"none":                     nil,
		"all is denied":            {{Allow: false, Type: "a", Access: "rwm"}},
		"all is allowed":           {{Allow: true, Type: "a", Access: "rwm"}},
		"all is denied at the end": {{Allow: true, Type: "c", Major: number(7), Access: "rw"}, {Allow: false, Access: "rwm"}},
		"two for one device":       {{Allow: false, Access: "rwm"}, {Allow: true, Type: "c", Major: number(7), Minor: number(2), Access: "r"}, {Allow: true, Type: "c", Major: number(7), Minor: number(2), Access: "w"}},
		"given and taken":          {{Allow: false, Access: "rwm"}, {Allow: true, Type: "b", Major: number(7), Minor: number(2), Access: "rwm"}, {Allow: false, Type: "b", Major: number(7), Minor: number(2), Access: "w"}},
		"taken and given":          {{Allow: true, Access: "rwm"}, {Allow: false, Type: "b", Major: number(7), Access: "rw"}, {Allow: true, Type: "b", Major: number(7), Access: "r"}},
		"any number as -1":         {{Allow: false, Access: "rwm"}, {Allow: true, Type: "c", Major: number(-1), Minor: number(-1), Access: "r"}},
	} {
		h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
			if s.compare(t, h, rules) == refused {
				t.Error("it was refused")
			}
		})
	}
}
