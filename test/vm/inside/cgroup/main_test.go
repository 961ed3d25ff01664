// Package cgroup tests resources on a host whose cgroups are v2 with all
// controllers, with both drivers: files written by tongs, and systemd's units.
package cgroup

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

func TestMain(m *testing.M) { linuxtest.MainVM(m) }

// driver is a way to make cgroups.
type driver struct {
	name  string
	flags []string
}

func drivers() []driver {
	return []driver{{name: "cgroupfs"}, {name: "systemd", flags: []string{"--systemd-cgroup"}}}
}

// place is a cgroupsPath for the driver, of which the name is part.
func (d driver) place(name string) linuxtest.Edit {
	return func(s *specs.Spec) {
		s.Linux.CgroupsPath = "/" + name
		if d.flags != nil {
			s.Linux.CgroupsPath = "system.slice:e2e:" + name
		}
	}
}

// run calls the runtime with the driver.
func (d driver) run(h *linuxtest.Host, args ...string) *linuxtest.Result {
	return h.Run(slices.Concat(d.flags, args)...)
}

// must is run for what has to succeed.
func (d driver) must(t *testing.T, h *linuxtest.Host, args ...string) *linuxtest.Result {
	t.Helper()
	r := d.run(h, args...)
	if r.Status != 0 {
		t.Fatalf("%q: status %d, stderr %s", args, r.Status, r.Stderr)
	}
	return r
}

// each runs a test with each driver.
func each(t *testing.T, h *linuxtest.Host, test func(t *testing.T, h *linuxtest.Host, d driver)) {
	t.Helper()
	for _, d := range drivers() {
		h.Sub(t, d.name, func(t *testing.T, h *linuxtest.Host) { test(t, h, d) })
	}
}

// changing are the files whose content is not a setting.
func changing() []string {
	return []string{"*.stat", "*.stat.local", "*.pressure", "*.current", "*.events", "*.events.local", "*.peak", "*numa_stat", "*.rsvd.current",
		"cgroup.procs", "cgroup.threads", "cgroup.kill", "memory.reclaim", "memory.zswap.current", "rdma.current", "misc.current"}
}

// files reads the settings of a cgroup.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]string)
	for _, e := range entries {
		if e.IsDir() || matches(changing(), e.Name()) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EINVAL) {
			continue // written only
		}
		if err != nil {
			t.Fatal(err)
		}
		values[e.Name()] = strings.TrimSpace(string(data))
	}
	if len(values) < 20 {
		t.Errorf("%s has only the files %v", dir, slices.Sorted(maps.Keys(values)))
	}
	return values
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, name)
		return err == nil && ok
	})
}

// unit reads the properties of a systemd unit.
func unit(t *testing.T, name string) map[string]string {
	t.Helper()
	out, err := exec.Command("systemctl", "show", "--", name).CombinedOutput()
	if err != nil {
		t.Fatalf("systemctl show: %v\n%s", err, out)
	}
	values := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		values[key] = value
	}
	if values["LoadState"] != "loaded" {
		t.Fatalf("the unit %s is %q", name, values["LoadState"])
	}
	return values
}

// equal compares settings but for those that differ for a reason.
func equal(t *testing.T, tongs, runc, differences map[string]string) {
	t.Helper()
	all := maps.Clone(tongs)
	maps.Copy(all, runc)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if tongs[key] != runc[key] && differences[key] == "" {
			t.Errorf("%s:\n\ttongs %q\n\trunc  %q", key, tongs[key], runc[key])
		}
	}
	for key := range differences {
		if tongs[key] == runc[key] && all[key] != "" && key != "cpu.weight.nice" {
			t.Errorf("%s is %q with both: strike the difference", key, tongs[key])
		}
	}
}
