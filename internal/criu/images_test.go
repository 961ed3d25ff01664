package criu

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// images makes a directory of images that could be CRIU's.
func images(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "images")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"core-1.img", "pages-1.img"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestOpenImages(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(dir string) error
		want  string // of the error; none if empty
		work  string // of a work directory
	}{
		"good":                       {func(string) error { return nil }, "", ""},
		"directory in it":            {func(d string) error { return os.Mkdir(d+"/criu.work", 0o700) }, "", ""},
		"link in it":                 {func(d string) error { return os.Symlink("core-1.img", d+"/core-2.img") }, `"core-2.img" in it is a symbolic link`, ""},
		"link for the log":           {func(d string) error { return os.Symlink("/etc/x", d+"/dump.log") }, `"dump.log" in it is a symbolic link`, `"dump.log" in it is a symbolic link`},
		"link for statistics":        {func(d string) error { return os.Symlink("/etc/x", d+"/stats-dump") }, `"stats-dump" in it is a symbolic link`, `"stats-dump" in it is a symbolic link`},
		"file that others can write": {func(d string) error { return os.Chmod(d+"/core-1.img", 0o666) }, "", ""},
		"writable for all":           {func(d string) error { return os.Chmod(d, 0o703) }, "other users can write to it", "other users can write to it"},
		"writable for the own group": {func(d string) error { return os.Chmod(d, 0o770) }, "", ""},
		"missing":                    {os.RemoveAll, "cannot open", ""},
		"file":                       {func(d string) error { os.RemoveAll(d); return os.WriteFile(d, nil, 0o600) }, "is not a directory", "not a directory"},
		"link":                       {func(d string) error { os.Rename(d, d+"2"); return os.Symlink(d+"2", d) }, "a symbolic link", ""},
		"relative link":              {func(d string) error { os.Rename(d, d+"2"); return os.Symlink("images2", d) }, "a symbolic link", ""},
		"link to a link": {func(d string) error {
			os.Rename(d, d+"2")
			os.Symlink(d+"2", d+"3")
			return os.Symlink(d+"3", d)
		}, "a symbolic link", "a symbolic link"},
		"link that leads nowhere": {func(d string) error { os.RemoveAll(d); return os.Symlink(d+"3", d) }, "a symbolic link", "cannot open"},
		"parent is a file":        {func(d string) error { os.WriteFile(d+"2", nil, 0o600); return os.Symlink("../images2", d+"/parent") }, "is not a directory", ""},
		"parent is absolute":      {func(d string) error { return os.Symlink("/tmp", d+"/parent") }, "is not a relative path", ""},
		"parent is missing":       {func(d string) error { return os.Symlink("../x", d+"/parent") }, "cannot open", ""},
		"parent is itself":        {func(d string) error { return os.Symlink(".", d+"/parent") }, "more than 1000 parents", ""},
		"parent behind a link": {func(d string) error {
			os.Symlink(".", d+"/../l")
			os.Mkdir(d+"/../p", 0o700)
			return os.Symlink("../l/p", d+"/parent")
		}, "a symbolic link", ""},
		"parent with a link in it": {func(d string) error {
			os.Mkdir(d+"/../p", 0o700)
			os.Symlink("/x", d+"/../p/y")
			return os.Symlink("../p", d+"/parent")
		}, `"y" in it is a symbolic link`, ""},
		"parent": {func(d string) error { os.Mkdir(d+"/../p", 0o700); return os.Symlink("../p", d+"/parent") }, "", ""},
		"parent is everybody's": {func(d string) error {
			os.Mkdir(d+"/../p", 0o700)
			os.Chmod(d+"/../p", 0o777)
			return os.Symlink("../p", d+"/parent")
		}, "other users", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := images(t)
			if err := c.spoil(dir); err != nil {
				t.Fatal(err)
			}
			d, err := OpenImages(dir)
			if err == nil {
				err = d.CheckParents()
			}
			d.Close()
			check(t, err, c.want)
			w, err := MakeWork(dir)
			w.Close()
			check(t, err, c.work)
		})
	}
}

// A work directory may be behind a link, but not behind somebody else's.
func TestWorkOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to others")
	}
	for name, c := range map[string]struct {
		link, dir int
		want      string
	}{
		"both are ours":          {0, 0, ""},
		"link of another user":   {65534, 0, "a symbolic link"},
		"link to another user's": {0, 65534, "it belongs to uid 65534"},
	} {
		dir := images(t)
		if err := errors.Join(os.Symlink(dir, dir+"-link"), os.Lchown(dir+"-link", c.link, 0), os.Chown(dir, c.dir, 0)); err != nil {
			t.Fatal(err)
		}
		t.Log(name)
		w, err := MakeWork(dir + "-link")
		w.Close()
		check(t, err, c.want)
	}
}

