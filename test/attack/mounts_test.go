package attack

import (
	"fmt"
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

// bind adds a bind mount of a directory with one file, "ours".
func bind(to string, options ...string) func(*scene, int) []linuxtest.Edit {
	return func(s *scene, _ int) []linuxtest.Edit {
		return []linuxtest.Edit{linuxtest.Mount(to, "bind", s.source(), append(options, "bind")...), look(to, to+"/ours")}
	}
}

// source is a directory of the host with the file "ours", and one file.
func (s *scene) source() string {
	dir := s.bundle + "/source"
	s.must(os.MkdirAll(dir, 0o755))
	s.must(os.WriteFile(dir+"/ours", []byte("ours"), 0o644))
	return dir
}

// mounted checks that the mount is where it should be, too.
func mounted(to string) func(*testing.T, *scene, *outcome) {
	return func(t *testing.T, s *scene, o *outcome) {
		t.Helper()
		correct(t, s, o)
		if p := o.Paths[to+"/ours"]; p.Content != "ours" {
			t.Errorf("%s: %+v, %s: %+v", to, o.Paths[to], to+"/ours", p)
		}
	}
}

// somewhere is for races in which the path may lead elsewhere by the time that
// the program looks: to what the root has there, and never to the victim.
func somewhere(t *testing.T, s *scene, o *outcome) {
	t.Helper()
	correct(t, s, o)
	for path, p := range o.Paths {
		if strings.HasSuffix(path, "/ours") && p.Content != "ours" && p.Content != "" {
			t.Errorf("%s: %+v", path, p)
		}
	}
}

// Each part of a mount's destination is a link that leads to the victim from the
// host's view, or becomes one (CVE-2014-6407, CVE-2015-3629, CVE-2019-18837,
// CVE-2021-30465).
func TestDestinationParts(t *testing.T) {
	var cases []attackCase
	for _, part := range []string{"/a", "/a/b", "/a/b/c"} {
		for name, trap := range map[string]string{"absolute": "-> VICTIM", "upwards": "-> ../../../../../../../../../VICTIM", "root": "-> /", "file system root": "-> ../../../.."} {
			// All of these lead to a place within the root.
			c := attackCase{name: part + " " + name, edits: bind("/a/b/c"), swaps: []swap{{part, "dir", trap}}, check: mounted("/a/b/c"), noRace: true}
			if part == "/a/b/c" && strings.Contains(name, "root") {
				c.refused = "mounts[7].destination: /a/b/c leads to the root directory"
			}
			cases = append(cases, c)
		}
		cases = append(cases,
			attackCase{name: part + " loop", swaps: []swap{{part, "dir", "-> " + part}}, edits: bind("/a/b/c"), refused: "mounts[7]", noRace: true},
			attackCase{name: part + " file", swaps: []swap{{part, "dir", "= x"}}, edits: bind("/a/b/c"), refused: "mounts[7]", noRace: true},
			attackCase{name: part + " fifo", swaps: []swap{{part, "dir", "fifo"}}, edits: bind("/a/b/c"), refused: "mounts[7]", noRace: true},
			attackCase{name: part + " magic link", swaps: []swap{{part, "dir", "-> /proc/self/root/../.." + "VICTIM"}}, edits: bind("/a/b/c"), refused: "mounts[7]", noRace: true},
		)
	}
	play(t, linuxtest.Beside(t), cases)
}

// The same in a race, in a volume that a sibling shares: 2,000 containers mount
// below it while it exchanges the parts.
func TestDestinationPartsRace(t *testing.T) {
	h := linuxtest.Beside(t)
	for _, part := range []string{"/a", "/a/b", "/a/b/c"} {
		raceIn(t, h, part, func(t *testing.T, h *linuxtest.Host) {
			s := newScene(t, h)
			v := s.volume()
			s.object(v+"/a/b/c", "dir")
			s.object(v+part+".trap", "-> "+s.victim)
			s.object(v+part+".trap2", "-> /")
			s.WriteConfig(s.bundle, linuxtest.Spec(look("/vol/a/b/c/ours"), writable,
				linuxtest.Mount("/vol", "bind", v, "rbind"), linuxtest.Mount("/vol/a/b/c", "bind", s.source(), "bind")))
			n := 0
			act := func() error {
				n++
				return exchange(v+part, v+part+[]string{".trap", ".trap2"}[n/2%2])
			}
			e := s.race(act, s.runs(somewhere))
			if part == "/a/b/c" {
				e.bothWays()
			}
		})
	}
}

// Mount points that are missing are made through links that a sibling swaps
// (CVE-2024-45310): nothing is made in the victim.
func TestMissingMountPoints(t *testing.T) {
	var cases []attackCase
	for _, kind := range []string{"directory", "file"} {
		edits := func(s *scene, i int) []linuxtest.Edit {
			to, source := fmt.Sprintf("/vol/a/n%d/deep/t", i), s.source()
			if kind == "file" {
				source += "/ours"
			}
			return []linuxtest.Edit{linuxtest.Mount("/vol", "bind", s.volume(), "rbind"), linuxtest.Mount(to, "bind", source, "bind"), look(to+"/ours", to)}
		}
		cases = append(cases,
			attackCase{name: kind + ", absolute link", swaps: []swap{{"vol:/a", "dir", "-> VICTIM"}}, edits: edits, check: somewhere, fresh: true},
			attackCase{name: kind + ", link upwards", swaps: []swap{{"vol:/a", "dir", "-> ../../../../../../VICTIM"}}, edits: edits, check: somewhere, noRace: true},
			attackCase{name: kind + ", dangling link", swaps: []swap{{"vol:/a", "dir", "-> VICTIM/new"}}, edits: edits, check: somewhere, noRace: true},
			attackCase{name: kind + ", magic link", swaps: []swap{{"vol:/a", "dir", "-> /proc/1/root/VICTIM"}}, edits: edits, refused: "mounts[8]", check: somewhere, noRace: true})
	}
	play(t, linuxtest.Beside(t), cases)
}

// A directory on the way is moved to another place while mounts are attached
// below it: the mount goes with it, or is refused, and is nowhere else.
func TestDestinationMovedAway(t *testing.T) {
	h := linuxtest.Beside(t)
	s := newScene(t, h)
	v := s.volume()
	s.object(v+"/a/b", "dir")
	s.object(v+"/elsewhere/b", "dir")
	s.WriteConfig(s.bundle, linuxtest.Spec(look("/vol/a/b/ours", "/vol/elsewhere/b/ours"), writable,
		linuxtest.Mount("/vol", "bind", v, "rbind"), linuxtest.Mount("/vol/a/b", "bind", s.source(), "bind")))
	s.race(func() error { return exchange(v+"/a/b", v+"/elsewhere/b") }, s.runs(somewhere)).bothWays()
}

// The source of a bind mount lies in a volume that two containers share, and is
// swapped for a link (CVE-2017-1002101, CVE-2021-25741). On the host a link is
// followed, as everywhere: either object may be mounted, never a third. Within the
// root it never leads out of it.
func TestBindSourceReplaced(t *testing.T) {
	h := linuxtest.Beside(t)
	raceIn(t, h, "host", func(t *testing.T, h *linuxtest.Host) {
		s := newScene(t, h)
		v := s.volume()
		s.object(v+"/a/mark", "= first")
		s.object(v+"/other/mark", "= second")
		s.object(v+"/link", "-> other")
		s.WriteConfig(s.bundle, linuxtest.Spec(look("/mnt/mark"), writable, linuxtest.Mount("/mnt", "bind", v+"/a", "rbind")))
		s.race(func() error { return exchange(v+"/a", v+"/link") }, func(int) bool {
			o := s.run("a")
			if o.started {
				correct(t, s, o)
				if c := o.Paths["/mnt/mark"].Content; c != "first" && c != "second" {
					t.Errorf("%+v", o.Paths["/mnt/mark"])
				}
			}
			return o.started
		})
	})
	// The source is what an earlier mount provides, so it is opened inside.
	inside := func(s *scene, _ int) []linuxtest.Edit {
		return []linuxtest.Edit{linuxtest.Mount("/vol", "bind", s.volume(), "rbind"), linuxtest.Mount("/mnt", "bind", s.root+"/vol/a", "rbind"), look("/mnt/file", "/mnt")}
	}
	play(t, h, []attackCase{
		{name: "inside, absolute link", swaps: []swap{{"vol:/a", "dir", "-> VICTIM"}}, edits: inside, refused: "mounts[8].source", bothWays: true},
		{name: "inside, link upwards", swaps: []swap{{"vol:/a", "dir", "-> ../../../../../../../VICTIM"}}, edits: inside, refused: "mounts[8].source", noRace: true},
		{name: "inside, magic link", swaps: []swap{{"vol:/a", "dir", "-> /proc/1/root"}}, edits: inside, refused: "mounts[8].source", noRace: true},
	})
}

// mapOwners makes the last mount one with mapped owners.
func mapOwners(spec *specs.Spec) {
	m := &spec.Mounts[len(spec.Mounts)-1]
	m.Options = append(m.Options, "idmap")
	m.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 0, Size: 10000}}
	m.GIDMappings = m.UIDMappings
}

