package mounts

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
	"tongs/test/inside/report"
)

// sources makes one of each kind of file to be bound, and a directory with two
// file systems mounted below it.
func sources(t *testing.T, h *linuxtest.Host) string {
	t.Helper()
	dir := mkdir(t, h.Dir+"/sources")
	must(t, os.WriteFile(dir+"/file", []byte("of the host"), 0o644), os.Mkdir(dir+"/dir", 0o751), os.Mkdir(dir+"/dir/sub", 0o755),
		os.Mkdir(dir+"/dir/other", 0o755), unix.Mkfifo(dir+"/fifo", 0o640), unix.Mknod(dir+"/device", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))),
		os.Symlink("file", dir+"/link"), os.Symlink("dir", dir+"/link-to-dir"), os.Symlink("nowhere", dir+"/dangling"))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dir + "/socket", Net: "unix"})
	must(t, err)
	t.Cleanup(func() { l.Close() })
	for name, flags := range map[string]uintptr{"sub": unix.MS_NOSUID, "other": unix.MS_NOEXEC | unix.MS_NOATIME} {
		point := dir + "/dir/" + name
		must(t, unix.Mount("none", point, "tmpfs", flags, "size=64k"), os.WriteFile(point+"/deep", []byte(name), 0o666))
		t.Cleanup(func() { must(t, unix.Unmount(point, 0)) })
	}
	return dir
}

func at(p string, check func(t *testing.T, p report.Path)) func(*testing.T, *report.Report) {
	return func(t *testing.T, r *report.Report) { check(t, r.Paths[p]) }
}

func content(p, want string) func(*testing.T, *report.Report) {
	return at(p, func(t *testing.T, got report.Path) { linuxtest.Equal(t, p, got.Content, want) })
}

func kind(p, want string) func(*testing.T, *report.Report) {
	return at(p, func(t *testing.T, got report.Path) { linuxtest.Equal(t, p, got.Type, want) })
}

func bind(to, from string, options ...string) linuxtest.Edit {
	return linuxtest.Mount(to, "bind", from, append([]string{"rbind"}, options...)...)
}

// madeFile: runc 1.1 makes a missing file with other bits.
func madeFile(p string) linuxtest.Difference {
	return linuxtest.Difference{Key: "Tree " + strings.ReplaceAll(p, "/", ":"), Reason: "mode 0644, as since runc 1.2; before, 0755"}
}

func TestBindSources(t *testing.T) {
	h := linuxtest.One(t)
	dir := sources(t, h)
	rows := []linuxtest.Row{
		{Name: "link to a file", Edits: []linuxtest.Edit{bind("/new", dir+"/link")}, Check: content("/new", "of the host")},
		{Name: "link to a directory", Edits: []linuxtest.Edit{bind("/new", dir+"/link-to-dir")}, Check: content("/new/sub/deep", "sub")},
		{Name: "relative", Edits: []linuxtest.Edit{bind("/new", "../sources/file")}, Check: content("/new", "of the host")},
		{Name: "dots", Edits: []linuxtest.Edit{bind("/new", dir+"/dir/../file")}, Check: content("/new", "of the host")},
		{Name: "below the root", Edits: []linuxtest.Edit{bind("/new", "rootfs/etc")}, Check: content("/new/group", "root:x:0:\n")},
		{Name: "a file below the root", Edits: []linuxtest.Edit{bind("/new", "rootfs/etc/group")}, Check: content("/new", "root:x:0:\n")},
		{Name: "a file below the root, on a new tmpfs", Edits: []linuxtest.Edit{linuxtest.Mount("/tmp", "tmpfs", "tmpfs", "mode=755"), bind("/tmp/new", "rootfs/etc/group")}, Check: content("/tmp/new", "root:x:0:\n")},
		{Name: "an earlier mount", Edits: []linuxtest.Edit{bind("/tmp", dir+"/dir"), bind("/new", "rootfs/tmp")}, Check: content("/new/sub/deep", "sub")},
		{Name: "below an earlier mount", Edits: []linuxtest.Edit{bind("/tmp", dir+"/dir"), bind("/new", "rootfs/tmp/sub")}, Check: content("/new/deep", "sub")},
		{Name: "the root itself", Edits: []linuxtest.Edit{linuxtest.Mount("/new", "bind", "rootfs", "bind")}, Check: content("/new/etc/group", "root:x:0:\n")},
	}
	for _, name := range []string{"file", "dir", "fifo", "device", "socket"} {
		want := map[string]string{"file": "file", "dir": "directory", "fifo": "p", "device": "c", "socket": "socket"}[name]
		rows = append(rows, linuxtest.Row{Name: name, Edits: []linuxtest.Edit{bind("/new", dir+"/"+name)}, Check: kind("/new", want)},
			linuxtest.Row{Name: name + ", missing directories", Edits: []linuxtest.Edit{bind("/a/b/new", dir+"/"+name)}, Check: kind("/a/b/new", want)})
	}
	for i := range rows {
		rows[i].Edits = append(rows[i].Edits, writable, linuxtest.Inside("/new", "/new/sub", "/new/sub/deep", "/new/deep", "/new/group", "/new/etc/group", "/a/b/new", "/a/b", "/tmp/new"))
		rows[i].Differences = []linuxtest.Difference{madeFile("/new"), madeFile("/a/b/new")}
	}
	h.Rows(t, rows)
}

