package rootfs_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/kernel/host"
	"tongs/internal/rootfs"
)

// node is a file of the model: what path_resolution(7) says, in Go.
type node struct {
	parent   *node // of the root: itself
	name     string
	children map[string]*node // of a directory
	target   string           // of a link
}

func (n *node) dir() bool { return n.children != nil }

func (n *node) path() string {
	if n.parent == n {
		return ""
	}
	return n.parent.path() + "/" + n.name
}

// add makes a directory (target "/"), a file ("") or a link to ("-> " and) a target.
func (n *node) add(name, kind string) *node {
	c := &node{parent: n, name: name}
	target, link := strings.CutPrefix(kind, "-> ")
	switch {
	case link:
		c.target = target
	case kind == "/":
		c.children = map[string]*node{}
	}
	n.children[name] = c
	return c
}

// all lists what is below n as list does.
func (n *node) all(from string) []string {
	var names []string
	for name, c := range n.children {
		if c.dir() {
			names = append(append(names, from+name+"/"), c.all(from+name+"/")...)
		} else {
			names = append(names, from+name)
		}
	}
	return names
}

// rules are what the ways to resolve a path differ in.
type rules struct {
	links bool // links are followed, and not an error
	made  bool // what is missing is made: directories and …
	file  bool // … a file as the last part
}

// resolve walks from the root.
func (n *node) resolve(path string, r rules) (*node, unix.Errno) {
	rest := strings.Split(path, "/")
	here, links := n, 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if !here.dir() {
			if r.made && !slices.ContainsFunc(append(rest, name), func(s string) bool { return s != "" && s != "." }) {
				return here, 0 // Make does not mind a slash or dot behind a file
			}
			return nil, unix.ENOTDIR
		}
		switch name {
		case "", ".":
			continue
		case "..":
			here = here.parent
			continue
		}
		next := here.children[name]
		if next == nil {
			if !r.made {
				return nil, unix.ENOENT
			}
			kind := "/"
			if r.file && !slices.ContainsFunc(rest, func(s string) bool { return s != "" && s != "." }) {
				kind = ""
			}
			next = here.add(name, kind)
		}
		if next.target == "" {
			here = next
			continue
		}
		if links++; links > 40 || !r.links {
			return nil, unix.ELOOP
		}
		if next.target[0] == '/' {
			here = n
		}
		rest = append(strings.Split(next.target, "/"), rest...)
	}
	return here, 0
}

// grow makes a random tree in the model, and the lines that make it in a root.
// outside is a path of the host's.
func grow(r *rand.Rand, outside string) (*node, []string) {
	root := &node{children: map[string]*node{}}
	root.parent = root
	var lines []string
	dirs := []*node{root}
	for range 3 + r.IntN(15) {
		d := dirs[r.IntN(len(dirs))]
		name := string(rune('a' + r.IntN(5)))
		if d.children[name] != nil {
			continue
		}
		at := strings.TrimPrefix(d.path()+"/"+name, "/")
		switch r.IntN(4) {
		case 0, 1:
			target := someTarget(r, outside)
			d.add(name, "-> "+target)
			lines = append(lines, at+" -> "+target)
		case 2:
			dirs = append(dirs, d.add(name, "/"))
			lines = append(lines, at+"/")
		default:
			d.add(name, "")
			lines = append(lines, at)
		}
	}
	if r.IntN(4) == 0 { // around the limit of links
		for _, l := range chain(38 + r.IntN(5)) {
			name, target, _ := strings.Cut(l, " -> ")
			root.add(name, "-> "+target)
			lines = append(lines, l)
		}
	}
	return root, lines
}

func someTarget(r *rand.Rand, outside string) string {
	switch r.IntN(6) {
	case 0:
		return outside
	case 1:
		return strings.Repeat("../", 1+r.IntN(8)) + strings.TrimPrefix(outside, "/")
	}
	return somePath(r)
}

func somePath(r *rand.Rand) string {
	parts := []string{"a", "b", "c", "d", "e", "a", "b", "c", "..", "..", ".", ""}
	var p []string
	for range 1 + r.IntN(6) {
		p = append(p, parts[r.IntN(len(parts))])
	}
	s := strings.Join(p, "/")
	if r.IntN(3) == 0 {
		s = "/" + s
	}
	if s == "" {
		return "/"
	}
	return s
}

// FuzzResolve compares Look, Follow and Make with the model, and the model with
// the kernel, on random trees with links of all kinds.
func FuzzResolve(f *testing.F) {
	for seed := range uint64(150) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		tr := newTree(t, nil)
		model, lines := grow(r, tr.base+"/canary/x")
		for _, line := range lines {
			tr.put(line)
		}
		for range 25 {
			p := somePath(r)
			if r.IntN(10) == 0 {
				p = fmt.Sprintf("l%d", 35+r.IntN(8))
			}
			tr.compare(model, p)
			if !t.Failed() && r.IntN(2) == 0 {
				tr.compareMake(model, p, r.IntN(2) == 0)
			}
			if t.Failed() {
				t.Fatalf("the tree was made of %q", lines)
			}
		}
		tr.checkCanary()
		tr.closeLeft()
	})
}

