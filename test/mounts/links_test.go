package mounts

import (
	"os"
	"testing"

	"tongs/internal/linuxtest"
	"tongs/test/inside/report"
)

// The options copy-symlink, src-nofollow and dest-nofollow of crun.
func TestLinkOptions(t *testing.T) {
	h := linuxtest.One(t)
	dir := sources(t, h)
	look := linuxtest.Inside("/new", "/tmp/a/new", "/tmp/copy", "/same", "/file", "/other", "/copy")
	prepare := func(t *testing.T, rootfs string) {
		must(t, os.Symlink("file", rootfs+"/same"), os.WriteFile(rootfs+"/file", []byte("of the image"), 0o644), os.Symlink("nowhere", rootfs+"/other"))
	}
	link := func(p, target string) func(*testing.T, *report.Report) {
		return at(p, func(t *testing.T, got report.Path) {
			linuxtest.Equal(t, p, got.Type+" "+got.Link, "link "+target)
		})
	}
	rows := []linuxtest.Row{
		{Name: "copied", Edits: []linuxtest.Edit{bind("/new", dir+"/link", "copy-symlink")}, Check: link("/new", "file")},
		{Name: "copied, dangling", Edits: []linuxtest.Edit{bind("/tmp/a/new", dir+"/dangling", "copy-symlink")}, Check: link("/tmp/a/new", "nowhere")},
		{Name: "copied into a tmpfs", Edits: []linuxtest.Edit{linuxtest.Mount("/tmp", "tmpfs", "tmpfs"), linuxtest.Mount("/tmp/a", "tmpfs", "tmpfs"), bind("/tmp/a/new", dir+"/link", "copy-symlink")}, Check: link("/tmp/a/new", "file")},
		{Name: "copied where it is", Edits: []linuxtest.Edit{bind("/same", dir+"/link", "copy-symlink")}, Check: link("/same", "file")},
		{Name: "copied from below the root", Edits: []linuxtest.Edit{bind("/copy", "rootfs/other", "copy-symlink")}, Check: link("/copy", "nowhere")},
		{Name: "no link to copy", Edits: []linuxtest.Edit{bind("/new", dir+"/file", "copy-symlink")}, Check: content("/new", "of the host")},
		{Name: "source itself", Edits: []linuxtest.Edit{bind("/new", dir+"/dangling", "src-nofollow")}, Check: link("/new", "nowhere")},
		{Name: "source itself, below the root", Edits: []linuxtest.Edit{bind("/new", "rootfs/other", "src-nofollow")}, Check: link("/new", "nowhere")},
		{Name: "source that is no link", Edits: []linuxtest.Edit{bind("/new", dir+"/file", "src-nofollow")}, Check: content("/new", "of the host")},
		{Name: "copied from below the root into a tmpfs", Edits: []linuxtest.Edit{linuxtest.Mount("/tmp", "tmpfs", "tmpfs"), bind("/tmp/copy", "rootfs/other", "copy-symlink")}, Check: link("/tmp/copy", "nowhere")},
		{Name: "destination itself", Edits: []linuxtest.Edit{bind("/same", dir+"/file", "dest-nofollow")}, Check: func(t *testing.T, r *report.Report) {
			content("/same", "of the host")(t, r)
			linuxtest.Equal(t, "type", r.Paths["/same"].Type, "file")
			content("/file", "of the image")(t, r)
		}},
		{Name: "destination itself, dangling", Edits: []linuxtest.Edit{bind("/other", dir+"/file", "dest-nofollow")}, Check: content("/other", "of the host")},
		{Name: "destination that is no link", Edits: []linuxtest.Edit{bind("/file", dir+"/file", "dest-nofollow")}, Check: content("/file", "of the host")},
		{Name: "missing destination", Edits: []linuxtest.Edit{bind("/new", dir+"/file", "dest-nofollow")}, Check: content("/new", "of the host")},
		{Name: "link on link", Edits: []linuxtest.Edit{bind("/same", dir+"/dangling", "src-nofollow", "dest-nofollow")}, Check: link("/same", "nowhere")},
	}
	for i := range rows {
		rows[i].Prepare, rows[i].OnlyTongs = prepare, "it does not know the options"
		rows[i].Edits = append([]linuxtest.Edit{look, writable}, rows[i].Edits...)
	}
	h.Rows(t, rows)
	for _, p := range []string{"/link", "/etc/group", "/tmp"} { // what refused has there is another link, a file and a directory
		refused(t, h, only(mount(p, "bind", dir+"/link", "copy-symlink", "bind")), "mounts[0].destination: "+p+" exists and is not a symbolic link to", "file")
	}
	refused(t, h, only(mount("/tmp", "bind", dir+"/link-to-dir", "bind", "src-nofollow")), "mounts[0].destination: /tmp is a directory, but the source is not")
}

