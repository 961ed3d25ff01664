package mounts

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
	"tongs/test/inside/report"
)

// layersTaken asks the kernel whether it takes single layers of overlayfs (6.8), and
// descriptors of them (6.13).
func layersTaken(t *testing.T) (single, descriptors bool) {
	t.Helper()
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	must(t, err)
	defer unix.Close(fs)
	dir, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(dir)
	return unix.FsconfigSetString(fs, "lowerdir+", "/") == nil, unix.FsconfigSetFd(fs, "lowerdir+", dir) == nil
}

// Options of overlayfs can be longer than the 255 bytes that fsconfig(2) takes.
func TestLongOptions(t *testing.T) {
	h := linuxtest.One(t)
	single, descriptors := layersTaken(t)
	if !single {
		t.Skip("the kernel takes no single layers of overlayfs")
	}
	layers := mkdir(t, h.Dir+"/l")
	var many []string
	for i := range 100 {
		d := mkdir(t, fmt.Sprintf("%s/%d", layers, i))
		must(t, os.WriteFile(fmt.Sprintf("%s/f%d", d, i), nil, 0o644), os.WriteFile(d+"/same", fmt.Append(nil, i), 0o644))
		many = append(many, d)
	}
	deep := func(name string) string {
		must(t, os.MkdirAll(layers+"/"+strings.Repeat("d", 150)+"/"+strings.Repeat(name, 150), 0o755))
		return layers + "/" + strings.Repeat("d", 150) + "/" + strings.Repeat(name, 150)
	}
	long, upper, work := deep("l"), deep("u"), deep("w")
	odd := mkdir(t, layers+"/with:colon, comma and\\backslash"+strings.Repeat("x", 100))
	oddUpper, oddWork := mkdir(t, long+"/up:per"), mkdir(t, long+"/wo\\rk")
	must(t, os.WriteFile(long+"/same", []byte("long"), 0o644), os.WriteFile(odd+"/same", []byte("odd"), 0o644))
	escape := strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`).Replace

	mnt := func(options ...string) []linuxtest.Edit {
		return []linuxtest.Edit{linuxtest.Inside("/mnt", "/mnt/same", "/mnt/f0", "/mnt/f99"), writable, linuxtest.Mount("/mnt", "overlay", "overlay", options...)}
	}
	clean := func(t *testing.T, _ string) {
		for _, d := range []string{upper, work, oddUpper, oddWork} {
			must(t, os.RemoveAll(d), os.Mkdir(d, 0o755))
		}
	}
	written := at("/mnt", func(t *testing.T, p report.Path) { linuxtest.Equal(t, "writing", p.WriteError, "") })
	count := at("/mnt", func(t *testing.T, p report.Path) { linuxtest.Equal(t, "names", len(p.Names), 101) })
	least := func(n int) string { // lowerdir of just so many bytes, and one of them a directory
		s := many[0] + ":"
		return "lowerdir=" + s + mkdir(t, layers+"/"+strings.Repeat("n", n-len(s)-len(layers)-1))
	}
	rows := []linuxtest.Row{
		{Name: "255 bytes", Edits: mnt(least(255)), Check: content("/mnt/same", "0")},
		{Name: "256 bytes", Edits: mnt(least(256)), Check: content("/mnt/same", "0")},
		{Name: "100 layers", Edits: mnt("lowerdir=" + strings.Join(many, ":")), Check: count},
		{Name: "escapes", Edits: mnt("lowerdir=" + escape(odd) + ":" + strings.Join(many, ":")), Check: content("/mnt/same", "odd"), OnlyTongs: "it splits at an escaped comma"},
		{Name: "data-only layers", Edits: mnt("metacopy=on", "lowerdir="+strings.Join(many[:50], ":")+"::"+many[50]), Check: content("/mnt/same", "0")},
	}
	if descriptors {
		rows = append(rows, []linuxtest.Row{
			{Name: "a long path", Edits: mnt("lowerdir=" + long + ":" + many[0]), Check: content("/mnt/same", "long")},
			{Name: "long paths", Prepare: clean, Edits: mnt("lowerdir="+many[0], "upperdir="+upper, "workdir="+work), Check: written},
			{Name: "100 layers, upper and work", Prepare: clean, Edits: mnt("index=off", "lowerdir="+strings.Join(many, ":"), "upperdir="+escape(oddUpper), "workdir="+escape(oddWork)), Check: written},
			{Name: "a long path of data", Edits: mnt("metacopy=on", "lowerdir="+many[0]+"::"+long), Check: content("/mnt/same", "0")},
			{Name: "the last lowerdir", Edits: mnt("lowerdir="+many[1]+":"+many[2], "lowerdir="+long+":"+many[0]), Check: content("/mnt/same", "long")},
			{Name: "the last lowerdir is short", Edits: mnt("lowerdir="+long+":"+many[0], "lowerdir="+many[1]+":"+many[2]), Check: content("/mnt/same", "1")},
		}...)
	}
	for i := range rows {
		rows[i].Differences = []linuxtest.Difference{{Key: "Mount :mnt data", Reason: "the kernel lists layers as they were given, and escapes"}}
	}
	h.Rows(t, rows)
}

// What the kernel takes in no other way is refused with the field and the limit.
func TestTooLongOptions(t *testing.T) {
	h := linuxtest.One(t)
	a, s := h.Dir+"/a", strings.Repeat("s", 300)
	for name, c := range map[string]struct {
		edit linuxtest.Edit
		want string
	}{
		"source":        {linuxtest.Mount("/mnt", "tmpfs", s), "mounts[7].source: the source has 300 bytes; the kernel takes at most 255 (fsconfig(2))"},
		"value":         {linuxtest.Mount("/mnt", "tmpfs", "t", "size="+s), "mounts[7].options: size=… has 300 bytes; the kernel takes at most 255 (fsconfig(2))"},
		"flag":          {linuxtest.Mount("/mnt", "tmpfs", "t", s), "mounts[7].options: ssssssssssssssss… has 300 bytes"},
		"missing layer": {linuxtest.Mount("/mnt", "overlay", "o", "lowerdir="+strings.Repeat(a+":", 100)+a), "mounts[7].options: lowerdir=… has "},
		"missing path":  {linuxtest.Mount("/mnt", "overlay", "o", "lowerdir=/etc:/"+s), "mounts[7].options: cannot open the directory of lowerdir+ /sss"},
		"empty layer":   {linuxtest.Mount("/mnt", "overlay", "o", "lowerdir="+strings.Repeat("/etc:", 100)), "mounts[7].options: lowerdir=… has 500 bytes; the kernel takes at most 255 (fsconfig(2)), and single layers instead since Linux 6.8: fsconfig("},
	} {
		h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
			if r := h.Run("run", "--bundle", h.Bundle(c.edit), h.ID("a")); r.Status != 1 || !strings.Contains(r.Stderr, c.want) {
				t.Errorf("status %d, stderr %s, want %q", r.Status, r.Stderr, c.want)
			}
		})
	}
}