func TestBindDestinations(t *testing.T) {
	h := linuxtest.One(t)
	dir := sources(t, h)
	link := func(target string) func(*testing.T, string) {
		return func(t *testing.T, rootfs string) { must(t, os.Symlink(target, rootfs+"/link")) }
	}
	dangling := "runc 1.1 cannot make what a link leads to"
	h.Rows(t, []linuxtest.Row{
		{Name: "relative", Edits: []linuxtest.Edit{writable, linuxtest.Inside("/new/x"), bind("new/x", dir+"/file")}, Check: content("/new/x", "of the host"), Differences: []linuxtest.Difference{madeFile("/new/x")}},
		{Name: "dots", Edits: []linuxtest.Edit{writable, linuxtest.Inside("/new/x"), bind("/../../a/../new/./x", dir+"/file")}, Check: content("/new/x", "of the host"), Differences: []linuxtest.Difference{madeFile("/new/x")}},
		{Name: "through a link", Prepare: link("/etc"), Edits: []linuxtest.Edit{writable, linuxtest.Inside("/etc/new"), bind("/link/new", dir+"/file")}, Check: content("/etc/new", "of the host"), Differences: []linuxtest.Difference{madeFile("/etc/new")}},
		{Name: "through a link upwards", Prepare: link("../../../../etc"), Edits: []linuxtest.Edit{writable, linuxtest.Inside("/etc/new"), bind("/link/new", dir+"/file")}, Check: content("/etc/new", "of the host"), Differences: []linuxtest.Difference{madeFile("/etc/new")}},
		{Name: "a link to a file", Prepare: link("etc/group"), Edits: []linuxtest.Edit{writable, linuxtest.Inside("/etc/group"), bind("/link", dir+"/file")}, Check: content("/etc/group", "of the host")},
		{Name: "a dangling link", Prepare: link("/nowhere/at/all"), Edits: []linuxtest.Edit{writable, linuxtest.Inside("/nowhere/at/all"), bind("/link", dir+"/file")}, Check: content("/nowhere/at/all", "of the host"), OnlyTongs: dangling},
		{Name: "through a dangling link", Prepare: link("../../nowhere"), Edits: []linuxtest.Edit{writable, linuxtest.Inside("/nowhere/x/deep"), bind("/link/x", dir+"/dir/sub")}, Check: content("/nowhere/x/deep", "sub"), OnlyTongs: dangling},
		{Name: "a link to an earlier mount", Prepare: link("/tmp/x"), Edits: []linuxtest.Edit{writable, linuxtest.Inside("/tmp/x"), linuxtest.Mount("/tmp", "tmpfs", "tmpfs", "mode=755"), bind("/link", dir+"/file")}, Check: content("/tmp/x", "of the host"), OnlyTongs: dangling},
		{Name: "a mount covers what an earlier one is in", Edits: []linuxtest.Edit{writable, linuxtest.Inside("/tmp", "/tmp/x"), bind("/tmp/x", dir+"/file"), bind("/tmp", dir+"/dir")}, Check: at("/tmp/x", func(t *testing.T, p report.Path) {
			linuxtest.Equal(t, "what is covered", p.Error, "no such file or directory")
		}), Differences: []linuxtest.Difference{madeFile("/tmp/x")}},
		{Name: "nested", Edits: []linuxtest.Edit{writable, linuxtest.Inside("/tmp/a/b", "/tmp/a", "/tmp/a/b/deep"), linuxtest.Mount("/tmp", "tmpfs", "tmpfs", "mode=755"), linuxtest.Mount("/tmp/a", "tmpfs", "tmpfs", "mode=700"), bind("/tmp/a/b", dir+"/dir/sub")},
			Check: content("/tmp/a/b/deep", "sub")},
		{Name: "in what covers an earlier mount", Edits: []linuxtest.Edit{writable, linuxtest.Inside("/tmp/a", "/tmp/a/x", "/tmp/a/x/deep"), linuxtest.Mount("/tmp", "tmpfs", "tmpfs", "mode=755"), linuxtest.Mount("/tmp/a", "tmpfs", "tmpfs", "mode=755"),
			linuxtest.Mount("/tmp", "tmpfs", "tmpfs", "mode=755"), bind("/tmp/a/x", dir+"/dir/sub")}, Check: content("/tmp/a/x/deep", "sub")},
		{Name: "in the second of two on one place", Edits: []linuxtest.Edit{writable, linuxtest.Inside("/tmp/x", "/tmp/x/deep"), linuxtest.Mount("/tmp", "tmpfs", "tmpfs", "mode=755"), linuxtest.Mount("/tmp", "tmpfs", "tmpfs", "mode=755"), bind("/tmp/x", dir+"/dir/sub")}, Check: content("/tmp/x/deep", "sub")},
		{Name: "a mount covers cgroups", Edits: []linuxtest.Edit{writable, linuxtest.Inside("/sys/fs/cgroup"), linuxtest.Mount("/sys", "tmpfs", "tmpfs", "mode=755")}, Check: at("/sys/fs/cgroup", func(t *testing.T, p report.Path) {
			linuxtest.Equal(t, "what is covered", p.Error, "no such file or directory")
		})},
		{Name: "same place thrice", Edits: []linuxtest.Edit{writable, linuxtest.Inside("/tmp"), bind("/tmp", dir+"/dir"), bind("/tmp", dir+"/dir/sub"), bind("/tmp", dir+"/dir/other")},
			Check: at("/tmp", func(t *testing.T, p report.Path) { linuxtest.Equal(t, "names", strings.Join(p.Names, " "), "deep") })},
	})
}

