package tree_test

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// callers lists the packages that make system calls themselves, each with the
// reason. All others queue them for a kernel.
func callers() map[string]string {
	return map[string]string{
		"kernel/stub":      "starts and feeds the stub",
		"kernel/host":      "executes on the host",
		"kernel/stub/code": "the stub's image",
		"probe":            "asks the kernel what it has",
		"cgroup":           "host subsystem: cgroup files and device programs",
		"console":          "host subsystem: the terminal's master",
		"socket":           "host subsystem: who waits for a descriptor",
		"listener":         "host subsystem: the listener of a seccomp filter",
		"state":            "host subsystem: the state directory, locks, processes",
		"container":        "host subsystem: waits for and signals processes",
		"signals":          "catches signals without the Go runtime's threads",
		"cli":              "descriptors that the caller passed",
		"bundle":           "opens config.json without blocking",
		"hook":             "host subsystem: executes hooks",
		"notify":           "host subsystem: the service manager's socket",
		"resctrl":          "host subsystem: the resctrl file system",
		"netdev":           "host subsystem: netlink",
		"lsm":              "host subsystem: labels",
		"criu":             "host subsystem: the checkpointer's socket",
	}
}

// pure lists the functions of x/sys/unix that call nothing.
func pure() []string {
	return []string{"Mkdev", "Major", "Minor", "ErrnoName", "SignalName", "Errno", "Signal", "ByteSliceToString", "UnixRights", "CmsgSpace", "CmsgLen",
		"ParseSocketControlMessage", "ParseUnixRights", "WaitStatus"}
}

// imported returns the names that a file's imports have, by path.
func imported(f *ast.File) map[string]string {
	m := map[string]string{}
	for _, i := range f.Imports {
		p := strings.Trim(i.Path.Value, `"`)
		m[p] = filepath.Base(p)
		if i.Name != nil {
			m[p] = i.Name.Name
		}
	}
	return m
}

// selectors visits each use of name from the package that a file imports as
// pkgName; called says that it is called or a conversion.
func selectors(f *ast.File, pkgName string, visit func(s *ast.SelectorExpr, called bool)) {
	calls := map[ast.Expr]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok {
			calls[c.Fun] = true
		}
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == pkgName && x.Obj == nil {
				visit(s, calls[s])
			}
		}
		return true
	})
}

func TestOnlyKernelsCall(t *testing.T) {
	used := map[string]bool{}
	for _, p := range load(t) {
		if p.tool() {
			continue
		}
		used[p.short()] = true
		for name, f := range p.files {
			names := imported(f)
			if callers()[p.short()] == "" {
				if unix := names["golang.org/x/sys/unix"]; unix != "" {
					selectors(f, unix, func(s *ast.SelectorExpr, called bool) {
						if called && !slices.Contains(pure(), s.Sel.Name) {
							t.Errorf("%s/%s: calls unix.%s: queue it for a kernel", p.short(), name, s.Sel.Name)
						}
					})
				}
			}
			if p.short() != "setup" && p.short() != "rootfs" && p.short() != "kernel" {
				continue
			}
			for _, forbidden := range []string{"os", "syscall", "io/fs", "path/filepath", "time"} {
				if names[forbidden] != "" {
					t.Errorf("%s/%s: imports %s: what it decides on comes from a kernel", p.short(), name, forbidden)
				}
			}
		}
	}
	for _, must := range []string{"setup", "rootfs", "kernel", "cli"} {
		if !used[must] {
			t.Errorf("the package %s was not found", must)
		}
	}
}

// printers lists who else may use standard output, each with the reason.
func printers() map[string]string {
	return map[string]string{"console": "a foreground container's terminal is copied there"}
}

// Only the commands write to standard output; what others print gets lost in
// a caller's parser.
func TestOnlyCommandsPrint(t *testing.T) {
	for _, p := range load(t) {
		if p.tool() || p.short() == "cli" || strings.HasPrefix(p.short(), "cmd/") || printers()[p.short()] != "" {
			continue
		}
		for name, f := range p.files {
			names := imported(f)
			if names["os"] != "" {
				selectors(f, names["os"], func(s *ast.SelectorExpr, _ bool) {
					if s.Sel.Name == "Stdout" {
						t.Errorf("%s/%s: uses os.Stdout", p.short(), name)
					}
				})
			}
			if names["fmt"] != "" {
				selectors(f, names["fmt"], func(s *ast.SelectorExpr, _ bool) {
					if strings.HasPrefix(s.Sel.Name, "Print") {
						t.Errorf("%s/%s: calls fmt.%s", p.short(), name, s.Sel.Name)
					}
				})
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if c, ok := n.(*ast.CallExpr); ok {
					if id, ok := c.Fun.(*ast.Ident); ok && (id.Name == "print" || id.Name == "println") && id.Obj == nil {
						t.Errorf("%s/%s: calls %s", p.short(), name, id.Name)
					}
				}
				return true
			})
		}
	}
}

