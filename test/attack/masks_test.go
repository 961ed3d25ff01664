package attack

import (
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

// What is masked in a mount stays masked while somebody takes away the directory that
// it is mounted on: its paths must not seem to be missing, nor the mask be laid on a
// look-alike. The mount goes with the directory, so both places are looked at.
func TestMaskedPathsInMounts(t *testing.T) {
	h := linuxtest.Beside(t)
	for _, c := range []struct {
		name, point string
		path        string // below the point, masked
		trap        string // what lies there in the look-alike, if anything
		edits       func(s *scene) []linuxtest.Edit
	}{
		{"bind of sysfs", "/sys", "/firmware", "", func(*scene) []linuxtest.Edit {
			return []linuxtest.Edit{withoutMount("/sys"), linuxtest.Mount("/sys", "bind", "/sys", "rbind", "ro")}
		}},
		{"bind", "/data", "/ours", "", func(s *scene) []linuxtest.Edit {
			return []linuxtest.Edit{linuxtest.Mount("/data", "bind", s.source(), "rbind", "ro")}
		}},
		{"below a read-only path", "/proc", "/sys/kernel/version", "= look-alike", func(*scene) []linuxtest.Edit {
			return []linuxtest.Edit{func(spec *specs.Spec) {
				spec.Mounts, spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths = spec.Mounts[:1], nil, []string{"/proc/sys"}
			}}
		}},
	} {
		raceIn(t, h, c.name, func(t *testing.T, h *linuxtest.Host) {
			s := newScene(t, h)
			good, trap := s.root+c.point, s.root+c.point+".trap"
			s.object(good, "dir")
			s.object(trap, "dir")
			if c.trap != "" {
				s.object(trap+c.path, c.trap)
			}
			places := []string{c.point + c.path, c.point + ".trap" + c.path}
			edits := append(c.edits(s), look(places...), writable, func(spec *specs.Spec) {
				spec.Linux.MaskedPaths = append(spec.Linux.MaskedPaths, c.point+c.path)
			})
			s.WriteConfig(s.bundle, linuxtest.Spec(edits...))
			s.race(func() error { return exchange(good, trap) }, func(int) bool {
				o := s.run("a")
				if o.Report == nil {
					return o.started
				}
				for _, path := range places {
					if p := o.Paths[path]; len(p.Names) > 0 || strings.TrimSpace(p.Content) != "" && p.Content != strings.TrimPrefix(c.trap, "= ") {
						t.Errorf("%s is not masked: %+v", path, p)
					}
				}
				return o.started
			}).bothWays()
		})
	}
}
