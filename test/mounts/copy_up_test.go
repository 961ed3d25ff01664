package mounts

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
	"tongs/test/inside/report"
)

// must ends a test at an error of what it prepares.
func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// simple is a tree that runc copies as well: files, directories, links, a device.
func simple(t *testing.T, rootfs string) {
	t.Helper()
	dir := rootfs + "/data"
	must(t, os.MkdirAll(dir+"/sub/deep", 0o755), unix.Chmod(dir, 0o1777),
		os.WriteFile(dir+"/file", []byte("content"), 0o644),
		os.WriteFile(dir+"/sub/program", []byte("#!/bin/sh\n"), 0o755),
		os.WriteFile(dir+"/empty", nil, 0o600),
		os.WriteFile(dir+"/sub/deep/large", bytes.Repeat([]byte("0123456789abcdef"), 20000), 0o444),
		os.Symlink("file", dir+"/link"), os.Symlink("/etc/shadow", dir+"/absolute"), os.Symlink("nowhere", dir+"/dangling"),
		os.Chown(dir+"/file", 7, 8), os.Lchown(dir+"/link", 9, 10), os.Chown(dir+"/sub", 11, 12),
		unix.Chmod(dir+"/sub", 0o2755), unix.Chmod(dir+"/sub/program", 0o6755), os.Chown(dir+"/empty", 5, 0))
}

// copied is a row whose program says what it sees below /data.
func copied(name string, prepare func(*testing.T, string), check func(*testing.T, *report.Report), options ...string) linuxtest.Row {
	var paths []string
	for p := range strings.FieldsSeq("file sub sub/program empty sub/deep sub/deep/large link absolute dangling") {
		paths = append(paths, "/data/"+p)
	}
	return linuxtest.Row{Name: name, Prepare: prepare, Check: check,
		Edits: []linuxtest.Edit{writable, linuxtest.Inside(append(paths, "/data")...), linuxtest.Mount("/data", "tmpfs", "tmpfs", append([]string{"tmpcopyup"}, options...)...)}}
}

func TestCopyUp(t *testing.T) {
	h := linuxtest.One(t)
	rows := []linuxtest.Row{
		copied("tree", simple, func(t *testing.T, r *report.Report) {
			at := func(p string) report.Path { return r.Paths["/data/"+p] }
			linuxtest.Equal(t, "content", at("file").Content, "content")
			linuxtest.Equal(t, "file", at("file").Mode+" "+at("file").Owner, "0644 7:8")
			linuxtest.Equal(t, "program", at("sub/program").Mode+" "+at("sub/program").Owner, "6755 0:0")
			linuxtest.Equal(t, "directory", at("sub").Mode+" "+at("sub").Owner, "2755 11:12")
			linuxtest.Equal(t, "link", at("link").Link+" "+at("link").Owner, "file 9:10")
			linuxtest.Equal(t, "absolute link", at("absolute").Link, "/etc/shadow")
			linuxtest.Equal(t, "dangling link", at("dangling").Link, "nowhere")
			linuxtest.Equal(t, "length", len(at("sub/deep/large").Content), 4096)
			linuxtest.Equal(t, "mode of the tmpfs", r.Paths["/data"].Mode, "1777")
			linuxtest.Equal(t, "writing", r.Paths["/data"].WriteError, "")
		}, "size=2m"),
		copied("mode", simple, func(t *testing.T, r *report.Report) {
			linuxtest.Equal(t, "mode of the tmpfs", r.Paths["/data"].Mode, "0711")
		}, "mode=711"),
		copied("read-only", simple, func(t *testing.T, r *report.Report) {
			linuxtest.Equal(t, "writing", r.Paths["/data"].WriteError, "read-only file system")
			linuxtest.Equal(t, "content", r.Paths["/data/file"].Content, "content")
		}, "ro", "nosuid", "nodev"),
		copied("nothing there", nil, func(t *testing.T, r *report.Report) {
			linuxtest.Equal(t, "names", len(r.Paths["/data"].Names), 0)
		}),
		copied("empty", func(t *testing.T, rootfs string) { must(t, os.Mkdir(rootfs+"/data", 0o700)) }, nil),
	}
	for i := range rows {
		rows[i].Differences = []linuxtest.Difference{
			{Key: "Mount :data data", Reason: "tmpfs has the mode of its mount point by option, as since runc 1.2; ro is of the mount"},
			{Key: "Paths :data Mode", Reason: "mode= counts, as since runc 1.2"},
			{Key: "Paths :data:sub:program Mode", Reason: "runc changes the owner last, which takes set-id bits"},
			{Key: "Paths :data:sub Mode", Reason: "the same"},
		}
	}
	h.Rows(t, rows)
}