func check(t *testing.T, err error, want string) {
	t.Helper()
	if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("the error is %v, want %q", err, want)
	}
}

func TestFiles(t *testing.T) {
	dir := images(t)
	d, err := OpenImages(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for range 2 {
		if err := d.Write("x.json", []byte("[]")); err != nil {
			t.Error(err)
		}
	}
	if data, err := d.Read("x.json"); string(data) != "[]" || err != nil {
		t.Errorf("it has %q: %v", data, err)
	}
	if err := os.Symlink("x.json", dir+"/l"); err != nil {
		t.Fatal(err)
	}
	if err := d.Write("l", nil); err == nil {
		t.Error("a link was written through")
	}
	for _, name := range []string{"l", "missing", "."} {
		if data, err := d.Read(name); err == nil {
			t.Errorf("%s has %q", name, data)
		}
	}
	if err := os.Truncate(dir+"/x.json", 1<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read("x.json"); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Error(err)
	}
}

func TestExplain(t *testing.T) {
	dir := images(t)
	d, err := OpenImages(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	failed := &FailedError{Kind: Dump, Message: "first"}
	if got := d.Explain(failed, "dump.log").Error(); got != "criu dump failed; it says: first" {
		t.Errorf("without a log: %s", got)
	}
	log := "(00.1) nothing\n(00.2)      1: Error (a.c:1): one\nstray Error\n"
	for _, n := range []string{"2", "3", "4", "5", "6"} {
		log += "(00.3) Error (b.c:" + n + "): " + n + "\n(00.3) between\n"
	}
	if err := os.WriteFile(dir+"/dump.log", []byte(strings.Repeat("(00.0) long\n", 50000)+log), 0o600); err != nil {
		t.Fatal(err)
	}
	got := d.Explain(failed, "dump.log")
	want := "criu dump failed; " + dir + "/dump.log ends with: Error (b.c:2): 2; Error (b.c:3): 3; Error (b.c:4): 4; Error (b.c:5): 5; Error (b.c:6): 6"
	var f *FailedError
	if got.Error() != want || !errors.As(got, &f) {
		t.Errorf("%v\nwant %s", got, want)
	}
}

// pagemap makes a page map of one page at each of the flags.
func pagemap(flags ...int64) []byte {
	data := []byte{0x19, 0x43, 0x56, 0x54, 0x25, 0x40, 0x08, 0x56, 2, 0, 0, 0, 8, 7} // the pages are in pages-7.img
	for _, f := range flags {
		var e encoder
		e.int(1, 0x400000)
		e.int(2, 2)
		e.int(4, f)
		data = append(append(data, byte(len(e.buf)), 0, 0, 0), e.buf...)
	}
	return data
}

func TestCheckComplete(t *testing.T) {
	page := int64(os.Getpagesize())
	for name, c := range map[string]struct {
		pagemap []byte
		size    int64 // of the pages; -1: none
		want    string
	}{
		"whole":                     {pagemap(4, 6, 1), 4 * page, ""},
		"more":                      {pagemap(4), 4 * page, ""},
		"short":                     {pagemap(4, 6, 1), 4*page - 1, "pages-7.img\" is damaged: it has "},
		"missing":                   {pagemap(4), -1, "pages-7.img"},
		"all in the parent or lazy": {pagemap(1, 2), -1, ""},
		"not a page map":            {[]byte("0123456789"), 0, "pagemap-1.img\" is damaged"},
		"empty":                     {nil, 0, "pagemap-1.img\" is damaged"},
		"cut":                       {pagemap(4)[:18], 2 * page, "pagemap-1.img\" is damaged"},
		"huge entry":                {append(pagemap(4), 0xff, 0xff, 0xff, 0xff), 2 * page, "pagemap-1.img\" is damaged"},
	} {
		dir := images(t)
		if err := os.WriteFile(dir+"/pagemap-1.img", c.pagemap, 0o600); err != nil {
			t.Fatal(err)
		}
		if c.size >= 0 {
			if err := os.WriteFile(dir+"/pages-7.img", make([]byte, c.size), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d, err := OpenImages(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) { check(t, d.CheckComplete(), c.want) })
		d.Close()
	}
}

func TestHasMount(t *testing.T) {
	dir := t.TempDir()
	for file, text := range map[string]string{"mountpoints-12.img": "x\x0b/run/notify\x01/", "mountpoints-13.img": "\x04/one", "fs-1.img": "\x04/two"} {
		if err := os.WriteFile(dir+"/"+file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := OpenImages(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for name, want := range map[string]bool{"/run/notify": true, "/one": true, "/run": false, "/two": false, "/run/notify/x": false} {
		if got, err := d.HasMount(name); got != want || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
