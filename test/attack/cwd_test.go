package attack

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

func cwd(path string) linuxtest.Edit { return func(s *specs.Spec) { s.Process.Cwd = path } }

// The working directory leads through a descriptor or another process's
// directory (CVE-2024-21626), as it is written or by a link of the image.
func TestCwd(t *testing.T) {
	h := linuxtest.One(t)
	var paths []string
	for fd := range 41 {
		paths = append(paths, fmt.Sprintf("/proc/self/fd/%d", fd))
	}
	paths = append(paths, "/proc/1/cwd", "/proc/1/root", "/proc/self/cwd", "/proc/thread-self/cwd", "/proc/self/root/../../..", "/proc/self/fd/7/../../..", "/proc/self/fd/3/..",
		"/proc/self/root/etc", "/proc/1/cwd/..", "/../../..", "/dev/fd/7", "/dev/fd/7/..")
	for _, pid := range []string{"own", "host's"} {
		for _, way := range []string{"path", "link"} {
			h.Sub(t, "trap: "+pid+" PID namespace, "+way, func(t *testing.T, h *linuxtest.Host) {
				s := newScene(t, h)
				for i, path := range paths {
					s.object(s.root+"/w", "-> "+path)
					where := path
					if way == "link" {
						where = "/w"
					}
					edits := []linuxtest.Edit{look("."), writable, cwd(where)}
					if pid != "own" {
						edits = append(edits, linuxtest.WithoutNamespace(specs.PIDNamespace))
					}
					s.WriteConfig(s.bundle, linuxtest.Spec(edits...))
					o := s.run(fmt.Sprint(i))
					if !o.started {
						if !strings.Contains(o.Stderr, "process.cwd: ") {
							t.Errorf("%s: %s", path, o.Stderr)
						}
						continue
					}
					checkCwd(t, s, o)
					// Without the magic links, what is left is a directory of the container's.
					if strings.HasPrefix(filepath.Clean(where), "/proc/self/fd/") || strings.HasSuffix(where, "/cwd") {
						t.Errorf("%s: started in %q", path, o.Cwd)
					}
				}
			})
		}
	}
}

// checkCwd checks that the working directory is in the root.
func checkCwd(t *testing.T, s *scene, o *outcome) {
	t.Helper()
	descriptors(t, o)
	if !strings.HasPrefix(o.Cwd, "/") || strings.Contains(o.Cwd, filepath.Base(s.Dir)) && !strings.Contains(o.Cwd, "victim") {
		t.Errorf("the working directory is %q", o.Cwd)
	}
	for _, name := range o.Paths["."].Names {
		if name == "rootfs" || name == "state.json" || name == "cgroup.procs" || name == "console" && o.Cwd != "/dev" {
			t.Errorf("the working directory %q has %q", o.Cwd, o.Paths["."].Names)
		}
	}
}

// The working directory is replaced by a link while containers start, one that is
// there and one that has to be made (CVE-2024-45310).
func TestCwdRace(t *testing.T) {
	where := func(path string) func(*scene, int) []linuxtest.Edit {
		return func(s *scene, i int) []linuxtest.Edit {
			p := path
			if strings.Contains(p, "%") {
				p = fmt.Sprintf(path, i)
			}
			return []linuxtest.Edit{look("."), cwd(p), linuxtest.Mount("/vol", "bind", s.volume(), "rbind")}
		}
	}
	check := func(t *testing.T, s *scene, o *outcome) { checkCwd(t, s, o) }
	play(t, linuxtest.Beside(t), []attackCase{
		{name: "link to the victim", swaps: []swap{{"vol:/w", "dir", "-> VICTIM"}}, edits: where("/vol/w"), check: check},
		{name: "magic link", swaps: []swap{{"vol:/w", "dir", "-> /proc/self/root"}}, edits: where("/vol/w"), check: check, refused: "process.cwd", bothWays: true},
		{name: "to be made", swaps: []swap{{"vol:/w", "dir", "-> VICTIM"}}, edits: where("/vol/w/n%d/deep"), check: check, fresh: true},
		{name: "file", swaps: []swap{{"vol:/w", "dir", "= x"}}, edits: where("/vol/w"), check: check, refused: "process.cwd", noRace: true},
	})
}

// The same for exec, whose directory is taken in a running container.
func TestCwdOfExec(t *testing.T) {
	h := linuxtest.One(t)
	for _, pid := range []string{"own", "host's"} {
		h.Sub(t, pid+" PID namespace", func(t *testing.T, h *linuxtest.Host) {
			edits := []linuxtest.Edit{linuxtest.Args("/bin/sleep", "1000"), writable}
			if pid != "own" {
				edits = append(edits, linuxtest.WithoutNamespace(specs.PIDNamespace))
			}
			s := newScene(t, h, edits...)
			s.Must("run", "--detach", "--bundle", s.bundle, s.ID("a"))
			for fd := range 41 {
				for _, path := range []string{fmt.Sprintf("/proc/self/fd/%d", fd), fmt.Sprintf("/proc/thread-self/fd/%d", fd), "/w"} {
					s.object(s.root+"/w", fmt.Sprintf("-> /proc/self/fd/%d", fd))
					o := s.try(linuxtest.Command{Args: []string{"exec", "--cwd", path, s.ID("a"), "/bin/inside", "."}})
					if o.started || !strings.Contains(o.Stderr, "process.cwd: ") {
						t.Errorf("%s -> %d: started %v in %+v: %s", path, fd, o.started, o.Report, o.Stderr)
					}
				}
			}
			s.Must("delete", "--force", s.ID("a"))
		})
	}
}

// The same for exec while somebody swaps it. It makes no directory that is missing.
func TestCwdOfExecRace(t *testing.T) {
	h := linuxtest.Beside(t)
	for name, trap := range map[string]string{"link to the victim": "-> VICTIM", "magic link": "-> /proc/1/root", "link to the root": "-> ../../../.."} {
		raceIn(t, h, name, func(t *testing.T, h *linuxtest.Host) {
			s := newScene(t, h)
			s.object(s.volume()+"/w", "dir")
			s.object(s.volume()+"/w.trap", trap)
			s.WriteConfig(s.bundle, linuxtest.Spec(linuxtest.Args("/bin/sleep", "1000"), writable, linuxtest.Mount("/vol", "bind", s.volume(), "rbind")))
			s.Must("run", "--detach", "--bundle", s.bundle, s.ID("a"))
			e := s.race(func() error { return exchange(s.volume()+"/w", s.volume()+"/w.trap") }, func(int) bool {
				o := s.try(linuxtest.Command{Args: []string{"exec", "--cwd", "/vol/w", s.ID("a"), "/bin/inside", "."}})
				if o.started {
					checkCwd(t, s, o)
				}
				return o.started
			})
			if name != "link to the root" { // which is a directory as good as the other
				e.bothWays()
			}
			s.Must("delete", "--force", s.ID("a"))
		})
	}
}
