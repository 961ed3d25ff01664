package rootfs_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/kernel/record"
	"tongs/internal/rootfs"
)

// busy is a recorder whose openat2 gives up n times, then finds a directory
// of the mount.
func busy(n int, then int64, mount uint64) (*record.Kernel, *int) {
	opened := new(int)
	return &record.Kernel{Answer: func(c *kernel.Call) (int64, bool) {
		switch c.Name {
		case "openat2":
			if *opened++; *opened <= n {
				return -int64(unix.EAGAIN), true
			}
			return then, true
		case "statx":
			if h, _, _ := c.Args[0].H.Number(nil); h < 0 {
				return -int64(unix.EBADF), true
			}
			kernel.FakeStatx(c.Args[4].Mem.Bytes, unix.S_IFDIR, mount)
		}
		return 0, false
	}}, opened
}

// While anything is renamed on the machine, the kernel does not follow "..".
func TestSettle(t *testing.T) {
	for _, c := range []struct {
		name   string
		busy   int
		then   int64
		want   unix.Errno
		opened int
	}{
		{"at once", 0, 7, 0, 1},
		{"missing", 0, -int64(unix.ENOENT), unix.ENOENT, 1},
		{"third time", 2, 7, 0, 3},
		{"then missing", 2, -int64(unix.ENOENT), unix.ENOENT, 3},
		{"at last", 64, 7, 0, 65},
		{"never", 1000, 7, unix.EAGAIN, 65},
	} {
		k, opened := busy(c.busy, c.then, 5)
		r := &rootfs.Root{K: k, Dir: kernel.NewHandle(3, "root")}
		b := &kernel.Batch{}
		pl := r.Follow(b, "/a")
		if err := k.Run(b); err != nil {
			t.Fatal(err)
		}
		if err := r.Settle("field", pl); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if pl.Errno() != c.want || *opened != c.opened || pl.Path != "/a" || c.want == 0 && !pl.IsDir() {
			t.Errorf("%s: got %v after %d, want %v after %d", c.name, pl.Errno(), *opened, c.want, c.opened)
		}
	}
}

// The same for what was attached: it is looked for again.
func TestExpectSettles(t *testing.T) {
	for _, c := range []struct {
		name  string
		busy  int
		then  int64
		mount uint64
		want  string
	}{
		{"at once", 0, 7, 5, ""},
		{"third time", 2, 7, 5, ""},
		{"another mount", 2, 7, 6, "leads elsewhere"},
		{"missing", 2, -int64(unix.ENOENT), 5, "(ENOENT)"},
		{"never", 1000, 7, 5, "(EAGAIN)"},
	} {
		k, _ := busy(c.busy, c.then, 5)
		b := &kernel.Batch{}
		wanted := b.Stat(kernel.NewHandle(9, "mount"))
		if err := k.Run(b); err != nil {
			t.Fatal(err)
		}
		k2, _ := busy(c.busy, c.then, c.mount)
		r := &rootfs.Root{K: k2, Dir: kernel.NewHandle(3, "root")}
		b = &kernel.Batch{}
		r.Expect(b, "mounts[0]", &rootfs.Place{Path: "/a"}, wanted)
		err := k2.Run(b)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), "mounts[0]: ") || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}
