package attack

import (
	"fmt"
	"os"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
	"tongs/internal/linuxtest/stepper"
)

// A part of a mount's destination is exchanged when the mount has just been
// attached, or when its place has been opened (CVE-2021-30465).
func TestDestinationMoment(t *testing.T) {
	const to, where = "/a/b/c", "mounts[7].destination"
	things := []thing{{"/a/b/c", "dir"}, {"/a/b/c.trap", "dir"}, {"/a/b.trap/c", "dir"}, {"/a.trap/b/c", "dir"}}
	edits := func(options []string, more ...linuxtest.Edit) func(*scene) []linuxtest.Edit {
		return func(s *scene) []linuxtest.Edit { return append(bind(to, options...)(s, 0), more...) }
	}
	hook := func(s *specs.Spec) { s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/true"}}} }
	many := func(s *specs.Spec) { // so that results are taken late
		for i := range 200 {
			linuxtest.Mount(fmt.Sprintf("/many%d", i), "bind", "/etc", "bind")(s)
		}
	}
	h := linuxtest.One(t)
	for _, c := range []momentCase{
		{name: "mount point", act: swapped("/a/b/c")},
		{name: "its parent", act: swapped("/a/b")},
		{name: "first part", act: swapped("/a")},
		{name: "opened", at: opened(to), act: swapped("/a/b")},
		{name: "before a hook", act: swapped("/a/b"), edits: edits(nil, hook)},
		{name: "hidden by a later mount", act: swapped("/a/b"), edits: edits(nil, linuxtest.Mount("/a", "tmpfs", "tmpfs"))},
		{name: "among many", act: swapped("/a/b"), edits: edits(nil, many)},
		{name: "user namespace", act: swapped("/a/b"), edits: edits(nil, inUserNamespace)},
		{name: "without pivot", act: swapped("/a/b"), args: func(*scene) []string { return []string{"run", "--no-pivot"} }},
		{name: "no link is followed at its end", act: swapped("/a/b"), edits: edits([]string{"dest-nofollow"})},
		{name: "link to the victim", act: swapped("/a/b"), edits: func(s *scene) []linuxtest.Edit {
			s.object(s.root+s.victim+"/c", "dir") // within the root
			s.object(s.root+"/a/b.trap", "-> VICTIM")
			return edits(nil)(s)
		}},
		{name: "exchanged back", act: swappedBack("/a/b"), check: mounted(to)},
	} {
		c.things = things
		if c.edits == nil {
			c.edits = edits(nil)
		}
		if c.at == nil {
			c.at = attached(to)
		}
		if c.check == nil {
			c.want = elsewhere(where, to)
		}
		c.play(t, h)
	}
}

// The same for what the kernel provides, with a look-alike as the trap
// (CVE-2019-19921).
func TestRootShapesMoment(t *testing.T) {
	h := linuxtest.One(t)
	for point, mount := range map[string]string{"/proc": "mounts[0]", "/dev": "mounts[1]", "/sys": "mounts[5]"} {
		c := momentCase{name: point, at: attached(point), act: swapped(point), want: elsewhere(mount+".destination", point)}
		c.things = []thing{{"/proc.trap", "look-alike"}}
		for _, dir := range []string{"/dev.trap/pts", "/dev.trap/shm", "/dev.trap/mqueue", "/sys.trap/fs/cgroup"} {
			c.things = append(c.things, thing{dir, "dir"})
		}
		c.edits = func(*scene) []linuxtest.Edit { return nil }
		c.play(t, h)
	}
}

// The same where a link is on the way to the destination, so that the place had to be
// walked to.
func TestLinkedDestinationMoment(t *testing.T) {
	things := []thing{{"/real/c", "dir"}, {"/other/c", "dir"}, {"/real.trap/c", "dir"}, {"/link", "-> real"}, {"/link.trap", "-> other"}}
	edits := func(s *scene) []linuxtest.Edit { return bind("/link/c")(s, 0) }
	h := linuxtest.One(t)
	for _, c := range []momentCase{
		{name: "link", act: swapped("/link"), at: attached("/real/c"), edits: edits, want: elsewhere("mounts[7].destination", "/link/c")},
		{name: "where it leads", act: swapped("/real"), at: attached("/real/c"), edits: edits, want: elsewhere("mounts[7].destination", "/link/c")},
		{name: "opened", act: swapped("/link"), at: opened("/real/c"), edits: edits, want: elsewhere("mounts[7].destination", "/link/c")},
		{name: "made", act: swapped("/link"), at: attached("/real/new/deep"), edits: func(s *scene) []linuxtest.Edit {
			s.object(s.root+"/other/new/deep", "dir")
			return bind("/link/new/deep")(s, 0)
		}, want: elsewhere("mounts[7].destination", "/link/new/deep")},
		{name: "exchanged back", act: swappedBack("/link"), at: attached("/real/c"), edits: edits, check: mounted("/link/c")},
	} {
		c.things = things
		c.play(t, h)
	}
}

// A device that is bound in a user namespace, in the image's /dev.
func TestDeviceMoment(t *testing.T) {
	h := linuxtest.One(t)
	const path = "/dev/zero"
	for _, c := range []momentCase{
		{name: "node", act: swapped(path), at: attached(path), want: elsewhere("linux.devices", path)},
		{name: "node, opened", act: swapped(path), at: opened(path), want: elsewhere("linux.devices", path)},
		{name: "exchanged back", act: swappedBack(path), at: attached(path), check: func(t *testing.T, s *scene, o *outcome) {
			correct(t, s, o)
			if p := o.Paths[path]; p.Type != "c" || p.Device != "1:5" {
				t.Errorf("%s is %+v", path, p)
			}
		}},
	} {
		c.things = []thing{{path, "= x"}, {path + ".trap", "= x"}}
		c.edits = func(s *scene) []linuxtest.Edit {
			s.must(os.Chown(s.root+"/dev", 100000, 100000)) // the container makes links there
			return append(imageDev(s, 0), inUserNamespace, look(path))
		}
		c.play(t, h)
	}
}

// rootCopied is when tongs has opened the root's tree. The copy has no path.
func rootCopied(s *scene, st *stepper.Stop) bool {
	if !st.Own || st.Entry || st.Number != unix.SYS_OPEN_TREE || st.Result < 0 {
		return false
	}
	root, err := os.Stat(s.root)
	copied, err2 := os.Stat(descriptor(st, uint64(st.Result)))
	return err == nil && err2 == nil && os.SameFile(root, copied)
}

const rootMoved = "root.path: the directory is not the one that was opened first"

// A source in the root that gets mapped owners is opened by the name of the root.
func TestMappedSourceMoment(t *testing.T) {
	h := linuxtest.One(t)
	c := momentCase{name: "root", at: rootCopied, act: swapped(""), want: rootMoved, edits: func(s *scene) []linuxtest.Edit {
		s.object(s.bundle+"/rootfs.trap/a/trap", "= x")
		s.object(s.root+"/a", "dir")
		return []linuxtest.Edit{linuxtest.Mount("/tmp", "bind", "rootfs/a", "bind"), mapOwners}
	}}
	c.play(t, h)
}

// With hooks the root lies where the host has it: root.path is exchanged after it was
// opened, and before a hook looks there. No hook sees a directory that is not the
// container's root.
func TestRootMoment(t *testing.T) {
	h := linuxtest.One(t)
	for name, list := range map[string]func(*specs.Hooks) *[]specs.Hook{
		"createRuntime":   func(h *specs.Hooks) *[]specs.Hook { return &h.CreateRuntime },
		"createContainer": func(h *specs.Hooks) *[]specs.Hook { return &h.CreateContainer },
	} {
		for _, c := range []momentCase{
			{name: "tree copied", at: rootCopied},
			{name: "place opened", at: opened("")},
			{name: "attached", at: attached("")},
			{name: "with mounts in it", at: attached("/sys")},
		} {
			c.name, c.want = name+": "+c.name, rootMoved
			c.edits = func(s *scene) []linuxtest.Edit {
				s.object(s.bundle+"/rootfs.trap/trap", "= x")
				hooks := &specs.Hooks{}
				*list(hooks) = []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "ls " + s.root + " > " + s.bundle + "/seen"}}}
				return []linuxtest.Edit{func(spec *specs.Spec) { spec.Hooks = hooks }}
			}
			c.act = func(s *scene) error {
				s.t.Cleanup(func() {
					if seen, err := os.ReadFile(s.bundle + "/seen"); err == nil {
						s.t.Errorf("a hook has run, and seen %q", seen)
					}
				})
				return swapped("")(s)
			}
			c.play(t, h)
		}
	}
}