// Mounts that meet because the image has a link: what is listed on one path lies
// below, covers, or is covered by what is listed on another.
func TestMountsMeetThroughLinks(t *testing.T) {
	h := linuxtest.One(t)
	dir := sources(t, h)
	mkdir(t, dir+"/empty")
	tmpfs := func(p string, options ...string) linuxtest.Edit {
		return linuxtest.Mount(p, "tmpfs", "tmpfs", options...)
	}
	mode := func(p, want string) func(*testing.T, *report.Report) {
		return at(p, func(t *testing.T, got report.Path) {
			linuxtest.Equal(t, p, got.FileSystem+" "+got.Mode, "0x1021994 "+want)
		})
	}
	set := func(p string) []linuxtest.Difference {
		return []linuxtest.Difference{{Key: "Mount " + p + " data", Reason: "the mode of the mount point is an option"}}
	}
	rows := []linuxtest.Row{
		{Name: "directory below a tmpfs", Edits: []linuxtest.Edit{tmpfs("/var/run", "mode=711"), bind("/var/run/x", dir+"/dir/sub")}, Check: content("/run/x/deep", "sub")},
		{Name: "file below a tmpfs", Edits: []linuxtest.Edit{tmpfs("/var/run", "mode=711"), bind("/var/run/x", dir+"/file")}, Check: content("/run/x", "of the host")},
		{Name: "tmpfs below a tmpfs", Edits: []linuxtest.Edit{tmpfs("/var/run", "mode=711"), tmpfs("/var/run/x")}, Check: mode("/run/x", "1777")},
		{Name: "deep below a tmpfs", Edits: []linuxtest.Edit{tmpfs("/var/run", "mode=711"), tmpfs("/var/run/y/x")}, Check: mode("/run/y/x", "1777")},
		{Name: "below a tmpfs that is read-only", Edits: []linuxtest.Edit{tmpfs("/var/run", "ro", "mode=711"), tmpfs("/var/run/x")}, Check: mode("/run/x", "1777")},
		{Name: "by the real path below a tmpfs", Edits: []linuxtest.Edit{tmpfs("/var/run", "mode=711"), bind("/run/x", dir+"/dir/sub")}, Check: content("/run/x/deep", "sub")},
		{Name: "dev is a link", Prepare: func(t *testing.T, rootfs string) {
			must(t, os.Remove(rootfs+"/dev"), os.Symlink("real/dev", rootfs+"/dev"))
		}, Edits: []linuxtest.Edit{linuxtest.Inside("/dev/null", "/dev/shm", "/dev/pts", "/dev/ptmx", "/dev/fd")}, Check: mode("/dev/shm", "1777")},
		{Name: "covers a made mount point", Edits: []linuxtest.Edit{tmpfs("/run", "mode=711"), bind("/var/run", dir+"/empty"), bind("/run/x", dir+"/dir/sub")}, Check: content("/run/x/deep", "sub")},
		{Name: "covers a made mount point with a directory", Edits: []linuxtest.Edit{tmpfs("/run", "mode=711"), bind("/var/run", dir+"/dir"), tmpfs("/run/sub")}, Check: mode("/run/sub", "1777"), Differences: set(":run:sub")},
		{Name: "covers no made mount point", Edits: []linuxtest.Edit{tmpfs("/run", "mode=711"), bind("/link", dir+"/file"), tmpfs("/run/x")}, Check: mode("/run/x", "1777")},
		{Name: "covered by a tmpfs", Edits: []linuxtest.Edit{tmpfs("/var/run/x", "mode=700"), tmpfs("/run", "mode=711")}, Check: mode("/run", "0711")},
		{Name: "covered by a bind", Edits: []linuxtest.Edit{bind("/var/run", dir+"/dir/other"), bind("/run", dir+"/dir")}, Check: content("/run/sub/deep", "sub")},
		{Name: "covers a bind", Edits: []linuxtest.Edit{bind("/run", dir+"/dir/other"), bind("/var/run", dir+"/dir")}, Check: content("/run/sub/deep", "sub")},
		{Name: "tmpfs that is missing below a link", Edits: []linuxtest.Edit{tmpfs("/link-to-real/new")}, Check: mode("/real/new", "1777")},
		{Name: "tmpfs on a dangling link", Edits: []linuxtest.Edit{tmpfs("/dangling")}, Check: mode("/new", "1777")},
		{Name: "tmpfs that is there below a link", Edits: []linuxtest.Edit{tmpfs("/var/run")}, Check: mode("/run", "0711")},
		{Name: "tmpfs that is there behind what is missing", Edits: []linuxtest.Edit{tmpfs("/through-missing")}, Check: mode("/run", "0711"), Differences: []linuxtest.Difference{{Key: "Tree :gone", Reason: "what is missing on the way is made"}}},
		{Name: "tmpfs on what an earlier mount has made", Edits: []linuxtest.Edit{bind("/a/b", dir+"/dir"), tmpfs("/a")}, Check: mode("/a", "0755"), Differences: set(":a")},
	}
	look := linuxtest.Inside("/run", "/run/x", "/run/x/deep", "/run/y/x", "/run/sub", "/run/sub/deep", "/new", "/real/new", "/a")
	for i := range rows {
		rows[i].Edits = append([]linuxtest.Edit{look, writable}, rows[i].Edits...)
		also := rows[i].Prepare
		rows[i].Prepare = func(t *testing.T, rootfs string) {
			mkdir(t, rootfs+"/run")
			mkdir(t, rootfs+"/var")
			mkdir(t, rootfs+"/real")
			must(t, os.Chmod(rootfs+"/run", 0o711), os.Symlink("../run", rootfs+"/var/run"), os.Symlink("/real", rootfs+"/link-to-real"), os.Symlink("/new", rootfs+"/dangling"), os.Symlink("gone/../run", rootfs+"/through-missing"),
				os.WriteFile(rootfs+"/file", nil, 0o644), os.Symlink("file", rootfs+"/link"))
			if also != nil {
				also(t, rootfs)
			}
		}
	}
	h.Rows(t, rows)
}
