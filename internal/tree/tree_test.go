// Package tree_test checks the house rules on the source itself: who may
// import and call what, how long things are, and what must not exist.
//
// What it deliberately does not do: it does not judge names or comments, and
// it has no opinion on tests beyond their format.
package tree_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// pkg is one package of the module, as go list describes it.
type pkg struct {
	ImportPath  string
	Name        string
	Dir         string
	GoFiles     []string
	CgoFiles    []string
	TestGoFiles []string
	XTestGoFiles,
	IgnoredGoFiles []string // other architectures
	Imports []string
	Deps    []string

	fset  *token.FileSet
	files map[string]*ast.File // name → what is compiled, and IgnoredGoFiles
	lines map[string]int
}

// short is the path below internal, or below the module for what lies
// elsewhere: "setup", "cmd/tongs".
func (p *pkg) short() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, "tongs/"), "internal/")
}

// tool reports whether the package is no part of the program: what
// measures, generates or tests it.
func (p *pkg) tool() bool {
	s := p.short()
	for _, dir := range []string{"bench", "scripts", "test", "linuxtest", "bundle/gen", "seccomp/gen", "kernel/stub/code/printimage", "kernel/kerneltest"} {
		if s == dir || strings.HasPrefix(s, dir+"/") {
			return true
		}
	}
	return false
}

// moduleRoot is the directory of go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, statErr := os.Stat(filepath.Join(dir, "go.mod")); statErr == nil {
			return dir, nil
		}
		if dir == "/" {
			return "", errors.New("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}

// load lists and parses the module once for all tests.
func load(t *testing.T) []*pkg {
	t.Helper()
	list, err := loaded()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 10 {
		t.Fatalf("only %d packages were found", len(list))
	}
	return list
}

var loaded = sync.OnceValues(loadAll)

func loadAll() ([]*pkg, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("go", "list", "-json", "./...")
	cmd.Dir = root
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var list []*pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		p := &pkg{}
		if err := d.Decode(p); err == io.EOF {
			return list, nil
		} else if err != nil {
			return nil, err
		}
		if err := p.parse(); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
}

func (p *pkg) parse() error {
	p.fset, p.files, p.lines = token.NewFileSet(), map[string]*ast.File{}, map[string]int{}
	for _, name := range slices.Concat(p.GoFiles, p.CgoFiles, p.IgnoredGoFiles) {
		f, err := parser.ParseFile(p.fset, filepath.Join(p.Dir, name), nil, parser.ParseComments)
		if err != nil {
			return err
		}
		p.files[name] = f
		p.lines[name] = p.fset.File(f.Pos()).LineCount()
	}
	return nil
}

// rank is the height of a package in the import graph: it may import what is
// strictly lower. What is not listed is at the height of a host subsystem.
func rank(short string) int {
	switch short {
	case "cmd/tongs":
		return 9
	case "cli":
		return 8
	case "container":
		return 7
	case "setup":
		return 5
	case "kernel/stub", "kernel/host", "kernel/record":
		return 2 // implement kernel; who may import them is told below
	case "probe", "kernel/stub/code", "dbus":
		return 1
	case "kernel":
		return 0
	}
	return 3
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range load(t) {
		if p.tool() {
			continue
		}
		for _, imported := range p.Imports {
			if !strings.HasPrefix(imported, "tongs/") {
				continue
			}
			to := (&pkg{ImportPath: imported}).short()
			if rank(to) >= rank(p.short()) {
				t.Errorf("%s imports %s, which is not below it", p.short(), to)
			}
			switch to {
			case "kernel/stub", "kernel/host", "kernel/record":
				if rank(p.short()) < rank("container") {
					t.Errorf("%s imports %s: below container only the interface is known", p.short(), to)
				}
			}
			if (&pkg{ImportPath: imported}).tool() {
				t.Errorf("%s imports %s, which is no part of the program", p.short(), to)
			}
		}
	}
}

// heavy lists what each start of the program would pay for, or what does not
// belong into it.
func heavy() []string {
	return []string{"net/http", "text/template", "html/template", "regexp", "encoding/gob", "encoding/xml", "testing", "go/ast", "plugin", "expvar",
		"os/user", "os/exec", "net", "net/netip", "crypto/rand", "github.com/godbus/dbus/v5", "log"}
}

// pays lists heavy packages that the program has all the same.
func pays() map[string]string {
	return map[string]string{"log": "logrus, by the cgroups module"}
}

func TestProgramIsLight(t *testing.T) {
	for _, p := range load(t) {
		if !p.tool() {
			for _, imported := range p.Imports {
				if slices.Contains(heavy(), imported) {
					t.Errorf("%s imports %s", p.short(), imported)
				}
				if imported == "C" || len(p.CgoFiles) > 0 {
					t.Errorf("%s uses cgo", p.short())
				}
			}
		}
		if p.short() != "cmd/tongs" {
			continue
		}
		for _, dep := range heavy() {
			if slices.Contains(p.Deps, dep) && pays()[dep] == "" {
				t.Errorf("the program depends on %s", dep)
			}
		}
		for dep := range pays() {
			if !slices.Contains(p.Deps, dep) {
				t.Errorf("the program no longer depends on %s: strike it from pays", dep)
			}
		}
	}
}

func TestPackageNames(t *testing.T) {
	for _, p := range load(t) {
		name := filepath.Base(p.Dir)
		if slices.Contains([]string{"utils", "util", "common", "helpers", "types", "system", "misc", "linux"}, name) {
			t.Errorf("%s says nothing as a name", p.short())
		}
		if len(p.files) == 0 || p.Name == "main" {
			continue
		}
		documented := false
		for _, f := range p.files {
			documented = documented || f.Doc != nil && strings.HasPrefix(f.Doc.Text(), "Package ")
		}
		if !documented {
			t.Errorf("%s has no package documentation", p.short())
		}
	}
}
