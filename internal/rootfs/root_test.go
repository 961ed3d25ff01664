package rootfs_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/kernel/record"
	"tongs/internal/rootfs"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"": "/", "/": "/", "a": "/a", "/a/": "/a", "//a//b": "/a/b", "/a/../b": "/b", "../../a": "/a", "/..": "/", "./a/.": "/a", "/a/b/../..": "/",
	} {
		if got := rootfs.Clean(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestParent(t *testing.T) {
	for _, c := range [][3]string{{"/a", "/", "a"}, {"/a/b", "/a", "b"}, {"/a/b/c", "/a/b", "c"}, {"/", "/", ""}} {
		if dir, name := rootfs.Parent(c[0]); dir != c[1] || name != c[2] {
			t.Errorf("%q: got %q and %q, want %q and %q", c[0], dir, name, c[1], c[2])
		}
	}
}

// fake is a recorder in which every component is of one type.
func fake(mode uint16, target string) *record.Kernel {
	return &record.Kernel{Answer: func(c *kernel.Call) (int64, bool) {
		switch c.Name {
		case "statx":
			kernel.FakeStatx(c.Args[4].Mem.Bytes, mode, 1)
		case "readlinkat":
			if target == "" {
				return -int64(unix.EINVAL), true
			}
			return int64(copy(c.Args[2].Mem.Bytes, target)), true
		}
		return 0, false
	}}
}

func TestMakeLimits(t *testing.T) {
	long := strings.Repeat("/d", 4096)
	for _, c := range []struct {
		name, path string
		k          *record.Kernel
		want       string // part of the error
	}{
		{"many components", long, fake(unix.S_IFDIR, ""), ""},
		{"too many components", long + "/d/d", fake(unix.S_IFDIR, ""), "more than 4096 components"},
		{"too many parents", strings.Repeat("/..", 4098), fake(unix.S_IFDIR, ""), "more than 4096 components"},
		{"loop of links", "/l", fake(unix.S_IFLNK, "l"), "more than 40 symbolic links (ELOOP)"},
		{"links that grow", "/l", fake(unix.S_IFLNK, strings.Repeat("l/", 2000)), "more than 40 symbolic links (ELOOP)"},
		{"empty link", "/l", fake(unix.S_IFLNK, ""), "an empty symbolic link"},
		{"file on the way", "/f/x", fake(unix.S_IFREG, ""), `"f" on the way is not a directory`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &rootfs.Root{K: c.k, Dir: kernel.NewHandle(3, "root")}
			_, err := r.Make("mounts[0].destination", c.path, true)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("got %v", err)
			case c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), "mounts[0].destination: ") || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// What is attached and then not found at its path fails the batch.
func TestAttachVerifies(t *testing.T) {
	for _, moved := range []bool{false, true} {
		k := &record.Kernel{}
		stats := uint64(0)
		k.Answer = func(c *kernel.Call) (int64, bool) {
			if c.Name == "statx" {
				if moved {
					stats++
				}
				kernel.FakeStatx(c.Args[4].Mem.Bytes, unix.S_IFDIR, 5+stats)
			}
			return 0, false
		}
		r := &rootfs.Root{K: k, Dir: kernel.NewHandle(3, "root")}
		b := &kernel.Batch{}
		place := r.Look(b, "/a")
		r.Attach(b, "mounts[0]", kernel.NewHandle(4, "mount"), place)
		err := k.Run(b)
		if moved && (err == nil || !strings.Contains(err.Error(), "leads elsewhere")) {
			t.Errorf("a path that leads elsewhere: got %v", err)
		}
		if !moved && err != nil {
			t.Errorf("a path that leads to the mount: got %v", err)
		}
		if !moved && !strings.Contains(k.Text.String(), "IN_ROOT|NO_MAGICLINKS|NO_SYMLINKS") {
			t.Errorf("Look follows links:\n%s", k.Text.String())
		}
	}
}

func TestPlaceErrors(t *testing.T) {
	for _, c := range []struct {
		name        string
		open, statx int64
		want        unix.Errno
		missing     bool
	}{
		{"there", 7, 0, 0, false},
		{"nothing there", -int64(unix.ENOENT), -int64(unix.EBADF), unix.ENOENT, true},
		{"file on the way", -int64(unix.ENOTDIR), -int64(unix.EBADF), unix.ENOTDIR, true},
		{"link on the way", -int64(unix.ELOOP), -int64(unix.EBADF), unix.ELOOP, false},
		{"not to be looked at", 7, -int64(unix.EIO), unix.EIO, false},
	} {
		k := &record.Kernel{Answer: func(call *kernel.Call) (int64, bool) {
			switch call.Name {
			case "openat2":
				return c.open, true
			case "statx":
				return c.statx, true
			}
			return 0, false
		}}
		b := &kernel.Batch{}
		p := (&rootfs.Root{K: k, Dir: kernel.NewHandle(3, "root")}).Follow(b, "/a")
		if err := k.Run(b); err != nil {
			t.Errorf("%s: got %v", c.name, err)
		}
		if p.Errno() != c.want || p.Missing() != c.missing {
			t.Errorf("%s: got %v missing %v, want %v and %v", c.name, p.Errno(), p.Missing(), c.want, c.missing)
		}
	}
}