// special makes what runc 1.1 does not copy: FIFOs, sockets, devices, files with
// several names or holes, times, extended attributes.
func special(t *testing.T, dir string) {
	t.Helper()
	must(t, os.MkdirAll(dir+"/sub/only", 0o755), unix.Mkfifo(dir+"/fifo", 0o622), unix.Mknod(dir+"/socket", unix.S_IFSOCK|0o755, 0),
		unix.Mknod(dir+"/null", unix.S_IFCHR|0o620, int(unix.Mkdev(1, 3))), unix.Mknod(dir+"/disk", unix.S_IFBLK|0o600, int(unix.Mkdev(7, 200))),
		os.Chown(dir+"/null", 3, 4),
		os.WriteFile(dir+"/a", []byte("one file"), 0o604), os.Link(dir+"/a", dir+"/sub/b"), os.Link(dir+"/a", dir+"/z"),
		os.Symlink("x", dir+"/s"), os.Link(dir+"/s", dir+"/sub/s2"), os.WriteFile(dir+"/"+strings.Repeat("n", 255), nil, 0o644))
	f, err := os.Create(dir + "/holes")
	must(t, err, f.Truncate(1<<30))
	_, err = f.WriteAt(bytes.Repeat([]byte("middle"), 10000), 1<<29)
	must(t, err)
	_, err = f.WriteAt([]byte("begin"), 0)
	must(t, err, f.Close())
	must(t, unix.Setxattr(dir+"/a", "trusted.tongs", []byte("value"), 0), unix.Setxattr(dir+"/sub", "trusted.dir", []byte("d"), 0),
		unix.Setxattr(dir+"/holes", "security.capability", capability(), 0))
	for i := range 40 { // more names than the first question has room for
		must(t, unix.Setxattr(dir+"/z", "trusted.number."+strconv.Itoa(i)+strings.Repeat("x", 20), []byte(strconv.Itoa(i)), 0))
	}
	old := []unix.Timespec{{Sec: 1000000000, Nsec: 5}, {Sec: 1100000000, Nsec: 7}}
	for p := range strings.FieldsSeq("a fifo s holes sub/only sub") {
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, dir+"/"+p, old, unix.AT_SYMLINK_NOFOLLOW))
	}
}

// capability is a file capability of capabilities(7): CAP_NET_RAW, effective.
func capability() []byte {
	return []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
}

// facts describes each file below a directory; files with several names by the
// first of them.
func facts(t *testing.T, dir string) map[string]string {
	t.Helper()
	list, first := map[string]string{}, map[uint64]string{}
	must(t, filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		var st unix.Stat_t
		must(t, unix.Lstat(p, &st))
		name := strings.TrimPrefix(p, dir)
		if first[st.Ino] == "" {
			first[st.Ino] = name
		}
		text := fmt.Sprintf("%o %d:%d %x as %s", st.Mode, st.Uid, st.Gid, st.Rdev, first[st.Ino])
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			text += fmt.Sprintf(" %d names %d bytes", st.Nlink, st.Size)
		}
		if name != "/sub/b" {
			text += fmt.Sprintf(" at %d.%d", st.Mtim.Sec, st.Mtim.Nsec)
		}
		if target, err := os.Readlink(p); err == nil {
			text += " to " + target
		}
		list[name] = text + xattrs(t, p)
		return nil
	}))
	return list
}

func xattrs(t *testing.T, p string) string {
	t.Helper()
	buf := make([]byte, 1<<16)
	n, err := unix.Llistxattr(p, buf)
	must(t, err)
	names := strings.Fields(strings.ReplaceAll(string(buf[:n]), "\x00", " "))
	slices.Sort(names)
	text := ""
	for _, name := range names {
		value := make([]byte, 1<<16)
		n, err := unix.Lgetxattr(p, name, value)
		must(t, err)
		text += fmt.Sprintf(" %s=%q", name, value[:n])
	}
	return text
}

// What is seen in the container is the tree of the image in every respect.
func TestCopyUpExact(t *testing.T) {
	h := linuxtest.One(t)
	bundle := h.Bundle(linuxtest.Args("/bin/sleep", "1000"), linuxtest.Mount("/data", "tmpfs", "tmpfs", "tmpcopyup", "size=4m"))
	data := bundle + "/rootfs/data"
	special(t, mkdir(t, data))
	must(t, os.Chown(data, 21, 22))
	id := h.ID("a")
	h.Must("create", "--bundle", bundle, id)
	st, _ := h.State(id)
	inside := fmt.Sprintf("/proc/%d/root/data", st.PID)
	want, got := facts(t, data), facts(t, inside)
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got[name], want[name])
		}
	}
	linuxtest.Equal(t, "number of files", len(got), len(want))
	for _, name := range []string{"/holes", "/sub/b"} {
		a, err := exec.Command("cmp", data+name, inside+name).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, a)
		}
	}
	var top, holes unix.Stat_t
	must(t, unix.Lstat(inside, &top), unix.Lstat(inside+"/holes", &holes))
	linuxtest.Equal(t, "owner of the tmpfs", fmt.Sprint(top.Uid, " ", top.Gid), "21 22")
	if holes.Blocks*512 > 1<<20 {
		t.Errorf("the holes are filled: %d bytes", holes.Blocks*512)
	}
	h.Must("delete", "--force", id)
}

