package attack

import (
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

// What a container is to be mounted on, begin in or be masked at is removed and made
// anew, each time as another thing, so that there is nothing in between.
func TestMadeAnewRace(t *testing.T) {
	h := linuxtest.Beside(t)
	volume := func(s *scene) linuxtest.Edit { return linuxtest.Mount("/vol", "bind", s.volume(), "rbind") }
	// The racing party may take away what something is mounted on, and so the mount.
	safe := func(t *testing.T, s *scene, o *outcome) {
		t.Helper()
		descriptors(t, o)
		masked(t, o)
		if p := o.Paths["/vol/a"]; p.Type == "file" && p.Content != "ours" && p.Content != "" {
			t.Errorf("/vol/a: %+v", p)
		}
		if p := o.Paths["/vol/a/ours"]; p.Content != "ours" && p.Content != "" {
			t.Errorf("/vol/a/ours: %+v", p)
		}
	}
	inside := func(t *testing.T, s *scene, o *outcome) {
		t.Helper()
		if o.Cwd != "" { // it has been removed
			checkCwd(t, s, o)
		}
	}
	for _, c := range []struct {
		name  string
		path  string // as of a swap
		kinds []string
		edits func(s *scene) []linuxtest.Edit
		check func(*testing.T, *scene, *outcome)
	}{
		{"directory to mount on", "vol:/a", []string{"dir", "-> VICTIM"}, func(s *scene) []linuxtest.Edit {
			return []linuxtest.Edit{look("/vol/a/ours"), volume(s), linuxtest.Mount("/vol/a", "bind", s.source(), "bind")}
		}, safe},
		{"file to mount on", "vol:/a", []string{"= ", "-> VICTIM/file"}, func(s *scene) []linuxtest.Edit {
			return []linuxtest.Edit{look("/vol/a"), volume(s), linuxtest.Mount("/vol/a", "bind", s.source()+"/ours", "bind")}
		}, safe},
		{"working directory", "vol:/w", []string{"dir", "-> VICTIM", "= x"}, func(s *scene) []linuxtest.Edit {
			return []linuxtest.Edit{look("."), volume(s), cwd("/vol/w")}
		}, inside},
		{"masked file", "vol:/a", []string{"= ours", "-> VICTIM/file"}, func(s *scene) []linuxtest.Edit {
			return []linuxtest.Edit{look("/vol/a"), volume(s), func(spec *specs.Spec) {
				spec.Linux.MaskedPaths = append(spec.Linux.MaskedPaths, "/vol/a")
			}}
		}, safe},
		{"proc", "/proc", []string{"dir", "-> VICTIM"}, func(*scene) []linuxtest.Edit { return []linuxtest.Edit{look()} }, safe},
		{"null device", "/dev/null", []string{"null", "-> VICTIM/file", "= x"}, func(s *scene) []linuxtest.Edit { return imageDev(s, 0) }, safe},
		{"source", "vol:/a", []string{"= ours", "-> VICTIM/file", "-> ../../.." + "VICTIM/file"}, func(s *scene) []linuxtest.Edit {
			return []linuxtest.Edit{volume(s), linuxtest.Mount("/mnt", "bind", s.root+"/vol/a", "bind"), look("/mnt")}
		}, safe},
	} {
		raceIn(t, h, c.name, func(t *testing.T, h *linuxtest.Host) {
			s := newScene(t, h)
			s.object(s.volume(), "dir")
			s.WriteConfig(s.bundle, linuxtest.Spec(append(c.edits(s), writable)...))
			n := 0
			act := func() error {
				n++
				return s.put(s.place(c.path), c.kinds[n%len(c.kinds)])
			}
			s.race(act, s.runs(c.check))
		})
	}
}
