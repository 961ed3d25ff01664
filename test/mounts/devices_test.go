package mounts

import (
	"fmt"
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
	"tongs/test/inside/report"
)

func device(path, kind string, major, minor int64, mode os.FileMode, owner ...uint32) linuxtest.Edit {
	return func(s *specs.Spec) {
		d := specs.LinuxDevice{Path: path, Type: kind, Major: major, Minor: minor}
		if mode != 0 {
			d.FileMode = &mode
		}
		if len(owner) == 2 {
			d.UID, d.GID = &owner[0], &owner[1]
		}
		s.Linux.Devices = append(s.Linux.Devices, d)
	}
}

// withoutDev takes the mounts of /dev and below away.
func withoutDev(s *specs.Spec) {
	var list []specs.Mount
	for _, m := range s.Mounts {
		if !strings.HasPrefix(m.Destination, "/dev") {
			list = append(list, m)
		}
	}
	s.Mounts = list
}

func node(p, want string) func(*testing.T, *report.Report) {
	return at(p, func(t *testing.T, p report.Path) {
		t.Helper()
		linuxtest.Equal(t, "node", p.Type+" "+p.Device+" "+p.Mode+" "+p.Owner, want)
	})
}

func TestDevices(t *testing.T) {
	h := linuxtest.One(t)
	standard := strings.Fields("/dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/ptmx /dev/fd /dev/stdin /dev/stdout /dev/stderr /dev/core /dev/console /dev")
	all := linuxtest.Inside(append(standard, "/dev/mine", "/mine", "/a/b/mine", "/etc/mine")...)
	own := func(t *testing.T, rootfs string) {
		must(t, unix.Mknod(rootfs+"/dev/null", unix.S_IFCHR|0o640, int(unix.Mkdev(1, 3))), unix.Chmod(rootfs+"/dev/null", 0o646), os.Chown(rootfs+"/dev/null", 3, 4))
	}
	rows := []linuxtest.Row{
		{Name: "character", Edits: []linuxtest.Edit{device("/dev/mine", "c", 1, 5, 0o641, 7, 8)}, Check: node("/dev/mine", "c 1:5 0641 7:8")},
		{Name: "unbuffered", Edits: []linuxtest.Edit{device("/dev/mine", "u", 1, 5, 0o600, 0, 9)}, Check: node("/dev/mine", "c 1:5 0600 0:9")},
		{Name: "block", Edits: []linuxtest.Edit{device("/dev/mine", "b", 7, 201, 0o660, 1, 0)}, Check: node("/dev/mine", "b 7:201 0660 1:0")},
		{Name: "FIFO", Edits: []linuxtest.Edit{device("/dev/mine", "p", 0, 0, 0o622, 7, 8)}, Check: node("/dev/mine", "p  0622 7:8")},
		{Name: "largest number", Edits: []linuxtest.Edit{device("/dev/mine", "c", 4095, 1048575, 0o600, 0, 0)}, Check: node("/dev/mine", "c 4095:1048575 0600 0:0")},
		{Name: "outside of /dev", Edits: []linuxtest.Edit{device("/mine", "c", 1, 3, 0o666, 5, 6)}, Check: node("/mine", "c 1:3 0666 5:6")},
		{Name: "missing directories", Edits: []linuxtest.Edit{device("/a/b/mine", "c", 1, 3, 0o606, 0, 0)}, Check: node("/a/b/mine", "c 1:3 0606 0:0")},
		{Name: "in place of a default", Edits: []linuxtest.Edit{device("/dev/zero", "c", 1, 5, 0o604, 3, 0)}, Check: node("/dev/zero", "c 1:5 0604 3:0")},
		{Name: "ptmx is a link", Edits: []linuxtest.Edit{device("/dev/ptmx", "c", 5, 2, 0o666, 0, 0)}, Check: at("/dev/ptmx", func(t *testing.T, p report.Path) { linuxtest.Equal(t, "link", p.Link, "pts/ptmx") })},
		{Name: "/dev of the image", Edits: []linuxtest.Edit{withoutDev}, Check: node("/dev/null", "c 1:3 0666 0:0")},
		{Name: "a node of the image", Edits: []linuxtest.Edit{withoutDev}, Prepare: own, Check: node("/dev/null", "c 1:3 0646 3:4")},
		{Name: "links of the image", Edits: []linuxtest.Edit{withoutDev}, Prepare: func(t *testing.T, rootfs string) {
			must(t, os.Symlink("/other", rootfs+"/dev/fd"), os.WriteFile(rootfs+"/dev/ptmx", nil, 0o600))
		}, Check: func(t *testing.T, r *report.Report) {
			linuxtest.Equal(t, "fd", r.Paths["/dev/fd"].Link, "/other")
			linuxtest.Equal(t, "ptmx", r.Paths["/dev/ptmx"].Link, "pts/ptmx")
		}},
		{Name: "no mode", Edits: []linuxtest.Edit{device("/dev/mine", "c", 1, 5, 0)}, Check: node("/dev/mine", "c 1:5 0666 0:0"),
			Differences: []linuxtest.Difference{{Key: "Paths :dev:mine *", Reason: "without a mode a device has 0666, as since runc 1.2; before, 0"}}},
		{Name: "set-id bits", Edits: []linuxtest.Edit{device("/dev/mine", "c", 1, 5, 0o6755), device("/mine", "p", 0, 0, 0o4755, 0, 0)}, Check: node("/dev/mine", "c 1:5 0755 0:0")},
		{Name: "set-id bits and an owner", Edits: []linuxtest.Edit{device("/dev/mine", "c", 1, 5, 0o6755, 5, 6), device("/mine", "b", 7, 201, 0o2711, 5, 6)}, Check: node("/dev/mine", "c 1:5 0755 5:6")},
		{Name: "sticky, and set-id without execution", Edits: []linuxtest.Edit{device("/dev/mine", "c", 1, 5, 0o3646), device("/mine", "c", 1, 5, 0o3646, 5, 6)}, Check: node("/dev/mine", "c 1:5 3646 0:0")},
		{Name: "/dev is not writable", Edits: []linuxtest.Edit{func(s *specs.Spec) {
			for i := range s.Mounts {
				if s.Mounts[i].Destination == "/dev" {
					s.Mounts[i].Options = append(s.Mounts[i].Options, "ro")
				}
			}
		}}, Check: at("/dev", func(t *testing.T, p report.Path) {
			linuxtest.Equal(t, "writing", p.WriteError, "read-only file system")
		}),
			Differences: []linuxtest.Difference{{Key: "Mount :dev data", Reason: "ro makes the mount read-only, and not the file system"}}},
	}
	for i := range rows {
		rows[i].Edits = append([]linuxtest.Edit{all, writable}, rows[i].Edits...)
	}
	h.Rows(t, rows)
}

