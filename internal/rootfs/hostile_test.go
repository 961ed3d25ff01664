package rootfs_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/kernel/host"
	"tongs/internal/rootfs"
)

// tree is a root directory with a canary beside it, which nothing may touch.
type tree struct {
	t    testing.TB
	base string
	fd   int
	root *rootfs.Root
}

func newTree(t testing.TB, layout []string) *tree {
	t.Helper()
	tr := &tree{t: t, base: t.TempDir()}
	for _, dir := range []string{"root", "canary"} {
		if err := os.Mkdir(filepath.Join(tr.base, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range layout {
		tr.put(line)
	}
	var err error
	if tr.fd, err = unix.Open(tr.base+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(tr.fd) })
	tr.root = &rootfs.Root{K: host.Kernel{}, Dir: kernel.NewHandle(int64(tr.fd), "root")}
	return tr
}

// put makes one line of a layout: "a -> b" a link, "a/" a directory, "a" a
// file. Directories on the way are made.
func (tr *tree) put(line string) {
	name, target, link := strings.Cut(line, " -> ")
	p := filepath.Join(tr.base, "root", name)
	err := os.MkdirAll(filepath.Dir(p), 0o755)
	switch {
	case err != nil:
	case link:
		err = os.Symlink(target, p)
	case strings.HasSuffix(name, "/"):
		err = os.MkdirAll(p, 0o755)
	default:
		err = os.WriteFile(p, nil, 0o644)
	}
	if err != nil {
		tr.t.Fatal(err)
	}
}

// list names what is below a directory, as layouts do.
func list(t testing.TB, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		name := p[len(dir)+1:]
		if d.IsDir() {
			name += "/"
		}
		names = append(names, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// file identifies what a handle or descriptor is open on.
type file struct {
	dev, ino uint64
	mode     uint32
}

func identify(t testing.TB, fd int) file {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return file{st.Dev, st.Ino, st.Mode & unix.S_IFMT}
}

// kernelOpen is the kernel's own answer.
func (tr *tree) kernelOpen(p string) (file, error) {
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(tr.fd, p, how)
	// EAGAIN: another process has renamed something. ELOOP is the truth, or the
	// same: an attempt that the kernel gave up and began anew has counted the
	// links already.
	for try := 0; err == unix.EAGAIN || err == unix.ELOOP && try < 64; try++ {
		fd, err = unix.Openat2(tr.fd, p, how)
	}
	if err != nil {
		return file{}, err
	}
	defer unix.Close(fd)
	return identify(tr.t, fd), nil
}

// make is Root.Make, with where it led to: "" if outside of the root.
func (tr *tree) make(p string, dir bool) (where string, f file, err error) {
	tr.t.Helper()
	place, err := tr.root.Make("field", p, dir)
	if err != nil {
		return "", file{}, err
	}
	n, _, _ := place.H.Number(nil)
	defer func() {
		if err == nil && place.Top != (where == "") {
			tr.t.Errorf("Make(%q): led to %q, Top is %v", p, where, place.Top)
		}
	}()
	if int(n) == tr.fd {
		tr.t.Errorf("Make(%q) gave the root's own handle away", p)
	}
	defer unix.Close(int(n))
	where, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", n))
	if err != nil {
		tr.t.Fatal(err)
	}
	where, inside := strings.CutPrefix(where, tr.base+"/root")
	if !inside || where != "" && where[0] != '/' {
		tr.t.Errorf("Make(%q) led out of the root", p)
	}
	return where, identify(tr.t, int(n)), nil
}

func (tr *tree) checkCanary() {
	tr.t.Helper()
	if got := list(tr.t, tr.base+"/canary"); len(got) > 0 {
		tr.t.Errorf("the canary has %q", got)
	}
	if entries, err := os.ReadDir(tr.base); err != nil || len(entries) != 2 {
		tr.t.Errorf("beside the root: %v %v", entries, err)
	}
}

// chain is n links in a row, the last of them to "end".
func chain(n int) []string {
	list := []string{"l0 -> end"}
	for i := 1; i < n; i++ {
		list = append(list, fmt.Sprintf("l%d -> l%d", i, i-1))
	}
	return list
}

// descriptors counts what this process has open.
func descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestMakeClosesWhatItOpened(t *testing.T) {
	tr := newTree(t, []string{"d/e/", "a -> d/e/../l", "d/l -> /d/./e", "loop -> loop", "d/e/loop -> loop", "d/e/f", "d/e/file"})
	before := descriptors(t)
	for _, p := range []string{"/", "/a/x/y", "/a/../../a", "/d/e/../.."} {
		if _, _, err := tr.make(p, true); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
	for _, p := range []string{"/d/e/f/x", "/a/loop/x", "/d/e/file/x", "/d/e" + strings.Repeat("/y", 5000)} {
		if _, _, err := tr.make(p, true); err == nil {
			t.Errorf("%.20s: made", p)
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestMakeHostileLayouts(t *testing.T) {
	name255, name256 := strings.Repeat("n", 255), strings.Repeat("n", 256)
	for _, c := range []struct {
		name   string
		layout []string
		path   string
		file   bool
		want   string   // where it leads to in the root, or …
		err    string   // … part of the error
		made   []string // what was not there before
	}{
		{name: "root", path: "/"},
		{name: "existing directory", layout: []string{"a/b/"}, path: "/a/b", want: "/a/b"},
		{name: "existing file", layout: []string{"a/b"}, path: "/a/b", file: true, want: "/a/b"},
		{name: "existing file where a directory is wanted", layout: []string{"a/b"}, path: "/a/b", want: "/a/b"},
		{name: "missing directory", layout: []string{"a/"}, path: "/a/b/c", want: "/a/b/c", made: []string{"a/b/", "a/b/c/"}},
		{name: "missing file", path: "/a/b", file: true, want: "/a/b", made: []string{"a/", "a/b"}},
		{name: "trailing slash", path: "/a/", file: true, want: "/a", made: []string{"a"}},
		{name: "double slashes and dots", layout: []string{"a/"}, path: "//a/.//b/.", want: "/a/b", made: []string{"a/b/"}},
		{name: "parent of the root", path: "/../../a", want: "/a", made: []string{"a/"}},
		{name: "parent on the way", layout: []string{"a/b/"}, path: "/a/b/../c", want: "/a/c", made: []string{"a/c/"}},
		{name: "file on the way", layout: []string{"a"}, path: "/a/b", err: `"a" on the way is not a directory`},
		{name: "file on the way, in a link", layout: []string{"f", "a -> f/x"}, path: "/a", err: `"f" on the way is not a directory`},
		{name: "file on the way, then a parent", layout: []string{"f"}, path: "/f/../g", err: `"f" on the way is not a directory`},
		{name: "absolute link", layout: []string{"b/", "a -> /b"}, path: "/a/c", want: "/b/c", made: []string{"b/c/"}},
		{name: "absolute dangling link", layout: []string{"a -> /b/c"}, path: "/a", want: "/b/c", made: []string{"b/", "b/c/"}},
		{name: "relative dangling link", layout: []string{"d/a -> b"}, path: "/d/a", file: true, want: "/d/b", made: []string{"d/b"}},
		{name: "link out of the root", layout: []string{"a -> ../../../etc"}, path: "/a", want: "/etc", made: []string{"etc/"}},
		{name: "link to the canary", layout: []string{"a -> ../canary"}, path: "/a/x", want: "/canary/x", made: []string{"canary/", "canary/x/"}},
		{name: "link with parents in the middle", layout: []string{"d/e/", "a -> d/e/../../../../canary/x"}, path: "/a", file: true, want: "/canary/x", made: []string{"canary/", "canary/x"}},
		{name: "parent behind a link is the target's", layout: []string{"d/e/", "a -> d/e"}, path: "/a/../f", want: "/d/f", made: []string{"d/f/"}},
		{name: "link to the root", layout: []string{"a -> /"}, path: "/a/b", want: "/b", made: []string{"b/"}},
		{name: "link to itself", layout: []string{"a -> a"}, path: "/a", err: "ELOOP"},
		{name: "links to each other", layout: []string{"a -> b/x", "b -> a"}, path: "/a", err: "ELOOP"},
		{name: "40 links", layout: append(chain(40), "end/"), path: "/l39", want: "/end"},
		{name: "40 links to nothing", layout: chain(40), path: "/l39", want: "/end", made: []string{"end/"}},
		{name: "41 links", layout: append(chain(41), "end/"), path: "/l40", err: "ELOOP"},
		{name: "link with slashes at the end", layout: []string{"d/", "a -> d//"}, path: "/a", want: "/d"},
		{name: "link to a dot", layout: []string{"d/a -> ."}, path: "/d/a/b", want: "/d/b", made: []string{"d/b/"}},
		{name: "magic link in spelling", layout: []string{"proc/self/fd/3 -> /", "a -> /proc/self/fd/3"}, path: "/a/b", want: "/b", made: []string{"b/"}},
		{name: "path of a magic link", path: "/proc/self/fd/3", want: "/proc/self/fd/3", made: []string{"proc/", "proc/self/", "proc/self/fd/", "proc/self/fd/3/"}},
		{name: "longest name", path: "/" + name255, want: "/" + name255, made: []string{name255 + "/"}},
		{name: "name too long", path: "/" + name256, err: "ENAMETOOLONG"},
		{name: "name too long, in a link", layout: []string{"a -> " + name256}, path: "/a", err: "ENAMETOOLONG"},
		{name: "very long path", path: strings.Repeat("/"+name255, 20), want: strings.Repeat("/"+name255, 15)},
		{name: "names like options", path: "/ /-a/\n", want: "/ /-a/\n", made: []string{" /", " /-a/", " /-a/\n/"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := newTree(t, c.layout)
			before := list(t, tr.base+"/root")
			known, kernelErr := tr.kernelOpen(c.path)
			if c.name == "very long path" {
				// Each part goes through the one before: PATH_MAX is no limit.
				if _, err := tr.root.Make("field", c.path, true); err != nil {
					t.Errorf("got %v", err)
				}
				return
			}
			where, f, err := tr.make(c.path, !c.file)
			tr.checkCanary()
			if c.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), "field: ") || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want %q", err, c.err)
				}
				if kernelErr == nil {
					t.Errorf("the kernel opens it")
				}
			} else if err != nil || where != c.want {
				t.Errorf("got %q %v, want %q", where, err, c.want)
			}
			if kernelErr == nil && f != known {
				t.Errorf("got %+v, the kernel %+v", f, known)
			}
			if again, err := tr.kernelOpen(c.path); c.err == "" && (err != nil || again != f) && !strings.HasSuffix(c.path, "/") {
				t.Errorf("got %+v, the kernel afterwards %+v %v", f, again, err)
			}
			made := slices.DeleteFunc(list(t, tr.base+"/root"), func(s string) bool { return slices.Contains(before, s) })
			if !slices.Equal(made, c.made) {
				t.Errorf("made %q, want %q", made, c.made)
			}
		})
	}
}

// The modes are those of the documentation, whatever the umask.
func TestMakeModes(t *testing.T) {
	old := unix.Umask(0) // as in the container, where a step has cleared it
	defer unix.Umask(old)
	tr := newTree(t, nil)
	if _, _, err := tr.make("/d/f", false); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"d": fs.ModeDir | 0o755, "d/f": 0o644} {
		info, err := os.Lstat(filepath.Join(tr.base, "root", name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: got %v %v, want %v", name, info.Mode(), err, want)
		}
	}
}

// Somebody exchanges a directory for a link to the outside while Make walks
// through it: whatever Make sees, it stays inside.
func TestMakeRace(t *testing.T) {
	const times = 700 // for each of three targets
	for _, target := range []string{"../canary", "/../canary", "../../canary"} {
		t.Run(strings.ReplaceAll(target, "/", "_"), func(t *testing.T) {
			tr := newTree(t, []string{"p/d/", "p/l -> " + target})
			dir, err := unix.Open(tr.base+"/root/p", unix.O_PATH|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(dir)
			stop, swaps := make(chan struct{}), make(chan int)
			go func() {
				n := 0
				for {
					select {
					case <-stop:
						swaps <- n
						return
					default:
						if unix.Renameat2(dir, "d", dir, "l", unix.RENAME_EXCHANGE) == nil {
							n++
						}
					}
				}
			}()
			failed := 0
			for i := range times {
				if _, _, err := tr.make(fmt.Sprintf("/p/d/n%d/f", i), false); err != nil {
					failed++
				}
			}
			close(stop)
			n := <-swaps
			if n < times || failed == times {
				t.Errorf("no race: %d swaps, %d of %d failed", n, failed, times)
			}
			t.Logf("%d swaps, %d of %d failed", n, failed, times)
			tr.checkCanary()
		})
	}
}

// FuzzMake makes a random tree and compares with the kernel.
func FuzzMake(f *testing.F) {
	f.Add("a/\nb -> ../canary\nc", "/b/c", true)
	f.Add("a -> b\nb -> a", "/a/x", false)
	f.Add("d/e/\nl -> d/e/../..", "/l/../l/d/f", true)
	f.Add("l -> /../../x/.", "l", false)
	f.Add("a/b -> ..\na/c -> b/a/b", "/a/c/a/c/z", true)
	f.Fuzz(func(t *testing.T, layout, path string, dir bool) {
		lines := strings.Split(layout, "\n")
		if len(lines) > 20 || len(layout) > 500 || len(path) > 200 || strings.ContainsRune(layout+path, 0) {
			return
		}
		tr := newTree(t, nil)
		for _, line := range lines {
			tr.tryPut(line)
		}
		known, kernelErr := tr.kernelOpen(path)
		if path == "" {
			kernelErr = unix.ENOENT // the kernel has no empty path; here it is the root
		}
		_, got, err := tr.make(path, dir)
		tr.checkCanary()
		switch {
		case kernelErr == nil && err != nil:
			t.Errorf("%q: got %v, the kernel opens it", path, err)
		case kernelErr == nil && got != known:
			t.Errorf("%q: got %+v, the kernel %+v", path, got, known)
		case kernelErr == unix.ELOOP && err == nil:
			t.Errorf("%q: made, but the kernel finds a loop", path)
		}
	})
}

// tryPut is put for lines that may be anything: it stays in the root by
// leaving out what is not plain.
func (tr *tree) tryPut(line string) {
	name, target, link := strings.Cut(line, " -> ")
	for part := range strings.SplitSeq(strings.Trim(name, "/"), "/") {
		if part == "" || part == "." || part == ".." || len(part) > 100 {
			return
		}
	}
	if link && target == "" {
		return
	}
	// openat2 makes sure that links of earlier lines are not followed outside.
	parent := filepath.Dir(strings.Trim(name, "/"))
	fd, err := unix.Openat2(tr.fd, parent, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return
	}
	defer unix.Close(fd)
	base := filepath.Base(strings.Trim(name, "/"))
	switch { // what is there already stays
	case link:
		unix.Symlinkat(target, fd, base)
	case strings.HasSuffix(name, "/"):
		unix.Mkdirat(fd, base, 0o755)
	default:
		unix.Mknodat(fd, base, unix.S_IFREG|0o644, 0)
	}
}

// The text of a magic link (/proc/PID/fd/N, cwd, root, exe) may name anything of
// the host's. It is never followed, while proc's ordinary links are.
func TestMakeMagicLinks(t *testing.T) {
	tr := newTree(t, nil)
	proc, err := unix.Open("/proc", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(proc)
	tr.root.Dir = kernel.NewHandle(int64(proc), "proc")
	for _, p := range []string{"/self/root", "/self/cwd/x", "/self/exe", fmt.Sprintf("/self/fd/%d", tr.fd), fmt.Sprintf("/thread-self/fd/%d/canary", tr.fd), "/self/root/..", "/self/ns/mnt"} {
		if _, err := tr.root.Make("field", p, true); err == nil || !strings.Contains(err.Error(), "only the kernel can follow (ELOOP)") {
			t.Errorf("%s: got %v", p, err)
		}
	}
	place, err := tr.root.Make("field", "/mounts", false) // a link to self/mounts
	if err != nil {
		t.Fatal(err)
	}
	n, _, _ := place.H.Number(nil)
	unix.Close(int(n))
	tr.checkCanary()
}
