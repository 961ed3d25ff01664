package attack

import (
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

// The program itself is swapped, for the stub that executes it or a program of the
// host's: what runs is the container's, or the stub once more, which ends.
func TestProgramReplaced(t *testing.T) {
	h := linuxtest.Beside(t)
	for name, trap := range map[string]string{"/proc/self/exe": "-> /proc/self/exe", "script": "= #!/proc/self/exe\n", "interpreter": "= " + string(elf("/proc/self/exe")),
		"link to the victim": "-> VICTIM/bin/prog", "script of the victim": "= #!VICTIM/bin/prog\n"} {
		for _, way := range []string{"run", "exec"} {
			raceIn(t, h, way+", "+name, func(t *testing.T, h *linuxtest.Host) {
				before := lookAtRuntime(t, h)
				s := newScene(t, h)
				s.must(os.Link(s.root+"/bin/inside", s.root+"/p"))
				s.object(s.root+"/p.trap", strings.ReplaceAll(trap, "VICTIM", s.victim))
				args := []string{"run", "--bundle", s.bundle, s.ID("b")}
				if way == "exec" {
					s.WriteConfig(s.bundle, linuxtest.Spec(linuxtest.Args("/bin/sleep", "1000"), writable))
					s.Must("run", "--detach", "--bundle", s.bundle, s.ID("a"))
					args = []string{"exec", s.ID("a"), "/p", "/proc/kcore"}
				} else {
					s.WriteConfig(s.bundle, linuxtest.Spec(look(), writable, func(spec *specs.Spec) { spec.Process.Args[0] = "/p" }))
				}
				s.race(func() error { return exchange(s.root+"/p", s.root+"/p.trap") }, func(int) bool {
					return s.program(args...)
				}).bothWays()
				if way == "exec" {
					s.Must("delete", "--force", s.ID("a"))
				}
				if after := lookAtRuntime(t, h); after != before {
					t.Errorf("the runtime was %+v, is %+v", before, after)
				}
			})
		}
	}
}

// program runs what may be no program of ours, and reports whether it was.
func (s *scene) program(args ...string) (started bool) {
	s.t.Helper()
	r := s.Run(args...)
	if r.Status == 0 {
		o := s.judge(r)
		if o.Report == nil {
			s.t.Errorf("%q: another program: %s", args, o.text)
			return true
		}
		descriptors(s.t, o)
		masked(s.t, o)
		return true
	}
	s.harmless(&outcome{Result: r, text: r.Stdout + r.Stderr})
	if r.Stdout != "" || strings.Contains(r.Stderr, "USAGE") {
		s.t.Errorf("%q: status %d: %s%s", args, r.Status, r.Stdout, r.Stderr)
	}
	return false
}