// A /dev that a bind supplies is left alone.
func TestBoundDev(t *testing.T) {
	h := linuxtest.One(t)
	dev := mkdir(t, h.Dir+"/dev")
	must(t, unix.Mknod(dev+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))), os.WriteFile(dev+"/ptmx", []byte("mine"), 0o600), os.Chown(dev+"/null", 3, 4))
	var names []string
	h.Rows(t, []linuxtest.Row{{Name: "bound", Edits: []linuxtest.Edit{linuxtest.Inside("/dev", "/dev/null", "/dev/ptmx"), withoutDev, bind("/dev", dev), device("/dev/mine", "c", 1, 5, 0o666)},
		Check: func(t *testing.T, r *report.Report) {
			names = r.Paths["/dev"].Names
			linuxtest.Equal(t, "null", r.Paths["/dev/null"].Owner, "3:4")
		}}})
	linuxtest.Equal(t, "names", strings.Join(names, " "), "null ptmx")
}

// What the image has where a device belongs must be that device.
func TestOtherDevice(t *testing.T) {
	h := linuxtest.One(t)
	for name, prepare := range map[string]func(p string) error{
		"file":         func(p string) error { return os.WriteFile(p, nil, 0o666) },
		"link":         func(p string) error { return os.Symlink("zero", p) },
		"directory":    func(p string) error { return os.Mkdir(p, 0o755) },
		"other device": func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))) },
		"other type":   func(p string) error { return unix.Mknod(p, unix.S_IFBLK|0o666, int(unix.Mkdev(1, 3))) },
	} {
		bundle := h.Bundle(withoutDev, writable, linuxtest.Args("/bin/true"))
		must(t, prepare(bundle+"/rootfs/dev/null"))
		r := h.Run("run", "--bundle", bundle, h.ID("a"))
		if r.Status == 0 || !strings.Contains(r.Stderr, "linux.devices: ") || !strings.Contains(r.Stderr, "/dev/null") {
			t.Errorf("%s: status %d, stderr %s", name, r.Status, r.Stderr)
		}
	}
}

