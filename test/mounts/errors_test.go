// Package mounts holds end-to-end tests of the mounts of config.json: each row
// is run by tongs and, where it has the feature, by Debian's runc 1.1.5, and the
// mount table, files, modes, owners and content must be the same.
package mounts

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

func TestMain(m *testing.M) { linuxtest.Main(m) }

func writable(s *specs.Spec) { s.Root.Readonly = false }

// only replaces the mounts.
func only(mounts ...specs.Mount) linuxtest.Edit {
	return func(s *specs.Spec) { s.Mounts = mounts }
}

func mount(to, kind, source string, options ...string) specs.Mount {
	return specs.Mount{Destination: to, Type: kind, Source: source, Options: options}
}

// What cannot be mounted is an error that names the mount, its field and, if it
// has any, the kernel's own words; nothing is left behind (the Host checks).
func TestErrors(t *testing.T) {
	h := linuxtest.One(t)
	dir := h.Dir
	for _, name := range []string{"/loop-a", "/loop-b"} {
		other := map[string]string{"/loop-a": "loop-b", "/loop-b": "loop-a"}[name]
		if err := os.Symlink(other, dir+name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+"/file", []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	// What is not seen before the mount's turn.
	late := []string{"missing source below the root", "through links without end"}
	for _, c := range []struct {
		name  string
		mount specs.Mount
		want  []string
	}{
		{"unknown type", mount("/a", "nosuchfs", "x"), []string{"mounts[0].type: ", "nosuchfs", "(ENODEV)"}},
		{"no type", mount("/a", "", "x"), []string{"mounts[0].type: required"}},
		{"missing source", mount("/a", "bind", dir+"/nothing"), []string{"mounts[0].source: ", dir + "/nothing", "(ENOENT)"}},
		{"missing relative source", mount("/a", "bind", "nothing", "bind"), []string{"mounts[0].source: ", "/nothing", "(ENOENT)"}},
		{"missing source below the root", mount("/a", "bind", "rootfs/nothing", "bind"), []string{"mounts[0].source: ", "(ENOENT)"}},
		{"no source", mount("/a", "bind", "", "bind"), []string{"mounts[0].source: required for a bind mount"}},
		{"source is a loop of links", mount("/a", "bind", dir+"/loop-a"), []string{"mounts[0].source: ", "(ELOOP)"}},
		{"source through a file", mount("/a", "bind", dir+"/file/x"), []string{"mounts[0].source: ", "(ENOTDIR)"}},
		{"unknown option", mount("/a", "tmpfs", "tmpfs", "size=1m", "nosuch", "mode=700"), []string{"mounts[0].options: ", "nosuch", "(EINVAL): tmpfs: Unknown parameter 'nosuch'"}},
		{"unknown option with a value", mount("/a", "tmpfs", "tmpfs", "size=1m,nosuch=3"), []string{"mounts[0].options: ", "3", "tmpfs: Unknown parameter 'nosuch'"}},
		{"bad value", mount("/a", "tmpfs", "tmpfs", "size=much"), []string{"mounts[0].options: ", "much", "(EINVAL): tmpfs: Bad value for 'size'"}},
		{"option of another file system", mount("/a", "proc", "proc", "size=1m"), []string{"mounts[0].options: ", "proc: Unknown parameter 'size'"}},
		{"data on a bind", mount("/a", "bind", "/etc", "bind", "size=1m"), []string{"mounts[0].options: a bind mount cannot have file-system-specific options", "size=1m"}},
		{"overlay without layers", mount("/a", "overlay", "overlay"), []string{"mounts[0].type: ", "overlay", "(EINVAL)"}},
		{"missing layer", mount("/a", "overlay", "overlay", "lowerdir="+dir+"/nothing:"+dir), []string{"mounts[0].options: ", "overlay: "}},
		{"source that is no block device", mount("/a", "ext4", dir+"/file"), []string{"mounts[0].source: ", "(ENOTBLK)"}},
		{"directory on a file", mount("/etc/passwd", "bind", "/etc"), []string{"mounts[0].destination: /etc/passwd is not a directory, but the source is a directory"}},
		{"file on a directory", mount("/etc", "bind", "/etc/passwd"), []string{"mounts[0].destination: /etc is a directory, but the source is not a directory"}},
		{"tmpfs on a file", mount("/etc/passwd", "tmpfs", "tmpfs"), []string{"mounts[0].destination: /etc/passwd is not a directory"}},
		{"through a file", mount("/etc/passwd/x", "tmpfs", "tmpfs"), []string{"mounts[0].destination: ", "on the way is not a directory"}},
		{"through links without end", mount("/loop/x", "tmpfs", "tmpfs"), []string{"mounts[0].destination: ", "(ELOOP)"}},
		{"long name", mount("/"+strings.Repeat("n", 256), "tmpfs", "tmpfs"), []string{"mounts[0].destination: ", "(ENAMETOOLONG)"}},
		{"tmpfs on /proc", mount("/proc", "tmpfs", "tmpfs"), []string{"mounts[0].type: ", "/proc"}},
		{"bind of another directory on /proc", mount("/proc", "bind", "/etc"), []string{"mounts[0]", "/proc"}},
		{"proc through a link", mount("/link", "proc", "proc"), []string{"mounts[0].destination: /link: a file system of type proc must be mounted on an ordinary directory"}},
		{"sysfs below a link", mount("/link/sub", "sysfs", "sysfs"), []string{"mounts[0].destination: ", "ordinary directory"}},
		{"tmpcopyup of a bind", mount("/a", "bind", "/etc", "tmpcopyup"), []string{"mounts[0].options: tmpcopyup", "tmpfs"}},
	} {
		h.Sub(t, c.name, func(t *testing.T, h *linuxtest.Host) {
			refused(t, h, only(c.mount), c.want...)
			if slices.Contains(late, c.name) {
				return
			}
			// Nor is the mount point of a mount before it made.
			for i := range c.want {
				c.want[i] = strings.ReplaceAll(c.want[i], "mounts[0]", "mounts[2]")
			}
			refused(t, h, only(mount("/new", "tmpfs", "tmpfs"), mount("/other/new", "bind", "/etc"), c.mount), c.want...)
		})
	}
	for _, dest := range []string{"/proc/x", "/proc/self", "/proc/sys", "/proc/sys/kernel/core_pattern", "/link-to-proc/sysrq-trigger"} {
		h.Sub(t, "on "+dest, func(t *testing.T, h *linuxtest.Host) {
			refused(t, h, only(mount("/proc", "proc", "proc"), mount(dest, "bind", "/dev/null")), "mounts[1].destination: ")
			refused(t, h, only(mount("/proc", "proc", "proc"), mount(dest, "tmpfs", "tmpfs")), "mounts[1].destination: ")
		})
	}
}

// refused wants a container to be refused with an error that has all the words
// and a message of one line.
func refused(t *testing.T, h *linuxtest.Host, edit linuxtest.Edit, words ...string) {
	t.Helper()
	bundle := h.Bundle(edit, writable, linuxtest.Args("/bin/true"))
	for link, target := range map[string]string{"/link": "tmp", "/loop": "loop", "/link-to-proc": "/proc", "/to-root": "/"} {
		if err := os.Symlink(target, bundle+"/rootfs"+link); err != nil {
			t.Fatal(err)
		}
	}
	before := names(t, bundle+"/rootfs")
	r := h.Run("run", "--bundle", bundle, h.ID("a"))
	if r.Status == 0 {
		t.Fatal("it was accepted")
	}
	if after := names(t, bundle+"/rootfs"); !slices.Equal(after, before) {
		t.Errorf("the root file system has %q, and had %q", after, before)
	}
	for _, w := range words {
		if !strings.Contains(r.Stderr, w) {
			t.Errorf("the error lacks %q: %s", w, r.Stderr)
		}
	}
	if strings.Count(r.Stderr, "\n") != 1 {
		t.Errorf("the error has not one line: %q", r.Stderr)
	}
}

// names lists a tree.
func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		list = append(list, path[len(dir):])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// What is wrong is found before a mount point or a link is made for any mount, also
// behind a mount in a new tmpfs, and of a tmpfs whose place is not known yet.
func TestErrorBehindOtherMounts(t *testing.T) {
	h := linuxtest.One(t)
	if err := os.Symlink("nowhere", h.Dir+"/link"); err != nil {
		t.Fatal(err)
	}
	missing := mount("/new", "tmpfs", "tmpfs")
	file := mount("/etc/passwd", "tmpfs", "tmpfs")
	wrong := func(p string) specs.Mount { return mount(p, "tmpfs", "tmpfs", "nosuch") }
	for name, mounts := range map[string][]specs.Mount{
		"behind mounts in a new tmpfs": {missing, mount("/tmp", "tmpfs", "tmpfs"), mount("/tmp/a", "devpts", "devpts"), mount("/tmp/b", "tmpfs", "tmpfs"), file},
		"in a bind":                    {missing, mount("/tmp", "bind", h.Dir), wrong("/tmp/new")},
		"on a link":                    {missing, wrong("/link")},
		"below a missing one":          {mount("/new/x", "tmpfs", "tmpfs"), wrong("/new")},
		"behind a copied link":         {mount("/new", "bind", h.Dir+"/link", "copy-symlink"), file},
	} {
		h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
			refused(t, h, only(mounts...), "mounts["+strconv.Itoa(len(mounts)-1)+"].")
		})
	}
}