// The source of a bind mount lies in the root file system, where the image has a link
// to the victim, or somebody makes one: a link there leads within the root
// (docs/differences.md), and what is not there is refused.
func TestBindSourceOfImage(t *testing.T) {
	from := func(source string) func(*scene, int) []linuxtest.Edit {
		return func(s *scene, _ int) []linuxtest.Edit {
			s.must(os.WriteFile(s.root+"/etc/mark", []byte("ours"), 0o644))
			return []linuxtest.Edit{linuxtest.Mount("/mnt", "bind", strings.ReplaceAll(source, "ROOT", s.root), "rbind"), look("/mnt", "/mnt/file", "/mnt/mark")}
		}
	}
	ours := func(t *testing.T, s *scene, o *outcome) {
		t.Helper()
		correct(t, s, o)
		if p := o.Paths["/mnt"]; p.Type == "file" && p.Content != "ours" {
			t.Errorf("/mnt: %+v", p)
		}
		if p := o.Paths["/mnt/file"]; p.Error == "" {
			t.Errorf("/mnt/file: %+v", p)
		}
	}
	inEtc := func(t *testing.T, s *scene, o *outcome) {
		ours(t, s, o)
		if p := o.Paths["/mnt/mark"]; p.Content != "ours" {
			t.Errorf("/mnt/mark: %+v", p)
		}
	}
	// Its owners can only be mapped by the host, which opens it.
	mapped := func(s *scene, i int) []linuxtest.Edit {
		return append(from("rootfs/a")(s, i), mapOwners)
	}
	copied := func(s *scene, i int) []linuxtest.Edit {
		return append(mapped(s, i), func(spec *specs.Spec) {
			m := &spec.Mounts[len(spec.Mounts)-1]
			m.Options = append(m.Options, "copy-symlink")
		})
	}
	isLink := func(t *testing.T, s *scene, o *outcome) {
		ours(t, s, o)
		if p := o.Paths["/mnt"]; p.Link != s.victim {
			t.Errorf("/mnt: %+v", p)
		}
	}
	link := []swap{{"/a", "dir", "-> VICTIM"}}
	play(t, linuxtest.Beside(t), []attackCase{
		{name: "relative", swaps: link, edits: from("rootfs/a"), check: ours, refused: "mounts[7].source", bothWays: true},
		{name: "absolute", swaps: link, edits: from("ROOT/a"), check: ours, refused: "mounts[7].source", noRace: true},
		{name: "on the way", dirs: []string{"/a", "/a/t"}, swaps: link, edits: from("rootfs/a/t"), check: ours, refused: "mounts[7].source", bothWays: true},
		{name: "upwards", swaps: []swap{{"/a", "dir", "-> ../../../../../../VICTIM"}}, edits: from("rootfs/a"), check: ours, refused: "mounts[7].source", noRace: true},
		{name: "magic", swaps: []swap{{"/a", "dir", "-> /proc/1/root"}}, edits: from("rootfs/a"), check: ours, refused: "mounts[7].source", noRace: true},
		{name: "file", swaps: []swap{{"/a", "= ours", "-> VICTIM/file"}}, edits: from("rootfs/a"), check: ours, refused: "mounts[7].source", bothWays: true},
		{name: "owners mapped", swaps: link, edits: mapped, check: ours, refused: "mounts[7].source", bothWays: true},
		{name: "owners mapped, within the root", swaps: []swap{{"/a", "dir", "-> /etc"}}, edits: mapped, check: inEtc, noRace: true},
		{name: "owners mapped, link copied", swaps: link, edits: copied, check: isLink, noRace: true},
		{name: "within the root", swaps: []swap{{"/a", "dir", "-> /etc"}}, edits: from("rootfs/a"), check: inEtc, noRace: true},
	})
}

