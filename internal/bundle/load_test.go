package bundle

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func writeFile(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Join(dir, "real")
	if err := os.Mkdir(real, 0o700); err != nil {
		t.Fatal(err)
	}
	data := []byte(`{"ociVersion":"1.0.2","Root":{},"process":{"capabilities":{"bounding":["CAP_NEW"]}}}`)
	writeFile(t, filepath.Join(dir, "elsewhere.json"), data)
	if err := os.Symlink("../elsewhere.json", filepath.Join(real, "config.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	b, err := Load("link")
	if err != nil {
		t.Fatal(err)
	}
	if b.Dir != real {
		t.Errorf("Dir: got %q, want %q", b.Dir, real)
	}
	if b.Spec.Version != "1.0.2" || !bytes.Equal(b.Raw, data) {
		t.Errorf("got %+v, raw %q", b.Spec, b.Raw)
	}
	want := []string{
		`Root: unknown key, ignored; did you mean "root"? (config.json line 1, column 23)`,
		`process.capabilities.bounding[0]: unknown capability "CAP_NEW", ignored`,
	}
	if strings.Join(b.Warnings, "\n") != strings.Join(want, "\n") {
		t.Errorf("warnings: got %q, want %q", b.Warnings, want)
	}
}

func TestLoadErrors(t *testing.T) {
	tests := []struct {
		name string
		make func(t *testing.T, config string) // config is bundle/config.json
		load string
		want string
	}{
		{"no bundle", nil, "none", `cannot open bundle "none": no such directory`},
		{"empty path", nil, "", `cannot open bundle: the path is empty`},
		{"file for bundle", func(t *testing.T, config string) {
			writeFile(t, config, nil)
		}, "bundle/config.json", `cannot open bundle "bundle/config.json": not a directory`},
		{"path through a file", func(t *testing.T, config string) {
			writeFile(t, config, nil)
		}, "bundle/config.json/x", `cannot open bundle "bundle/config.json/x": not a directory`},
		{"no config", nil, "bundle", `cannot read "DIR/bundle/config.json": no such file; is this a bundle?`},
		{"directory", func(t *testing.T, config string) {
			if err := os.Mkdir(config, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "bundle", `cannot read "DIR/bundle/config.json": not a regular file`},
		{"fifo", func(t *testing.T, config string) {
			if err := syscall.Mkfifo(config, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "bundle", `cannot read "DIR/bundle/config.json": not a regular file`},
		{"socket", func(t *testing.T, config string) {
			l, err := net.Listen("unix", "bundle/config.json")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}, "bundle", `cannot read "DIR/bundle/config.json": not a regular file`},
		{"device", func(t *testing.T, config string) {
			if err := os.Symlink("/dev/zero", config); err != nil {
				t.Fatal(err)
			}
		}, "bundle", `cannot read "DIR/bundle/config.json": not a regular file`},
		{"symlink to itself", func(t *testing.T, config string) {
			if err := os.Symlink("config.json", config); err != nil {
				t.Fatal(err)
			}
		}, "bundle", `cannot read "DIR/bundle/config.json": too many levels of symbolic links`},
		{"empty", func(t *testing.T, config string) {
			writeFile(t, config, nil)
		}, "bundle", `config.json: the document is empty`},
		{"too large", func(t *testing.T, config string) {
			writeFile(t, config, nil)
			if err := os.Truncate(config, 1<<40); err != nil {
				t.Fatal(err)
			}
		}, "bundle", `cannot read "DIR/bundle/config.json": 1099511627776 bytes, more than the limit of 16777216`},
		{"bad field", func(t *testing.T, config string) {
			writeFile(t, config, []byte(`{"root":1}`))
		}, "bundle", `root: expected an object, found number (config.json line 1, column 9)`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Chdir(dir)
			if err := os.Mkdir("bundle", 0o700); err != nil {
				t.Fatal(err)
			}
			if test.make != nil {
				test.make(t, filepath.Join(dir, "bundle", "config.json"))
			}
			done := make(chan error, 1)
			go func() {
				_, err := Load(test.load)
				done <- err
			}()
			select {
			case err := <-done:
				want := strings.ReplaceAll(test.want, "DIR", dir)
				if err == nil || err.Error() != want {
					t.Errorf("got %v\nwant %s", err, want)
				}
			case <-time.After(10 * time.Second):
				t.Error("blocks")
			}
		})
	}
}

// TestReadAllGrowing: what fstat(2) said is only a hint, in both directions.
func TestReadAllGrowing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	want := bytes.Repeat([]byte("0123456789"), 1000)
	writeFile(t, path, want)
	for _, size := range []int{0, 1, 9999, 10000, 50000} {
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := readAll(int(file.Fd()), size)
		file.Close()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("size %d: got %d bytes, %v", size, len(got), err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	dir := b.TempDir()
	writeFile(b, filepath.Join(dir, "config.json"), encode(b, example(true)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load(dir); err != nil {
			b.Fatal(err)
		}
	}
}