// An overlay is made in its turn if its layers lie in the root file system: they may be
// mount points that are missing before.
func TestLayersInTheRoot(t *testing.T) {
	h := linuxtest.One(t)
	source := mkdir(t, h.Dir+"/source")
	bundle := h.Bundle(writable, linuxtest.Args("/bin/true"))
	spec := linuxtest.Spec(writable, linuxtest.Args("/bin/true"))
	lower := "lowerdir=" + bundle + "/rootfs/layer:" + bundle + "/rootfs/etc"
	spec.Mounts = append(spec.Mounts, mount("/layer", "bind", source), mount("/merged", "overlay", "overlay", lower))
	h.WriteConfig(bundle, spec)
	if r := h.Run("run", "--bundle", bundle, h.ID("a")); r.Status != 0 {
		t.Error(r.Stderr)
	}
}

// The kernel's words are not lost where a mount comes after others in one batch.
func TestErrorOfALaterMount(t *testing.T) {
	h := linuxtest.One(t)
	var st unix.Statfs_t
	if err := unix.Statfs(h.Dir, &st); err != nil {
		t.Fatal(err)
	}
	refused(t, h, linuxtest.Mount("/tmp/a", "tmpfs", "tmpfs", "bad=1"), "].options: ", "tmpfs: Unknown parameter 'bad'")
}

// What is wrong with a destination is told of that on which the mount was to be, also
// if a later mount is the root.
func TestErrorBelowALaterRoot(t *testing.T) {
	h := linuxtest.One(t)
	source := mkdir(t, h.Dir+"/source")
	refused(t, h, func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, mount("/bin/sh", "bind", source, "bind"), mount("/", "bind", source, "bind"))
	}, "].destination: /bin/sh is not a directory, but the source is a directory")
}