// A source that is a FIFO, a socket or a device is mounted as it is: opening it
// would block or act.
func TestBindSourceSpecial(t *testing.T) {
	var cases []attackCase
	for kind, want := range map[string]string{"fifo": "p", "socket": "socket", "kmsg": "c"} {
		cases = append(cases, attackCase{name: kind, swaps: []swap{{"vol:/a", "= x", kind}}, noRace: true,
			edits: func(s *scene, _ int) []linuxtest.Edit {
				return []linuxtest.Edit{linuxtest.Mount("/mnt", "bind", s.volume()+"/a", "bind"), look("/mnt")}
			},
			check: func(t *testing.T, s *scene, o *outcome) {
				correct(t, s, o)
				if got := o.Paths["/mnt"].Type; got != want {
					t.Errorf("/mnt is %q, want %q", got, want)
				}
			}})
	}
	play(t, linuxtest.Beside(t), cases)
}

// /proc, /sys and /dev of the image in every shape (CVE-2019-19921,
// CVE-2023-27561, CVE-2023-28642, CVE-2025-54867).
func TestRootShapes(t *testing.T) {
	var cases []attackCase
	for _, point := range []string{"/proc", "/sys", "/dev"} {
		index := map[string]string{"/proc": "mounts[0]", "/dev": "mounts[1]", "/sys": "mounts[5]"}[point]
		for name, trap := range map[string]string{"absolute link": "-> VICTIM", "relative link": "-> ../../../../../../../VICTIM", "loop": "-> " + point,
			"dangling link": "-> /nowhere", "file": "= x", "fifo": "fifo", "link to the root": "-> /", "device": "null", "look-alike": "look-alike"} {
			c := attackCase{name: point + " " + name, swaps: []swap{{point, "dir", trap}}, noRace: true, refused: index}
			if name == "look-alike" {
				c.refused = ""
			} else if link := strings.HasPrefix(trap, "->"); link && point == "/dev" && name != "loop" && name != "link to the root" {
				c.refused = "" // where it leads inside of the root, /dev is mounted
			}
			cases = append(cases, c)
		}
	}
	play(t, linuxtest.Beside(t), cases)
}