// Each flag of mount(8) alone and recursively, on a bind and on a tmpfs.
func TestFlags(t *testing.T) {
	h := linuxtest.One(t)
	dir := sources(t, h)
	look := linuxtest.Inside("/mnt", "/mnt/sub")
	mode := linuxtest.Difference{Key: "Mount :mnt* data", Reason: "tmpfs: ro is of the mount; the mode of the mount point is an option"}
	var rows []linuxtest.Row
	for o := range strings.FieldsSeq("async atime bind dev diratime dirsync exec lazytime loud mand noatime nodev nodiratime noexec norelatime nostrictatime nosuid rbind relatime ro rw strictatime suid sync nolazytime nomand silent iversion noiversion nosymfollow symfollow defaults remount") {
		row := linuxtest.Row{Name: "bind " + o, Edits: []linuxtest.Edit{look, writable, bind("/mnt", dir+"/dir", o)}}
		fs := linuxtest.Row{Name: "tmpfs " + o, Edits: []linuxtest.Edit{look, writable, linuxtest.Mount("/mnt", "tmpfs", "tmpfs", "mode=755", o)}, Differences: []linuxtest.Difference{mode}}
		switch o {
		case "lazytime", "nolazytime", "loud", "silent", "iversion", "noiversion", "nosymfollow", "symfollow", "defaults", "mand", "nomand", "remount":
			row.OnlyTongs, fs.OnlyTongs = "1.1 does not know the option, or not as the kernel takes it", "the same"
		}
		if o != "bind" && o != "rbind" {
			rows = append(rows, fs)
		}
		rows = append(rows, row)
	}
	// Each option takes back no other than its own.
	for _, pair := range []string{"strictatime atime", "noatime atime", "atime strictatime", "strictatime nostrictatime", "noatime nostrictatime", "nostrictatime strictatime"} {
		o := strings.Fields(pair)
		rows = append(rows, linuxtest.Row{Name: "bind " + pair, Edits: []linuxtest.Edit{look, writable, bind("/mnt", dir+"/dir", o...)}},
			linuxtest.Row{Name: "tmpfs " + pair, Edits: []linuxtest.Edit{look, writable, linuxtest.Mount("/mnt", "tmpfs", "tmpfs", append(o, "mode=755")...)}, Differences: []linuxtest.Difference{mode}})
	}
	h.Rows(t, rows)
}