// Untrusted JSON meets the parsers of bundle and state only.
func TestOnlyBundleAndStateDecode(t *testing.T) {
	for _, p := range load(t) {
		if p.tool() || p.short() == "bundle" || p.short() == "state" {
			continue
		}
		for name, f := range p.files {
			if json := imported(f)["encoding/json"]; json != "" {
				selectors(f, json, func(s *ast.SelectorExpr, _ bool) {
					if s.Sel.Name == "Unmarshal" || s.Sel.Name == "NewDecoder" || s.Sel.Name == "Decoder" {
						t.Errorf("%s/%s: uses json.%s", p.short(), name, s.Sel.Name)
					}
				})
			}
		}
	}
}

func generated(f *ast.File) bool { return ast.IsGenerated(f) }

// tables lists functions and files that are long because they are flat.
func tables() map[string]string {
	return map[string]string{
		"kernel format": "one case a system call",
	}
}

func TestLengths(t *testing.T) {
	const maxFunction, maxFile = 80, 400
	long := map[string]bool{}
	for _, p := range load(t) {
		for name, f := range p.files {
			if generated(f) {
				continue
			}
			if n := p.lines[name]; n > maxFile {
				long[p.short()+" "+name] = true
				if tables()[p.short()+" "+name] == "" {
					t.Errorf("%s/%s: %d lines, at most %d", p.short(), name, n, maxFile)
				}
			}
			for _, d := range f.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || fn.Body == nil {
					continue
				}
				n := p.fset.Position(fn.End()).Line - p.fset.Position(fn.Pos()).Line + 1
				if n <= maxFunction {
					continue
				}
				long[p.short()+" "+fn.Name.Name] = true
				if tables()[p.short()+" "+fn.Name.Name] == "" {
					t.Errorf("%s/%s: %s has %d lines, at most %d", p.short(), name, fn.Name.Name, n, maxFunction)
				}
			}
		}
	}
	for name := range tables() {
		if !long[name] {
			t.Errorf("%s is no longer too long: strike it from tables", name)
		}
	}
}

// variables lists package-level variables that are not errors, each with
// the reason. "main version" and the like are set by the linker.
func variables() map[string]string {
	return map[string]string{
		"cmd/tongs version": "set by the linker",
		"cmd/tongs commit":  "set by the linker",
		"signals pipe":      "a signal handler has no arguments of ours",
		"kernel cwd":        "a constant, of which there are no structs",
	}
}

func TestNoState(t *testing.T) {
	for _, p := range load(t) {
		if p.tool() {
			continue
		}
		for name, f := range p.files {
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s/%s: has an init function", p.short(), name)
				}
				g, ok := d.(*ast.GenDecl)
				if !ok || g.Tok != token.VAR {
					continue
				}
				for _, s := range g.Specs {
					v := s.(*ast.ValueSpec)
					for i, id := range v.Names {
						if id.Name != "_" && variables()[p.short()+" "+id.Name] == "" && !isError(v, i) {
							t.Errorf("%s/%s: the variable %s lives as long as the program", p.short(), name, id.Name)
						}
					}
				}
			}
		}
	}
}

// isError reports whether a variable is an error that callers decide by.
func isError(v *ast.ValueSpec, i int) bool {
	if i >= len(v.Values) || !strings.HasPrefix(strings.ToLower(v.Names[i].Name), "err") {
		return false
	}
	c, ok := v.Values[i].(*ast.CallExpr)
	if !ok {
		return false
	}
	s, ok := c.Fun.(*ast.SelectorExpr)
	return ok && s.Sel.Name == "New"
}

func TestUnsafeFiles(t *testing.T) {
	for _, p := range load(t) {
		for name, f := range p.files {
			if imported(f)["unsafe"] != "" && !strings.HasSuffix(name, "_unsafe.go") {
				t.Errorf("%s/%s: imports unsafe, which files ending in _unsafe.go may", p.short(), name)
			}
		}
	}
}

func TestTodosHaveIssues(t *testing.T) {
	todo, good := regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`), regexp.MustCompile(`\bTODO\(#\d+\)`)
	for _, p := range load(t) {
		for name, f := range p.files {
			for _, group := range f.Comments {
				for _, c := range group.List {
					for line := range strings.Lines(c.Text) {
						if todo.MatchString(line) && !good.MatchString(line) {
							t.Errorf("%s/%s: %q: write TODO(#issue)", p.short(), name, strings.TrimSpace(line))
						}
					}
				}
			}
		}
	}
}

func TestFormatted(t *testing.T) {
	for _, p := range load(t) {
		for _, name := range slices.Concat(p.GoFiles, p.CgoFiles, p.TestGoFiles, p.XTestGoFiles, p.IgnoredGoFiles) {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			good, err := format.Source(text)
			if err != nil {
				t.Errorf("%s/%s: %v", p.short(), name, err)
			} else if !bytes.Equal(good, text) {
				t.Errorf("%s/%s: not formatted by gofmt", p.short(), name)
			}
		}
	}
}
