package attack

import (
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

// A volume of the image lies on /proc or in it, so that labels and masks would go
// to a look-alike (CVE-2015-3631, CVE-2019-16884): refused, however the destination is
// written.
func TestMountOverProc(t *testing.T) {
	h := linuxtest.One(t)
	for _, to := range []string{"/proc", "/proc/", "/tmp/../proc", "/proc/self", "/proc/self/attr", "/proc/self/attr/exec", "/proc/thread-self/attr", "/proc/1", "/proc/sys",
		"/proc/sys/kernel", "/proc/keys", "/link", "/link/self/attr", "/link2/keys", "//proc//self/", "/proc/sys/../keys"} {
		for _, kind := range []string{"tmpfs", "bind"} {
			h.Sub(t, kind+" "+to, func(t *testing.T, h *linuxtest.Host) {
				s := newScene(t, h)
				s.object(s.root+"/link", "-> /proc")
				s.object(s.root+"/link2", "-> proc/self/..")
				source := s.bundle + "/source"
				s.object(source, "look-alike")
				if strings.HasSuffix(to, "exec") || strings.HasSuffix(to, "keys") {
					source += "/keys"
				}
				m := linuxtest.Mount(to, "tmpfs", "tmpfs")
				if kind == "bind" {
					m = linuxtest.Mount(to, "bind", source, "rbind")
				}
				s.WriteConfig(s.bundle, linuxtest.Spec(look(), writable, m))
				if o := s.run("a"); o.started || !strings.Contains(o.Stderr, "mounts[7]") {
					t.Errorf("status %d: %s", o.Status, o.text)
				}
			})
		}
	}
}

// The same, with the look-alike coming and going: a destination below a volume
// becomes a link to /proc.
func TestMountOverProcRace(t *testing.T) {
	h := linuxtest.Beside(t)
	for name, trap := range map[string]string{"/proc": "-> /proc", "/proc/self": "-> /proc/self"} {
		raceIn(t, h, name, func(t *testing.T, h *linuxtest.Host) {
			s := newScene(t, h)
			s.object(s.volume()+"/a", "dir")
			s.object(s.volume()+"/a.trap", trap)
			s.WriteConfig(s.bundle, linuxtest.Spec(look("/proc/ours", "/proc/self/ours", "/proc/sys/ours"), writable,
				linuxtest.Mount("/vol", "bind", s.volume(), "rbind"), linuxtest.Mount("/vol/a", "bind", s.source(), "bind")))
			s.race(func() error { return exchange(s.volume()+"/a", s.volume()+"/a.trap") }, func(int) bool {
				o := s.run("a")
				if o.started {
					correct(t, s, o)
					for _, path := range []string{"/proc/ours", "/proc/self/ours", "/proc/sys/ours"} {
						if o.Paths[path].Error == "" {
							t.Errorf("%s is there", path)
						}
					}
				}
				return o.started
			}).bothWays()
		})
	}
}

// What is to be masked or read-only is replaced, in the image or in a volume, and
// so is the image's /dev/null (CVE-2025-31133): what is seen at the path is the mask,
// the path was missing, or the container is refused. A link's target is masked in
// its place, inside of the root.
func TestMaskedPathsReplaced(t *testing.T) {
	edits := func(s *scene, _ int) []linuxtest.Edit {
		return []linuxtest.Edit{look("/etc/secret", "/etc/real", "/vol/secret", "/etc/ro", "/etc/ro/x", "/proc/sys", "/proc/acpi"), linuxtest.Mount("/vol", "bind", s.volume(), "rbind"), func(spec *specs.Spec) {
			spec.Linux.MaskedPaths = append(spec.Linux.MaskedPaths, "/etc/secret", "/vol/secret")
			spec.Linux.ReadonlyPaths = append(spec.Linux.ReadonlyPaths, "/etc/ro")
		}}
	}
	covered := func(t *testing.T, s *scene, o *outcome) {
		t.Helper()
		correct(t, s, o)
		for _, path := range []string{"/etc/secret", "/vol/secret"} {
			if p := o.Paths[path]; p.Type == "file" {
				t.Errorf("%s is not masked: %+v", path, p)
			}
		}
		if p := o.Paths["/etc/ro"]; p.Type == "directory" && p.WriteError != "read-only file system" {
			t.Errorf("/etc/ro is not read-only: %+v", p)
		}
	}
	hidden := func(path string) func(*testing.T, *scene, *outcome) {
		return func(t *testing.T, s *scene, o *outcome) {
			covered(t, s, o)
			if p := o.Paths[path]; len(p.Names) != 0 || p.WriteError != "read-only file system" {
				t.Errorf("%s is not masked: %+v", path, p)
			}
		}
	}
	// In a race the program may see the other object, which is the root's own.
	safe := func(t *testing.T, s *scene, o *outcome) { correct(t, s, o) }
	h := linuxtest.Beside(t)
	play(t, h, []attackCase{
		{name: "link to the victim", swaps: []swap{{"/etc/secret", "= x", "-> VICTIM/file"}}, edits: edits, check: covered, noRace: true},
		{name: "link to a file", swaps: []swap{{"/etc/secret", "= x", "-> group"}}, edits: edits, check: covered, noRace: true},
		{name: "link to /proc/sys", swaps: []swap{{"/etc/secret", "= x", "-> /proc/sys"}}, edits: edits, check: hidden("/proc/sys"), noRace: true},
		{name: "read-only link to what is masked", swaps: []swap{{"/etc/ro", "dir", "-> /proc/acpi"}}, edits: edits, check: hidden("/proc/acpi"), noRace: true},
		{name: "loop", swaps: []swap{{"/etc/secret", "= x", "-> secret"}}, edits: edits, refused: "linux.maskedPaths[10]", noRace: true},
		{name: "magic link", swaps: []swap{{"/etc/secret", "= x", "-> /proc/self/exe"}}, edits: edits, refused: "linux.maskedPaths[10]", noRace: true},
		{name: "fifo", swaps: []swap{{"/etc/secret", "= x", "fifo"}}, edits: edits, check: covered, noRace: true},
		{name: "directory", swaps: []swap{{"/etc/secret", "= x", "dir"}}, edits: edits, check: covered, noRace: true},
		{name: "read-only link to the victim", swaps: []swap{{"/etc/ro", "dir", "-> VICTIM"}}, edits: edits, check: covered, noRace: true},
		{name: "read-only link to the root", swaps: []swap{{"/etc/ro", "dir", "-> /"}}, edits: edits, refused: "linux.readonlyPaths[5]", noRace: true},
		{name: "read-only magic link", swaps: []swap{{"/etc/ro", "dir", "-> /proc/1/root"}}, edits: edits, refused: "linux.readonlyPaths[5]", noRace: true},
		{name: "link in a volume", swaps: []swap{{"vol:/secret", "= x", "-> ../../../../VICTIM/file"}}, edits: edits, check: covered, noRace: true},
	})
	for _, c := range []attackCase{
		{name: "link to the victim", swaps: []swap{{"/etc/secret", "= x", "-> VICTIM/file"}}, edits: edits, check: safe},
		{name: "in a volume", swaps: []swap{{"vol:/secret", "= x", "-> /proc/sys/kernel"}}, edits: edits, check: safe},
		{name: "read-only", swaps: []swap{{"/etc/ro", "dir", "-> VICTIM"}}, edits: edits, check: safe},
		{name: "null device", swaps: []swap{{"/dev/null", "null", "-> /proc/sys/kernel/core_pattern"}}, check: safe, bothWays: true, edits: func(s *scene, i int) []linuxtest.Edit {
			return append(edits(s, i), withoutMount("/dev"), linuxtest.Mount("/dev", "bind", s.root+"/dev", "rbind"))
		}},
	} {
		raceIn(t, h, c.name, func(t *testing.T, h *linuxtest.Host) {
			s := newScene(t, h)
			if c.name == "null device" {
				c.check = func(t *testing.T, s *scene, o *outcome) { descriptors(t, o); masked(t, o) }
			}
			before := hostFile(t, "/proc/sys/kernel/core_pattern")
			c.race(s)
			if after := hostFile(t, "/proc/sys/kernel/core_pattern"); after != before {
				t.Errorf("core_pattern was %q, is %q", before, after)
			}
		})
	}
}

func hostFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// A sysctl is written where it belongs, with a look-alike below /proc's place in
// the image and links in it (CVE-2025-52881).
func TestSysctlIsNotRedirected(t *testing.T) {
	h := linuxtest.Beside(t)
	before := hostFile(t, "/proc/sys/kernel/msgmax")
	t.Cleanup(func() {
		if after := hostFile(t, "/proc/sys/kernel/msgmax"); after != before {
			t.Errorf("the host's msgmax was %q, is %q", before, after)
		}
	})
	for name, trap := range map[string]string{"link": "-> VICTIM/file", "file": "= "} {
		raceIn(t, h, name, func(t *testing.T, h *linuxtest.Host) {
			s := newScene(t, h)
			s.object(s.root+"/proc", "look-alike")
			s.object(s.root+"/proc/sys/kernel/msgmax", trap)
			s.object(s.root+"/proc.trap", "-> "+s.victim)
			s.WriteConfig(s.bundle, linuxtest.Spec(look("/proc/sys/kernel/msgmax"), writable, func(spec *specs.Spec) {
				spec.Linux.Sysctl = map[string]string{"kernel.msgmax": "12345"}
			}))
			s.race(func() error { return exchange(s.root+"/proc", s.root+"/proc.trap") }, func(int) bool {
				o := s.run("a")
				if o.started && o.Report != nil && o.Paths["/proc"].FileSystem == "0x9fa0" {
					if p := o.Paths["/proc/sys/kernel/msgmax"]; p.Error == "" && p.FileSystem == "0x9fa0" && p.Content != "" && p.Content != "12345\n" {
						t.Errorf("msgmax is %q", p.Content)
					}
				}
				return o.started
			})
			for _, dir := range []string{"/proc", "/proc.trap"} {
				if st, err := os.Lstat(s.root + dir + "/sys/kernel/msgmax"); err == nil && st.Mode().IsRegular() && st.Size() > 0 {
					t.Errorf("it was written to the look-alike: %d bytes", st.Size())
				}
			}
		})
	}
}