// closeLeft closes what a Make that failed has left open: in a container its
// process ends then.
func (tr *tree) closeLeft() {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tr.t.Fatal(err)
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		target, linkErr := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && linkErr == nil && n != tr.fd && strings.HasPrefix(target, tr.base+"/") {
			unix.Close(n)
		}
	}
}

// compare looks a path up in four ways that make nothing.
func (tr *tree) compare(model *node, p string) {
	tr.t.Helper()
	want, e := model.resolve(p, rules{links: true})
	if got, err := tr.kernelOpen(p); (err == nil) != (e == 0) || err != nil && err != e || err == nil && got != tr.lstat(want) {
		tr.t.Errorf("%q: the kernel says %v %v, the model %v", p, got, err, e)
	}
	plain, plainErr := model.resolve(p, rules{})
	k := host.Kernel{}
	b := &kernel.Batch{}
	follow, look := tr.root.Follow(b, p), tr.root.Look(b, p)
	if err := k.Run(b); err != nil {
		tr.t.Fatal(err)
	}
	if err := tr.root.Settle("field", follow); err != nil {
		tr.t.Fatal(err)
	}
	tr.comparePlace("Follow", p, follow, want, e)
	tr.comparePlace("Look", p, look, plain, plainErr)
	tr.compareTrace(p, want, e)
}

// compareTrace compares the way to a path with the model's, whose parents it goes
// through.
func (tr *tree) compareTrace(p string, want *node, e unix.Errno) {
	tr.t.Helper()
	way, err := tr.root.Trace("field", p)
	if e == unix.ENOTDIR && err == nil {
		return // Trace does not mind a slash or dot behind a file
	}
	if (err == nil) != (e == 0 || e == unix.ENOENT) {
		tr.t.Errorf("Trace(%q): got %v, the model %v", p, err, e)
	}
	if err != nil {
		return
	}
	if way.H.Valid() {
		n, _, _ := way.H.Number(nil)
		defer unix.Close(int(n))
	}
	if there := e == 0 && want.parent != want; there != way.H.Valid() {
		tr.t.Errorf("Trace(%q): something is there: %v, the model %v", p, way.H.Valid(), there)
	}
	if e != 0 {
		return
	}
	var inodes, parents []uint64
	for _, st := range way.Stats {
		inodes = append(inodes, st.Ino())
	}
	for ; want.parent != want; want = want.parent {
		parents = append(parents, tr.lstat(want).ino)
	}
	if slices.Reverse(parents); !slices.Equal(inodes, parents) {
		tr.t.Errorf("Trace(%q): the way is %v, the model's %v", p, inodes, parents)
	}
}

func (tr *tree) comparePlace(how, p string, pl *rootfs.Place, want *node, e unix.Errno) {
	tr.t.Helper()
	if pl.Errno() == unix.EAGAIN || pl.Errno() == unix.ELOOP && e == 0 && strings.HasPrefix(p, "l") {
		return // others rename all the time: the kernel cannot tell, or counts the links of a chain twice
	}
	if pl.Errno() != e {
		tr.t.Errorf("%s(%q): got %v, the model %v", how, p, pl.Errno(), e)
	}
	if pl.H.Errno() != 0 {
		return
	}
	n, _, _ := pl.H.Number(nil)
	defer unix.Close(int(n))
	if e == 0 && identify(tr.t, int(n)) != tr.lstat(want) {
		tr.t.Errorf("%s(%q): got another file than the model's %q", how, p, want.path())
	}
}

// compareMake makes a path in the root and in the model.
func (tr *tree) compareMake(model *node, p string, dir bool) {
	tr.t.Helper()
	where, _, err := tr.make(p, dir)
	want, e := model.resolve(p, rules{links: true, made: true, file: !dir})
	switch {
	case (err == nil) != (e == 0):
		tr.t.Errorf("Make(%q, %v): got %v, the model %v", p, dir, err, e)
	case err == nil && where != want.path():
		tr.t.Errorf("Make(%q, %v): led to %q, the model to %q", p, dir, where, want.path())
	}
	got, all := list(tr.t, tr.base+"/root"), model.all("")
	slices.Sort(got)
	slices.Sort(all)
	if !slices.Equal(got, all) {
		tr.t.Errorf("Make(%q, %v): the root has %q, the model %q", p, dir, got, all)
	}
}

func (tr *tree) lstat(n *node) file {
	tr.t.Helper()
	fd, err := unix.Open(tr.base+"/root"+n.path(), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		tr.t.Fatalf("the model has %q: %v", n.path(), err)
	}
	defer unix.Close(fd)
	return identify(tr.t, fd)
}