// The same shapes come and go while containers start, in a root that a sibling
// can change.
func TestRootShapesRace(t *testing.T) {
	var cases []attackCase
	for _, point := range []string{"/proc", "/sys", "/dev"} {
		// At the path may be the trap again when the program looks.
		check := func(t *testing.T, s *scene, o *outcome) {
			if o.Report != nil {
				masked(t, o)
			}
		}
		cases = append(cases,
			attackCase{name: point + " link", swaps: []swap{{point, "dir", "-> VICTIM"}}, check: check},
			attackCase{name: point + " look-alike", swaps: []swap{{point, "dir", "look-alike"}}, check: check})
	}
	h := linuxtest.Beside(t)
	for _, c := range cases {
		raceIn(t, h, c.name, func(t *testing.T, h *linuxtest.Host) { c.race(newScene(t, h)) })
	}
}

// A mount's destination is "/", with a swapped source: the rest is made in the
// new root.
func TestMountOnRootRace(t *testing.T) {
	h := linuxtest.Beside(t)
	s := newScene(t, h)
	other := s.Bundle()
	s.object(other+"/trap", "dir") // a link to the victim would make that the root: a source is the caller's word
	s.WriteConfig(s.bundle, linuxtest.Spec(look(), writable, func(spec *specs.Spec) {
		m := specs.Mount{Destination: "/", Type: "bind", Source: other + "/rootfs", Options: []string{"rbind"}}
		spec.Mounts = append([]specs.Mount{m}, spec.Mounts...)
	}))
	s.race(func() error { return exchange(other+"/rootfs", other+"/trap") }, s.runs(correct)).bothWays()
}
