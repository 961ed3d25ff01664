package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
	"tongs/test/inside/report"
)

func writable(s *specs.Spec) { s.Root.Readonly = false }

func propagation(p string) linuxtest.Edit {
	return func(s *specs.Spec) { s.Linux.RootfsPropagation = p }
}

func TestRoot(t *testing.T) {
	root := linuxtest.Inside("/", "/etc/passwd")
	rows := []row{
		{name: "read-only", edits: []linuxtest.Edit{root}, check: func(t *testing.T, r *report.Report) {
			linuxtest.Equal(t, "writing to /", r.Paths["/"].WriteError, "read-only file system")
			linuxtest.Equal(t, "writing to /etc/passwd", r.Paths["/etc/passwd"].WriteError, "read-only file system")
		}},
		{name: "writable", edits: []linuxtest.Edit{root, writable}, check: func(t *testing.T, r *report.Report) {
			linuxtest.Equal(t, "writing to /", r.Paths["/"].WriteError, "")
			linuxtest.Equal(t, "writing to /etc/passwd", r.Paths["/etc/passwd"].WriteError, "")
		}},
	}
	for _, p := range []string{"", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"} {
		c := row{name: "propagation " + p, edits: []linuxtest.Edit{propagation(p)}}
		switch {
		case strings.HasSuffix(p, "shared"):
			c.differences = []difference{{"Mount * propagation", "the root is shared, as the configuration says"}}
			c.check = func(t *testing.T, r *report.Report) {
				m, _ := r.At("/")
				linuxtest.Equal(t, "propagation", group(m.Optional), "shared")
			}
		case strings.HasSuffix(p, "unbindable"):
			c.onlyTongs = "it cannot bind the root when / is unbindable"
			// Nothing can be bound onto itself in such a tree.
			c.edits = append(c.edits, func(s *specs.Spec) { s.Linux.ReadonlyPaths = nil })
			c.check = func(t *testing.T, r *report.Report) {
				m, _ := r.At("/")
				linuxtest.Equal(t, "propagation", m.Optional, "unbindable")
			}
		}
		rows = append(rows, c)
	}
	each(t, linuxtest.One(t), rows)
}

func TestRootAbsolutePath(t *testing.T) {
	h := linuxtest.One(t)
	other := h.Bundle()
	each(t, h, []row{{name: "absolute", edits: edit(func(s *specs.Spec) { s.Root.Path = other + "/rootfs" }),
		check: func(t *testing.T, r *report.Report) {
			if m, _ := r.At("/"); !strings.HasSuffix(m.Root, strings.TrimPrefix(other, "/tmp")+"/rootfs") {
				t.Errorf("root %+v", m)
			}
		}}})
}

// options of a mount as the kernel shows them.
func optionsAre(point string, want ...string) func(*testing.T, *report.Report) {
	return func(t *testing.T, r *report.Report) {
		t.Helper()
		m, ok := r.At(point)
		if !ok {
			t.Errorf("nothing is mounted on %s", point)
			return
		}
		linuxtest.Equal(t, point, m.Options, strings.Join(want, ","))
	}
}