func mkdir(t *testing.T, dir string) string {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	return dir
}

// A tree that does not fit, or is too deep, is an error.
func TestCopyUpBounds(t *testing.T) {
	h := linuxtest.One(t)
	for _, c := range []struct {
		name    string
		prepare func(dir string)
		options string
		want    string
	}{
		{"content", func(dir string) { must(t, os.WriteFile(dir+"/x", make([]byte, 1<<20), 0o644)) }, "size=64k", "(ENOSPC): what /data has does not fit"},
		{"large content", func(dir string) { must(t, os.WriteFile(dir+"/x", make([]byte, 40<<20), 0o644)) }, "size=20m", "(ENOSPC): what /data has does not fit"},
		{"number", func(dir string) {
			for i := range 100 {
				must(t, os.WriteFile(fmt.Sprintf("%s/%d", dir, i), nil, 0o644))
			}
		}, "nr_inodes=50", "(ENOSPC): what /data has does not fit"},
		{"depth", func(dir string) { must(t, os.MkdirAll(dir+strings.Repeat("/d", 400), 0o755)) }, "size=1m", "directories deep"},
	} {
		h.Sub(t, c.name, func(t *testing.T, h *linuxtest.Host) {
			bundle := h.Bundle(linuxtest.Args("/bin/true"), linuxtest.Mount("/data", "tmpfs", "tmpfs", "tmpcopyup", c.options))
			c.prepare(mkdir(t, bundle+"/rootfs/data"))
			r := h.Run("run", "--bundle", bundle, h.ID("a"))
			if r.Status == 0 || !strings.Contains(r.Stderr, "].options: cannot copy /") || !strings.Contains(r.Stderr, c.want) {
				t.Errorf("status %d, stderr %s", r.Status, r.Stderr)
			}
		})
	}
}

// Deep and wide trees are copied as long as they are below the bounds.
func TestCopyUpMany(t *testing.T) {
	h := linuxtest.One(t)
	bundle := h.Bundle(linuxtest.Shell("find /data | wc -l; cat /data"+strings.Repeat("/d", 150)+"/file"), linuxtest.Mount("/data", "tmpfs", "tmpfs", "tmpcopyup"))
	must(t, os.Symlink("busybox", bundle+"/rootfs/bin/find"))
	dir := mkdir(t, bundle+"/rootfs/data")
	must(t, os.MkdirAll(dir+strings.Repeat("/d", 150), 0o755), os.WriteFile(dir+strings.Repeat("/d", 150)+"/file", []byte("bottom"), 0o644))
	for i := range 3000 {
		must(t, os.WriteFile(fmt.Sprintf("%s/a-file-with-some-name-%d", dir, i), nil, 0o644))
	}
	linuxtest.Equal(t, "output", h.Must("run", "--bundle", bundle, h.ID("a")).Stdout, "3152\nbottom")
}

// While another process exchanges files, directories and links that lead out of
// the root, nothing but the image's own is copied, or the container is refused.
func TestCopyUpRaces(t *testing.T) {
	h := linuxtest.One(t)
	secret := mkdir(t, h.Dir+"/secret")
	must(t, os.WriteFile(secret+"/file", []byte("of the host"), 0o644))
	bundle := h.Bundle(linuxtest.Shell("for f in /data/x/file /data/y; do test -f $f && cat $f; done; true"), linuxtest.Mount("/data", "tmpfs", "tmpfs", "tmpcopyup"))
	data := mkdir(t, bundle+"/rootfs/data")
	mkdir(t, data+"/x")
	must(t, os.WriteFile(data+"/x/file", []byte("image"), 0o644), os.WriteFile(data+"/y", []byte("image"), 0o644),
		os.Symlink(secret, data+"/x2"), os.Symlink(secret+"/file", data+"/y2"), unix.Mkfifo(data+"/y3", 0o644))
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-end:
				return
			default:
			}
			unix.Renameat2(unix.AT_FDCWD, data+"/x", unix.AT_FDCWD, data+"/x2", unix.RENAME_EXCHANGE)
			unix.Renameat2(unix.AT_FDCWD, data+"/y", unix.AT_FDCWD, data+"/y2", unix.RENAME_EXCHANGE)
			unix.Renameat2(unix.AT_FDCWD, data+"/y", unix.AT_FDCWD, data+"/y3", unix.RENAME_EXCHANGE)
		}
	}()
	started := 0
	for range 40 {
		r := h.Run("run", "--bundle", bundle, h.ID("a"))
		if strings.Contains(r.Stdout+r.Stderr, "of the host") {
			t.Error("a file of the host was copied")
		}
		if r.Status == 0 {
			started++
		} else if !strings.Contains(r.Stderr, "].options: ") {
			t.Errorf("status %d, stderr %s", r.Status, r.Stderr)
		}
	}
	close(end)
	<-done
	t.Logf("%d of 40 started", started)
}