// 500 masked paths take no more than two file systems, and each is covered.
func TestManyMasks(t *testing.T) {
	h := linuxtest.One(t)
	count := func(masks int) (devices map[string]bool, output string) {
		bundle := h.Bundle(linuxtest.Shell("cat /proc/self/mountinfo; echo ==; ls /masked; cat /masked/*/secret /file-* 2>/dev/null | grep -c secret"), writable, func(s *specs.Spec) {
			s.Linux.MaskedPaths = nil
			for i := range masks {
				s.Linux.MaskedPaths = append(s.Linux.MaskedPaths, fmt.Sprintf("/masked/dir-%d", i), fmt.Sprintf("/file-%d", i), fmt.Sprintf("/missing-%d", i))
			}
		})
		for i := range 250 {
			dir := mkdir(t, fmt.Sprintf("%s/rootfs/masked/dir-%d", bundle, i))
			must(t, os.WriteFile(dir+"/secret", []byte("secret\n"), 0o644), os.WriteFile(fmt.Sprintf("%s/rootfs/file-%d", bundle, i), []byte("secret\n"), 0o644))
		}
		out := h.Run("run", "--bundle", bundle, h.ID("a"))
		table, rest, _ := strings.Cut(out.Stdout, "==\n")
		devices = map[string]bool{}
		for line := range strings.Lines(table) {
			devices[strings.Fields(line)[2]] = true
		}
		return devices, rest
	}
	without, all := count(0)
	with, none := count(250)
	if len(with) > len(without)+2 || len(with) == len(without) {
		t.Errorf("%d file systems without masks, %d with", len(without), len(with))
	}
	if !strings.HasSuffix(all, "\n500\n") || !strings.HasSuffix(none, "\n0\n") {
		t.Errorf("secrets are seen: %q, %q", all[len(all)-10:], none[len(none)-10:])
	}
}