// source makes a tree to be mounted: a file, a directory with a file, and
// something mounted in it.
func source(t *testing.T, h *linuxtest.Host) string {
	t.Helper()
	dir := filepath.Join(h.Dir, "source")
	for _, d := range []string{dir, dir + "/sub"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"/file", "/other"} {
		if err := os.WriteFile(dir+f, []byte("of the host"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("none", dir+"/sub", "tmpfs", unix.MS_NOSUID, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir+"/sub", 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(dir+"/sub/deep", []byte("deep"), 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestBindMounts(t *testing.T) {
	h := linuxtest.One(t)
	dir := source(t, h)
	bind := func(to, from string, options ...string) linuxtest.Edit {
		return linuxtest.Mount(to, "bind", from, options...)
	}
	look := linuxtest.Inside("/mnt", "/mnt/file", "/mnt/sub", "/mnt/sub/deep", "/tmp/x")
	home := func(s *specs.Spec) { s.Process.Env = append(s.Process.Env, "HOME=/") } // not from the file that is covered
	rows := []row{
		{name: "read-write", edits: []linuxtest.Edit{look, writable, bind("/mnt", dir, "bind")}, check: func(t *testing.T, r *report.Report) {
			linuxtest.Equal(t, "content", r.Paths["/mnt/file"].Content, "of the host")
			linuxtest.Equal(t, "writing", r.Paths["/mnt/file"].WriteError+r.Paths["/mnt"].WriteError, "")
			linuxtest.EqualList(t, "names in what rbind would show", r.Paths["/mnt/sub"].Names)
		}},
		{name: "recursive", edits: []linuxtest.Edit{look, writable, bind("/mnt", dir, "rbind")}, check: func(t *testing.T, r *report.Report) {
			linuxtest.Equal(t, "content", r.Paths["/mnt/sub/deep"].Content, "deep")
		}},
		{name: "read-only", edits: []linuxtest.Edit{look, writable, bind("/mnt", dir, "rbind", "ro")}, check: func(t *testing.T, r *report.Report) {
			linuxtest.Equal(t, "writing", r.Paths["/mnt/file"].WriteError, "read-only file system")
			linuxtest.Equal(t, "writing below", r.Paths["/mnt/sub/deep"].WriteError, "")
		}},
		{name: "flags", edits: []linuxtest.Edit{look, writable, bind("/mnt", dir, "rbind", "nosuid", "nodev", "noexec", "noatime", "ro")},
			check: optionsAre("/mnt", "ro", "nosuid", "nodev", "noexec", "noatime")},
		{name: "opposites", edits: []linuxtest.Edit{look, writable, bind("/mnt", dir, "bind", "ro", "rw", "noexec", "exec", "nodev", "dev")},
			check: optionsAre("/mnt", "rw", "relatime")},
		{name: "file on file", edits: []linuxtest.Edit{linuxtest.Inside("/etc/passwd"), home, bind("/etc/passwd", dir+"/file", "bind", "ro")},
			check: func(t *testing.T, r *report.Report) {
				linuxtest.Equal(t, "content", r.Paths["/etc/passwd"].Content, "of the host")
				linuxtest.Equal(t, "writing", r.Paths["/etc/passwd"].WriteError, "read-only file system")
			}},
		{name: "new file", edits: []linuxtest.Edit{linuxtest.Inside("/new/dir/file", "/new/dir"), writable, bind("/new/dir/file", dir+"/file", "bind")},
			check: func(t *testing.T, r *report.Report) {
				linuxtest.Equal(t, "content", r.Paths["/new/dir/file"].Content, "of the host")
			}, differences: []difference{{"Tree :new:dir:file", "a file that is made to be mounted on has the mode 0644, as since runc 1.2; before, 0755"}}},
		{name: "new directory", edits: []linuxtest.Edit{linuxtest.Inside("/new/dir"), writable, bind("/new/dir", dir, "bind")}},
		{name: "in a mount", edits: []linuxtest.Edit{linuxtest.Inside("/tmp/a/b", "/tmp/a"), linuxtest.Mount("/tmp", "tmpfs", "tmpfs"), bind("/tmp/a/b", dir+"/file", "bind")},
			differences: []difference{modeOption()}},
		{name: "in /dev", edits: []linuxtest.Edit{linuxtest.Inside("/dev/x"), bind("/dev/x", dir+"/file", "bind")}},
		{name: "two on one", edits: []linuxtest.Edit{look, writable, bind("/mnt", dir, "bind"), bind("/mnt", dir+"/sub", "bind")},
			check: func(t *testing.T, r *report.Report) { linuxtest.EqualList(t, "names", r.Paths["/mnt"].Names, "deep") }},
		{name: "relative source", edits: []linuxtest.Edit{look, writable, bind("/mnt", "rootfs/etc", "bind")},
			check: func(t *testing.T, r *report.Report) {
				linuxtest.EqualList(t, "names", r.Paths["/mnt"].Names, "group", "passwd")
			}},
		{name: "device", edits: []linuxtest.Edit{linuxtest.Inside("/dev/my"), bind("/dev/my", "/dev/zero", "bind")},
			check: func(t *testing.T, r *report.Report) { linuxtest.Equal(t, "device", r.Paths["/dev/my"].Device, "1:5") }},
	}
	for _, p := range []string{"private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable"} {
		rows = append(rows, row{name: p, edits: []linuxtest.Edit{look, writable, bind("/mnt", dir, "rbind", p)}})
	}
	each(t, h, rows)
}

// rro came with runc 1.1, and there needs the option of the mount, too.
func TestRecursiveReadOnly(t *testing.T) {
	h := linuxtest.One(t)
	dir := source(t, h)
	r := h.RunInside("a", linuxtest.Inside("/mnt/sub/deep"), writable, linuxtest.Mount("/mnt", "bind", dir, "rbind", "rro"))
	linuxtest.Equal(t, "writing below", r.Paths["/mnt/sub/deep"].WriteError, "read-only file system")
}

// modeOption: a tmpfs gets the mode of its mount point.
func modeOption() difference {
	return difference{"Mount :* data", "by mount option, as since runc 1.2; before, by chmod"}
}

func TestFileSystems(t *testing.T) {
	each(t, linuxtest.One(t), []row{
		{name: "tmpfs", edits: []linuxtest.Edit{linuxtest.Inside("/tmp"), linuxtest.Mount("/tmp", "tmpfs", "name", "nosuid", "size=128k", "mode=1770", "uid=7", "gid=8", "noexec")},
			check: func(t *testing.T, r *report.Report) {
				optionsAre("/tmp", "rw", "nosuid", "noexec", "relatime")(t, r)
				linuxtest.Equal(t, "mode", r.Paths["/tmp"].Mode+" "+r.Paths["/tmp"].Owner, "1770 7:8")
			}, differences: []difference{{"Paths :tmp *", "mode= counts, as since runc 1.2; before, the mode of the mount point did"}}},
		// Else /run, say, would become a directory for all to write to.
		{name: "tmpfs has the mode of its mount point", edits: []linuxtest.Edit{linuxtest.Inside("/tmp"), linuxtest.Mount("/tmp", "tmpfs", "tmpfs")},
			check:       func(t *testing.T, r *report.Report) { linuxtest.Equal(t, "mode", r.Paths["/tmp"].Mode, "0755") },
			differences: []difference{modeOption()}},
		{name: "read-only tmpfs", edits: []linuxtest.Edit{linuxtest.Inside("/tmp"), linuxtest.Mount("/tmp", "tmpfs", "tmpfs", "ro", "mode=755")},
			check: func(t *testing.T, r *report.Report) {
				linuxtest.Equal(t, "writing", r.Paths["/tmp"].WriteError, "read-only file system")
			}, differences: []difference{{"Mount :tmp data", "ro makes the mount read-only, and not the file system"}}},
		{name: "a second proc", edits: []linuxtest.Edit{linuxtest.Inside("/tmp/self"), linuxtest.Mount("/tmp", "proc", "proc", "nosuid", "nodev", "noexec")}},
		{name: "defaults", edits: []linuxtest.Edit{linuxtest.Inside("/tmp"), linuxtest.Mount("/tmp", "tmpfs", "tmpfs", "mode=755", "defaults", "noatime", "nodiratime")},
			onlyTongs: "1.1 does not know the option defaults"},
		{name: "mounts none", edits: edit(func(s *specs.Spec) {
			s.Mounts, s.Linux.MaskedPaths, s.Linux.ReadonlyPaths, s.Root.Readonly = nil, nil, nil, false
		}),
			onlyTongs: "it needs /proc in the container"},
	})
}

// Destinations through symlinks end in the container's root, whatever they say.
func TestMountDestinationThroughSymlinks(t *testing.T) {
	h := linuxtest.One(t)
	dir := source(t, h)
	for name, target := range map[string]string{"absolute": "/etc", "upwards": "../../../../../../etc", "dangling": "/nowhere/else", "relative": "etc"} {
		h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
			bundle := h.Bundle(linuxtest.Inside("/link", "/link/file", "/etc/file", "/nowhere/else/file"), writable, linuxtest.Mount("/link", "bind", dir, "bind"))
			if err := os.Symlink(target, bundle+"/rootfs/link"); err != nil {
				t.Fatal(err)
			}
			tongs := h.Look(h.Must("run", "--bundle", bundle, h.ID("a")).Stdout)
			linuxtest.Equal(t, "content", tongs.Paths["/link/file"].Content, "of the host")
			linuxtest.Equal(t, "type", tongs.Paths["/link"].Type, "link")
			if name != "dangling" { // runc 1.1 makes a directory of it
				linuxtest.Compare(t, tongs, h.Look(h.With("runc").Must("run", "--bundle", bundle, h.ID("a")).Stdout))
			}
			if _, err := os.Stat("/nowhere"); err == nil {
				t.Error("the host has /nowhere now")
			}
		})
	}
}

// A mount on "/" becomes the root: what is mounted later, the working directory
// and the program are in it. runc refuses it.
func TestMountOnRoot(t *testing.T) {
	h := linuxtest.One(t)
	other := h.Bundle()
	if err := os.WriteFile(other+"/rootfs/mark", []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	bundle := h.Bundle(linuxtest.Inside("/mark", "/dev/null"), func(s *specs.Spec) {
		s.Mounts = append([]specs.Mount{{Destination: "/", Type: "bind", Source: other + "/rootfs", Options: []string{"rbind"}}}, s.Mounts...)
	})
	if err := os.Remove(bundle + "/rootfs/bin/inside"); err != nil {
		t.Fatal(err)
	}
	r := h.Look(h.Must("run", "--bundle", bundle, h.ID("a")).Stdout)
	linuxtest.Equal(t, "mark", r.Paths["/mark"].Content, "other")
	linuxtest.Equal(t, "null device", r.Paths["/dev/null"].Device, "1:3")
	if _, err := os.Stat(bundle + "/rootfs/mark"); err == nil {
		t.Error("the first root has the mark")
	}
}

func TestMaskedAndReadonlyPaths(t *testing.T) {
	paths := func(masked, readonly []string) linuxtest.Edit {
		return func(s *specs.Spec) { s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = masked, readonly }
	}
	mask := []difference{{"Mount :etc:group *", "the host's null device masks files; with runc it is the container's"},
		{"Mount :tmp data", "one file system masks all directories, each mount of it is read-only"}}
	each(t, linuxtest.One(t), []row{
		{name: "masked", edits: []linuxtest.Edit{linuxtest.Inside("/etc/group", "/tmp"), paths([]string{"/etc/group", "/tmp", "/missing", "/proc/missing"}, nil)},
			check: func(t *testing.T, r *report.Report) {
				linuxtest.Equal(t, "file", r.Paths["/etc/group"].Device, "1:3")
				linuxtest.EqualList(t, "directory", r.Paths["/tmp"].Names)
				if r.Paths["/tmp"].WriteError == "" {
					t.Error("the mask can be written to")
				}
			}, differences: mask},
		{name: "read-only", edits: []linuxtest.Edit{writable, linuxtest.Inside("/", "/etc", "/etc/passwd", "/proc/sys/kernel/hostname"), paths(nil, []string{"/etc", "/missing", "/proc/sys"})},
			check: func(t *testing.T, r *report.Report) {
				linuxtest.Equal(t, "directory", r.Paths["/etc"].WriteError, "read-only file system")
				linuxtest.Equal(t, "file below", r.Paths["/etc/passwd"].WriteError, "read-only file system")
				linuxtest.Equal(t, "proc", r.Paths["/proc/sys/kernel/hostname"].WriteError, "read-only file system")
				linuxtest.Equal(t, "outside", r.Paths["/"].WriteError, "")
			}},
		{name: "read-only file", edits: []linuxtest.Edit{writable, linuxtest.Inside("/etc", "/etc/passwd"), paths(nil, []string{"/etc/passwd"})},
			check: func(t *testing.T, r *report.Report) {
				linuxtest.Equal(t, "file", r.Paths["/etc/passwd"].WriteError, "read-only file system")
				linuxtest.Equal(t, "directory", r.Paths["/etc"].WriteError, "")
			}},
		{name: "none", edits: []linuxtest.Edit{linuxtest.Inside("/proc/keys", "/proc/sys/kernel/hostname"), paths(nil, nil)},
			check:       func(t *testing.T, r *report.Report) { linuxtest.Equal(t, "keys", r.Paths["/proc/keys"].Type, "file") },
			differences: []difference{{"Paths :proc:keys Content", "ages of keys"}}},
	})
}
