package vm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// buildTime bounds each compilation.
const buildTime = 5 * time.Minute

// makeDisk builds the test programs and the programs that they use, and makes a
// file system of them, with all that `run` reads.
func makeDisk(t *testing.T, file string, list []tests) {
	t.Helper()
	module, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("cannot make the disk of tests: %v", err)
		}
	}
	programs := filepath.Join(dir, "programs") + "/"
	must(os.Mkdir(programs, 0o755))
	mains, err := exec.Command("go", "list", "-f", `{{if eq .Name "main"}}{{.ImportPath}}{{end}}`, "tongs/cmd/...", "tongs/test/...").Output()
	must(err)
	build(t, append([]string{"build", "-trimpath", "-o", programs}, strings.Fields(string(mains))...)...)

	text := ""
	for _, p := range list {
		to, from := filepath.Join(dir, "packages", p.Package), filepath.Join(module, p.Package)
		must(os.MkdirAll(to, 0o755))
		build(t, "test", "-c", "-o", to+"/test.program", "tongs/"+p.Package)
		err := os.CopyFS(to+"/testdata", os.DirFS(from+"/testdata"))
		if !errors.Is(err, fs.ErrNotExist) {
			must(err)
		}
		text += fmt.Sprintf("%s %d %s\n", p.Package, p.Seconds, strings.Join(p.Arguments, " "))
	}
	must(os.WriteFile(dir+"/list", []byte(text), 0o644))
	script, err := os.ReadFile("run")
	must(err)
	must(os.WriteFile(dir+"/run", script, 0o755))
	log, err := runBounded(exec.Command("/sbin/mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", dir, file, "1G"), buildTime)
	if err != nil {
		t.Fatalf("cannot make the disk of tests: %v\n%s", err, log)
	}
}

func build(t *testing.T, args ...string) {
	t.Helper()
	args = append([]string{args[0], "-buildvcs=false", "-ldflags", "-s -w"}, args[1:]...)
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if log, err := runBounded(cmd, buildTime); err != nil {
		t.Fatalf("cannot build for the virtual machine: go %q: %v\n%s", args, err, log)
	}
}