// The recursive forms change what is mounted below, too.
func TestRecursiveFlags(t *testing.T) {
	h := linuxtest.One(t)
	dir := sources(t, h)
	var rows []linuxtest.Row
	for option, want := range map[string]string{
		"rnorelatime": "", "rnostrictatime": "", "rro": "ro", "rnosuid": "nosuid", "rnodev": "nodev", "rnoexec": "noexec", "rnodiratime": "nodiratime",
		"rnoatime": "noatime", "rnosymfollow": "nosymfollow",
		"rrw": "rw", "rsuid": "", "rdev": "", "rexec": "", "rdiratime": "", "rrelatime": "relatime", "ratime": "relatime", "rstrictatime": "", "rsymfollow": "",
	} {
		h.Sub(t, option, func(t *testing.T, h *linuxtest.Host) {
			r := h.RunInside("a", writable, bind("/mnt", dir+"/dir", option))
			for _, point := range []string{"/mnt", "/mnt/sub", "/mnt/other"} {
				m, ok := r.At(point)
				options := strings.Split(m.Options, ",")
				if !ok || want != "" && !contains(options, want) {
					t.Errorf("%s: %q lacks %q", point, m.Options, want)
				}
				for taken, flag := range map[string]string{"rsuid": "nosuid", "rdev": "nodev", "rexec": "noexec", "rstrictatime": "relatime", "rrelatime": "noatime", "rrw": "ro"} {
					if option == taken && contains(options, flag) {
						t.Errorf("%s: %q has %q", point, m.Options, flag)
					}
				}
			}
		})
		row := linuxtest.Row{Name: option, Edits: []linuxtest.Edit{writable, bind("/mnt", dir+"/dir", option)}}
		if option == "ratime" || option == "rnostrictatime" {
			row.OnlyTongs = "its call clears a part of the mode of access times, which the kernel refuses"
		}
		rows = append(rows, row)
	}
	h.Rows(t, rows)
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// Below a new file system there is nothing: recursive options are as the others,
// and the last counts.
func TestRecursiveFlagsOfFileSystem(t *testing.T) {
	h := linuxtest.One(t)
	for options, want := range map[string]string{
		"rro": "ro,relatime", "ro rrw": "rw,relatime", "rro rw": "rw,relatime", "rrw ro": "ro,relatime",
		"nosuid rsuid": "rw,relatime", "rnosuid rnoexec exec": "rw,nosuid,relatime",
		"strictatime rnoatime": "rw,noatime", "noatime rstrictatime": "rw", "rnoatime strictatime": "rw", "strictatime rrelatime": "rw,relatime",
		"nodiratime rnoatime": "rw,noatime,nodiratime",
	} {
		h.Sub(t, options, func(t *testing.T, h *linuxtest.Host) {
			list := strings.Fields(options)
			r := h.RunInside("a", writable, linuxtest.Mount("/mnt", "tmpfs", "tmpfs", list...), linuxtest.Mount("/mnt/sub", "mqueue", "mqueue", list...))
			for _, point := range []string{"/mnt", "/mnt/sub"} {
				m, _ := r.At(point)
				linuxtest.Equal(t, point, m.Options, want)
			}
		})
	}
}

// The top of a recursive bind can differ from what lies below, and what is not
// named stays as the source has it.
func TestFlagsOfSubmounts(t *testing.T) {
	h := linuxtest.One(t)
	dir := sources(t, h)
	r := h.RunInside("a", writable, bind("/mnt", dir+"/dir", "ro", "rnoexec", "rw", "ro"))
	for point, want := range map[string]string{"/mnt": "ro,noexec,relatime", "/mnt/sub": "rw,nosuid,noexec,relatime", "/mnt/other": "rw,noexec,noatime"} {
		m, _ := r.At(point)
		linuxtest.Equal(t, point, m.Options, want)
	}
}

// Options of a file system with commas, quotes and escapes reach it as written.
func TestData(t *testing.T) {
	h := linuxtest.One(t)
	for _, name := range []string{"one", "two", "with:colon", "with,comma", `with\backslash`, "upper", "work"} {
		d := mkdir(t, filepath.Join(h.Dir, "layers", name))
		must(t, os.WriteFile(d+"/"+strings.Map(letters, name), []byte(name), 0o644), os.WriteFile(d+"/same", []byte(name), 0o644))
	}
	must(t, os.RemoveAll(h.Dir+"/layers/work"), os.Mkdir(h.Dir+"/layers/work", 0o755), os.RemoveAll(h.Dir+"/layers/upper"), os.Mkdir(h.Dir+"/layers/upper", 0o755))
	l := h.Dir + "/layers/"
	overlay := func(options ...string) linuxtest.Edit {
		return linuxtest.Mount("/mnt", "overlay", "overlay", options...)
	}
	look := linuxtest.Inside("/mnt", "/mnt/same", "/mnt/withcolon", "/mnt/withcomma")
	names := func(want string) func(*testing.T, *report.Report) {
		return at("/mnt", func(t *testing.T, p report.Path) { linuxtest.Equal(t, "names", strings.Join(p.Names, " "), want) })
	}
	policy := func(t *testing.T, r *report.Report) {
		if m, _ := r.At("/mnt"); !contains(strings.Split(m.SuperBlock, ","), "mpol=bind:0") {
			t.Errorf("options %s", m.SuperBlock)
		}
	}
	mode := []linuxtest.Difference{{Key: "Mount :mnt data", Reason: "the mode of the mount point is an option"}}
	h.Rows(t, []linuxtest.Row{
		{Name: "several layers", Edits: []linuxtest.Edit{look, writable, overlay("lowerdir=" + l + "one:" + l + "two")}, Check: func(t *testing.T, r *report.Report) {
			content("/mnt/same", "one")(t, r)
			names("one same two")(t, r)
		}},
		{Name: "upper and work", Prepare: func(t *testing.T, _ string) {
			must(t, os.RemoveAll(l+"work"), os.RemoveAll(l+"upper"), os.Mkdir(l+"work", 0o755), os.Mkdir(l+"upper", 0o755))
		}, Edits: []linuxtest.Edit{look, writable, overlay("lowerdir="+l+"one", "upperdir="+l+"upper", "workdir="+l+"work")}, Check: at("/mnt", func(t *testing.T, p report.Path) {
			linuxtest.Equal(t, "writing", p.WriteError, "")
		})},
		{Name: "all in one string", Edits: []linuxtest.Edit{look, writable, overlay("lowerdir=" + l + "one:" + l + "two,index=off,xino=off")}, Check: names("one same two")},
		{Name: "xattr options", Edits: []linuxtest.Edit{look, writable, overlay("lowerdir="+l+"one:"+l+"two", "userxattr")}, Check: names("one same two")},
		{Name: "metacopy", Edits: []linuxtest.Edit{look, writable, overlay("lowerdir="+l+"one:"+l+"two", "metacopy=on", "redirect_dir=on")}, Check: names("one same two")},
		{Name: "colon", Edits: []linuxtest.Edit{look, writable, overlay(`lowerdir=` + l + `with\:colon:` + l + `two`)}, Check: content("/mnt/withcolon", "with:colon")},
		{Name: "comma", Edits: []linuxtest.Edit{look, writable, overlay(`lowerdir=` + l + `with\,comma:` + l + `two`)}, Check: content("/mnt/withcomma", "with,comma")},
		{Name: "tmpfs with all", Edits: []linuxtest.Edit{linuxtest.Inside("/mnt"), writable, linuxtest.Mount("/mnt", "tmpfs", "shm", "size=64k,nr_inodes=20,mode=1711,uid=5,gid=6")}, Check: at("/mnt", func(t *testing.T, p report.Path) {
			linuxtest.Equal(t, "mode and owner", p.Mode+" "+p.Owner, "1711 5:6")
		}), Differences: []linuxtest.Difference{{Key: "Paths :mnt *", Reason: "mode= counts, as since runc 1.2"}}},
		{Name: "tmpfs with a list of nodes", Edits: []linuxtest.Edit{writable, linuxtest.Mount("/mnt", "tmpfs", "shm", "mode=755", "mpol=bind:0,0")}, Check: policy, Differences: mode},
		{Name: "tmpfs with a list of nodes in the middle", Edits: []linuxtest.Edit{writable, linuxtest.Mount("/mnt", "tmpfs", "shm", "mode=755,mpol=bind:0-0,0,size=64k")}, Check: policy, Differences: mode},
		{Name: "devpts", Edits: []linuxtest.Edit{linuxtest.Inside("/mnt", "/mnt/ptmx"), writable, linuxtest.Mount("/mnt", "devpts", "devpts", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")}, Check: at("/mnt/ptmx", func(t *testing.T, p report.Path) {
			linuxtest.Equal(t, "ptmx", p.Mode+" "+p.Device, "0666 5:2")
		})},
		{Name: "proc", Edits: []linuxtest.Edit{linuxtest.Inside("/mnt"), writable, linuxtest.Mount("/mnt", "proc", "proc", "hidepid=2", "subset=pid")}},
		{Name: "mqueue", Edits: []linuxtest.Edit{linuxtest.Inside("/mnt"), writable, linuxtest.Mount("/mnt", "mqueue", "mqueue", "nosuid")}},
	})
}

func letters(r rune) rune {
	if r >= 'a' && r <= 'z' {
		return r
	}
	return -1
}

func TestPropagation(t *testing.T) {
	h := linuxtest.One(t)
	dir := sources(t, h)
	var rows []linuxtest.Row
	for p := range strings.FieldsSeq("private rprivate slave rslave shared rshared unbindable runbindable") {
		rows = append(rows, linuxtest.Row{Name: "bind " + p, Edits: []linuxtest.Edit{writable, bind("/mnt", dir+"/dir", p)}},
			linuxtest.Row{Name: "tmpfs " + p, Edits: []linuxtest.Edit{writable, linuxtest.Mount("/mnt", "tmpfs", "tmpfs", p, "mode=755")},
				Differences: []linuxtest.Difference{{Key: "Mount :mnt data", Reason: "the mode of the mount point is an option"}}})
	}
	rows = append(rows, linuxtest.Row{Name: "in order", Edits: []linuxtest.Edit{writable, bind("/mnt", dir+"/dir", "rshared", "slave")}},
		linuxtest.Row{Name: "shared below shared", Edits: []linuxtest.Edit{writable, bind("/mnt", dir+"/dir", "rshared"), bind("/mnt/sub", dir+"/dir/other", "rslave")}})
	h.Rows(t, rows)
}

// A destination can lie in a mount that the root file system comes with.
func TestDestinationInOtherMount(t *testing.T) {
	h := linuxtest.One(t)
	dir := sources(t, h)
	for _, c := range []struct{ name, to, from, want, error string }{
		{"a directory", "/mnt/dir", "/dir/sub", "sub\n", ""},
		{"a file", "/mnt/file", "/file", "of the host\n", ""},
		{"a missing directory", "/mnt/new/dir", "/dir/sub", "sub\n", ""},
		{"a file on a directory", "/mnt/dir", "/file", "", "mounts[7].destination: /mnt/dir is a directory, but the source is not a directory"},
		{"a directory on a file", "/mnt/file", "/dir", "", "mounts[7].destination: /mnt/file is not a directory, but the source is a directory"},
	} {
		h.Sub(t, c.name, func(t *testing.T, h *linuxtest.Host) {
			show := "cat " + c.to + "; echo"
			if strings.HasSuffix(c.to, "dir") {
				show = "cat " + c.to + "/deep; echo"
			}
			bundle := h.Bundle(writable, bind(c.to, dir+c.from), linuxtest.Shell(show))
			own := mkdir(t, bundle+"/rootfs/mnt")
			must(t, unix.Mount("none", own, "tmpfs", 0, "size=64k"))
			defer func() { must(t, unix.Unmount(own, 0)) }()
			must(t, os.Mkdir(own+"/dir", 0o755), os.WriteFile(own+"/file", nil, 0o644))
			r := h.Run("run", "--bundle", bundle, h.ID("a"))
			if c.error != "" {
				if r.Status != 1 || !strings.Contains(r.Stderr, c.error) {
					t.Errorf("status %d, stderr %s, want %q", r.Status, r.Stderr, c.error)
				}
				return
			}
			if r.Stdout != c.want {
				t.Errorf("status %d, got %q, want %q, stderr %s", r.Status, r.Stdout, c.want, r.Stderr)
			}
		})
	}
}