func TestMasksAndReadOnly(t *testing.T) {
	h := linuxtest.One(t)
	paths := func(masked, readonly string) linuxtest.Edit {
		return func(s *specs.Spec) {
			s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = strings.Fields(masked), strings.Fields(readonly)
		}
	}
	look := linuxtest.Inside("/dir", "/dir/secret", "/dir/sub", "/dir/sub/file", "/file", "/link", "/link-to-dir", "/dangling", "/etc", "/etc/passwd", "/")
	prepare := func(t *testing.T, rootfs string) {
		mkdir(t, rootfs+"/dir/sub")
		must(t, os.WriteFile(rootfs+"/dir/secret", []byte("secret"), 0o644), os.WriteFile(rootfs+"/dir/sub/file", []byte("deep"), 0o644), os.WriteFile(rootfs+"/file", []byte("secret"), 0o644),
			os.Symlink("file", rootfs+"/link"), os.Symlink("/dir", rootfs+"/link-to-dir"), os.Symlink("/nowhere", rootfs+"/dangling"))
	}
	masks := []linuxtest.Difference{{Key: "Mount :file* *", Reason: "the host's null device masks files"}, {Key: "Mount :dir* data", Reason: "one file system masks all directories"}}
	hidden := func(t *testing.T, r *report.Report) {
		t.Helper()
		if p := r.Paths["/dir"]; len(p.Names) != 0 || p.WriteError == "" {
			t.Errorf("the directory is not masked: %+v", p)
		}
		linuxtest.Equal(t, "file", r.Paths["/file"].Device, "1:3")
	}
	rows := []linuxtest.Row{
		{Name: "file and directory", Edits: []linuxtest.Edit{paths("/file /dir /missing /missing/x", "")}, Check: hidden},
		{Name: "twice", Edits: []linuxtest.Edit{paths("/file /dir /file /dir //file /dir/", "")}, Check: hidden,
			Differences: []linuxtest.Difference{{Key: "Mount :file+*", Reason: "runc 1.1 masks as often as a path is listed"}, {Key: "Mount :dir+*", Reason: "the same"}}},
		{Name: "through links", Edits: []linuxtest.Edit{paths("/link /link-to-dir /dangling", "")}, Check: hidden},
		{Name: "a directory and what is in it", Edits: []linuxtest.Edit{paths("/dir/secret /dir /file", "")}, Check: hidden,
			Differences: []linuxtest.Difference{{Key: "Mount :dir:secret *", Reason: "the host's null device masks files"}}},
		{Name: "what is in a directory, after it", Edits: []linuxtest.Edit{paths("/dir /dir/secret /file", "")}, Check: hidden,
			Differences: []linuxtest.Difference{{Key: "Mount :dir:secret *", Reason: "tongs looks paths up before it masks any"}}},
		{Name: "read-only and masked", Edits: []linuxtest.Edit{paths("/dir /file", "/dir /file /etc")}, Check: func(t *testing.T, r *report.Report) {
			hidden(t, r)
			linuxtest.Equal(t, "writing below read-only", r.Paths["/etc/passwd"].WriteError, "read-only file system")
			linuxtest.Equal(t, "writing to /", r.Paths["/"].WriteError, "")
		}},
		{Name: "masked below masked below read-only", Edits: []linuxtest.Edit{paths("/dir/sub /dir/sub/file /file", "/dir")}, Check: func(t *testing.T, r *report.Report) {
			linuxtest.Equal(t, "what is hidden", r.Paths["/dir/sub/file"].Error, "no such file or directory")
			linuxtest.Equal(t, "names", len(r.Paths["/dir/sub"].Names), 0)
			linuxtest.Equal(t, "writing", r.Paths["/dir"].WriteError, "read-only file system")
		}, Differences: []linuxtest.Difference{{Key: "Mount :dir:sub:file *", Reason: "tongs looks paths up before it masks any"}}},
		{Name: "read-only through a link", Edits: []linuxtest.Edit{paths("", "/link-to-dir /dangling")}, Check: func(t *testing.T, r *report.Report) {
			linuxtest.Equal(t, "writing", r.Paths["/dir"].WriteError, "read-only file system")
		}},
		{Name: "read-only below read-only", Edits: []linuxtest.Edit{paths("", "/dir /dir/sub")}, Check: func(t *testing.T, r *report.Report) {
			linuxtest.Equal(t, "writing", r.Paths["/dir/sub"].WriteError, "read-only file system")
		}, Differences: []linuxtest.Difference{{Key: "Mount :dir:sub *", Reason: "the copy of /dir is read-only with all below"}}},
	}
	for i := range rows {
		rows[i].Edits = append([]linuxtest.Edit{look, writable}, rows[i].Edits...)
		rows[i].Prepare = prepare
		rows[i].Differences = append(rows[i].Differences, masks...)
	}
	h.Rows(t, rows)
}

