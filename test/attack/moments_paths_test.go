package attack

import (
	"os"
	"path/filepath"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

// A masked or read-only path is exchanged when it has just been covered, or opened for
// that (CVE-2025-31133).
func TestCoveredPathMoment(t *testing.T) {
	h := linuxtest.One(t)
	for list, cover := range map[string]func(s *specs.Spec, path string){
		"maskedPaths":   func(s *specs.Spec, path string) { s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = []string{path}, nil },
		"readonlyPaths": func(s *specs.Spec, path string) { s.Linux.ReadonlyPaths = []string{path} },
	} {
		for _, c := range []struct {
			name, path string
			at         moment
			swap       string
		}{
			{"file", "/etc/file", attached("/etc/file"), "/etc/file"},
			{"directory", "/etc/dir", attached("/etc/dir"), "/etc/dir"},
			{"its parent", "/etc/dir/sub", attached("/etc/dir/sub"), "/etc/dir"},
			{"opened", "/etc/dir/sub", opened("/etc/dir/sub"), "/etc/dir"},
			// Where a link leads to a path, the way is walked.
			{"link", "/link/sub", attached("/etc/dir/sub"), "/link"},
			{"where a link leads", "/link/sub", attached("/etc/dir/sub"), "/etc/dir"},
			{"link, opened", "/link/sub", opened("/etc/dir/sub"), "/link"},
		} {
			m := momentCase{name: list + ": " + c.name, things: coverable(), at: c.at, act: swapped(c.swap), want: elsewhere("linux."+list+"[0]", c.path)}
			m.edits = func(*scene) []linuxtest.Edit { return []linuxtest.Edit{func(s *specs.Spec) { cover(s, c.path) }} }
			m.play(t, h)
		}
	}
	// Beside read-only paths, linked masked paths are looked up twice, and both places get
	// a mask.
	c := momentCase{name: "both places", things: coverable(), at: opened("/etc/dir/sub"), act: swapped("/link")}
	c.edits = func(*scene) []linuxtest.Edit {
		return []linuxtest.Edit{look("/link/sub", "/link.trap/sub"), func(s *specs.Spec) { s.Linux.MaskedPaths = append(s.Linux.MaskedPaths, "/link/sub") }}
	}
	c.check = func(t *testing.T, s *scene, o *outcome) {
		correct(t, s, o)
		for _, path := range []string{"/link/sub", "/link.trap/sub"} {
			if p := o.Paths[path]; p.Type != "directory" || len(p.Names) != 0 || p.WriteError != "read-only file system" {
				t.Errorf("%s is not masked: %+v", path, p)
			}
		}
	}
	c.play(t, h)
}

// coverable are paths to be covered, each with a trap beside it.
func coverable() []thing {
	return []thing{{"/etc/file", "= x"}, {"/etc/file.trap", "= x"}, {"/etc/dir/sub/x", "= x"}, {"/etc/dir.trap/sub/x", "= x"}, {"/link", "-> etc/dir"}, {"/link.trap", "-> etc/dir.trap"}}
}

// The console is exchanged when the terminal has just been laid over it
// (CVE-2025-52565).
func TestConsoleMoment(t *testing.T) {
	h := linuxtest.One(t)
	for _, c := range []momentCase{
		{name: "console", act: swapped("/dev/console"), at: attached("/dev/console")},
		{name: "console, opened", act: swapped("/dev/console"), at: opened("/dev/console")},
		{name: "its directory", act: swapped("/dev"), at: attached("/dev/console")},
	} {
		c.things = []thing{{"/dev/console", "= x"}, {"/dev/console.trap", "= x"}, {"/dev.trap/console", "= x"}}
		c.edits = func(s *scene) []linuxtest.Edit {
			return append(imageDev(s, 0), linuxtest.Terminal, linuxtest.Mount("/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"))
		}
		c.args = func(s *scene) []string {
			return []string{"create", "--console-socket", s.Listen(filepath.Base(s.bundle) + ".sock").Path}
		}
		c.want = elsewhere("process.terminal", "/dev/console")
		c.play(t, h)
	}
}

// The working directory is exchanged, or taken out of the root, when it has been
// opened (CVE-2024-21626). It is what was opened, which must be in the root.
func TestCwdMoment(t *testing.T) {
	h := linuxtest.One(t)
	opensMark := func(t *testing.T, s *scene, o *outcome) {
		t.Helper()
		checkCwd(t, s, o)
		if p := o.Paths["mark"]; p.Content != "ours" {
			t.Errorf("in %q: %+v", o.Cwd, p)
		}
	}
	out := func(s *scene) error { return os.Rename(s.root+"/d/w", s.bundle+"/outside") }
	const outside = "process.cwd: /d/w is outside of the container's root"
	for _, c := range []momentCase{
		{name: "link to the victim", act: swapped("/d/w"), at: opened("/d/w"), check: opensMark},
		{name: "its parent", act: swapped("/d"), at: opened("/d/w"), check: opensMark},
		{name: "taken out of the root", act: out, at: opened("/d/w"), want: outside},
		{name: "entered and taken out", act: out, at: entered("/d/w"), want: outside},
	} {
		c.things = []thing{{"/d/w/mark", "= ours"}, {"/d/w.trap", "-> VICTIM"}, {"/d.trap", "-> VICTIM"}}
		c.edits = func(s *scene) []linuxtest.Edit { return []linuxtest.Edit{look(".", "mark"), cwd("/d/w")} }
		c.play(t, h)
	}
}