// Paths that are the same, or lie one below another, without showing it: the image
// has links. All are covered, in whatever order they are listed.
func TestMasksAndReadOnlyThroughLinks(t *testing.T) {
	h := linuxtest.One(t)
	look := linuxtest.Inside("/d", "/d/s", "/d/s/deep", "/d/secret", "/e", "/f", "/hard", "/")
	prepare := func(t *testing.T, rootfs string) {
		mkdir(t, rootfs+"/d/s")
		mkdir(t, rootfs+"/e")
		must(t, os.WriteFile(rootfs+"/d/secret", []byte("secret"), 0o644), os.WriteFile(rootfs+"/d/s/deep", []byte("deep"), 0o644), os.WriteFile(rootfs+"/f", []byte("f"), 0o644),
			os.Symlink("/d", rootfs+"/ld"), os.Symlink("f", rootfs+"/lf"), os.Symlink("../e", rootfs+"/d/le"), os.Symlink("/d/s", rootfs+"/e/ls"), os.Symlink("e/ls", rootfs+"/le-ls"), os.Symlink("d/secret", rootfs+"/lsecret"), os.Link(rootfs+"/f", rootfs+"/hard"))
	}
	null := linuxtest.Difference{Key: "Mount :*secret* *", Reason: "the host's null device masks files; not of what a mask hides"}
	file := linuxtest.Difference{Key: "Mount :[fd]* *", Reason: "the host's null device masks files"}
	one := linuxtest.Difference{Key: "Mount :[de]* data", Reason: "one file system masks all directories"}
	fewer := linuxtest.Difference{Key: "Mount :d*+* *", Reason: "one copy for both paths"}
	var rows []linuxtest.Row
	for _, c := range []struct {
		masked, readonly string
		hidden, locked   string // what must be
	}{
		{"", "/d /ld", "", "/d /d/s"},
		{"", "/ld /d", "", "/d /d/s"},
		{"", "/f /lf", "", "/f"},
		{"", "/lf /f", "", "/f"},
		{"", "/hard /lf /f", "", "/f /hard"},
		{"", "/d/s /ld", "", "/d /d/s"},
		{"", "/ld /d/s", "", "/d /d/s"},
		{"", "/ld/s /d", "", "/d /d/s"},
		{"", "/d /ld/s", "", "/d /d/s"},
		{"", "/d/s/deep /ld", "", "/d /d/s/deep"},
		{"", "/d /d/le", "", "/d /e"},
		{"", "/d/le /d", "", "/d /e"},
		{"/ld/secret", "/d", "/d/secret", "/d /d/s"},
		{"/d/secret", "/ld", "/d/secret", "/d /d/s"},
		{"/lsecret", "/d", "/d/secret", "/d /d/s"},
		{"/ld/s /d/secret", "/d/s /ld", "/d/secret /d/s", "/d"},
		{"/ld/s /ld/s/deep", "/d", "/d/s", "/d"},
		{"/ld/s/deep /ld/s", "/d", "/d/s", "/d"},
		{"/ld/secret /lsecret", "/d", "/d/secret", "/d"},
		{"/ld/s", "/d /ld/s/deep", "/d/s", "/d"},
		{"/le-ls /e", "/ld", "/e /d/s", "/d"},
		{"/e/ls /e", "/ld", "/e /d/s", "/d"},
		{"/d", "/ld", "/d", "/d"},
		{"/ld", "/d", "/d", "/d"},
		{"/d", "/ld/s", "/d", "/d"},
		{"/ld", "/d/s", "/d", "/d"},
		{"/d/le", "/d", "/e", "/d"},
		{"/ld /d/secret", "", "/d", "/d"},
		{"/d/secret /ld", "", "/d", "/d"},
		{"/lsecret /d", "", "/d", "/d"},
		{"/lf /f", "", "/f", ""},
	} {
		differences := []linuxtest.Difference{null, one, fewer}
		if strings.Contains(c.masked, "/deep") || c.masked == "/lf /f" {
			differences = append(differences, file)
		}
		rows = append(rows, linuxtest.Row{
			Name: "masked " + c.masked + " read-only " + c.readonly,
			Edits: []linuxtest.Edit{look, writable, func(s *specs.Spec) {
				s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = strings.Fields(c.masked), strings.Fields(c.readonly)
			}},
			Check: func(t *testing.T, r *report.Report) {
				for p := range strings.FieldsSeq(c.hidden) {
					if got := r.Paths[p]; len(got.Names) != 0 || got.Content != "" || got.Device != "1:3" && got.WriteError == "" {
						t.Errorf("%s is not masked: %+v", p, got)
					}
				}
				for p := range strings.FieldsSeq(c.locked) {
					linuxtest.Equal(t, "writing to "+p, r.Paths[p].WriteError, "read-only file system")
				}
				linuxtest.Equal(t, "writing to /", r.Paths["/"].WriteError, "")
			},
			Prepare: prepare, Differences: differences,
		})
	}
	h.Rows(t, rows)
	for _, field := range []string{"maskedPaths", "readonlyPaths"} {
		for _, p := range []string{"/", "/tmp/..", "/to-root"} {
			refused(t, h, func(s *specs.Spec) {
				if field == "maskedPaths" {
					s.Linux.MaskedPaths = []string{p}
				} else {
					s.Linux.ReadonlyPaths = []string{p}
				}
			}, "linux."+field+"[0]: the root directory itself", "root.readonly")
		}
	}
}
