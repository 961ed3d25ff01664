package badinput

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

func mkfifo(path string) error { return unix.Mkfifo(path, 0o644) }

func TestIDs(t *testing.T) {
	h := linuxtest.One(t)
	bundle := h.Bundle(linuxtest.Args("/bin/true"))
	for _, id := range []string{"..", ".", "/", "a/b", "../a", "", strings.Repeat("a", 1025), "a\nb", "a b", "ä", "a\x01", "a\xff", "-a", "a:b", "*"} {
		for _, command := range []string{"create --bundle B --", "run --bundle B --", "start --", "state --", "kill --", "delete --", "delete --force --",
			"pause --", "resume --", "ps --", "events --stats --", "update --pids-limit 5 --", "checkpoint --", "restore --bundle B --"} {
			args := append([]string{"--log-format", "json"}, strings.Fields(command)...)
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], "B", bundle)
			}
			r := h.Run(append(args, id)...)
			text := "invalid container ID format"
			if id == "" {
				text = "container id cannot be empty"
			}
			if id == "-a" { // strange, and allowed
				continue
			}
			checkError(t, command+" "+id, r, text)
		}
	}
	entries, err := os.ReadDir(h.Root())
	if err == nil && len(entries) > 0 {
		t.Errorf("the root has %v", entries)
	}
}

// The longest name that a file system takes works; one that is longer is told
// of.
func TestLongID(t *testing.T) {
	h := linuxtest.One(t)
	bundle := h.Bundle(linuxtest.Args("/bin/true"))
	fits := h.ID(strings.Repeat("x", 255-len(h.ID(""))))
	h.Must("run", "--bundle", bundle, fits)
	r := h.Run("--log-format", "json", "run", "--bundle", bundle, fits+"x")
	checkError(t, "256 characters", r, "name too long")
}

func TestBundle(t *testing.T) {
	h := linuxtest.One(t)
	refuses(t, h, "missing bundle", filepath.Join(h.Dir, "nowhere"), "nowhere")
	file := filepath.Join(h.Dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	refuses(t, h, "file as bundle", file, file)
}

func TestRoot(t *testing.T) {
	h := linuxtest.One(t)
	root := func(path string) linuxtest.Edit { return func(s *specs.Spec) { s.Root.Path = path } }
	refuses(t, h, "no root path", h.Bundle(root("")), "root.path")
	refuses(t, h, "missing root", h.Bundle(root("nowhere")), "root.path", "no such file or directory")
	refuses(t, h, "file as root", h.Bundle(root("config.json")), "root.path", "not a directory")
	refuses(t, h, "no root", h.Bundle(func(s *specs.Spec) { s.Root = nil }), "root")
}

// A symlink as root.path is an error with runc 1.1, which wants the path without
// any; and so here.
func TestRootIsSymlink(t *testing.T) {
	h := linuxtest.One(t)
	bundle := h.Bundle(linuxtest.Args("/bin/true"))
	if err := os.Rename(bundle+"/rootfs", bundle+"/real"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", bundle+"/rootfs"); err != nil {
		t.Fatal(err)
	}
	want := h.With("runc").Run("run", "--bundle", bundle, h.ID("runc"))
	r := h.Run("run", "--bundle", bundle, h.ID("a"))
	if r.Status != want.Status {
		t.Errorf("status %d, stderr %q; runc: status %d, stderr %q", r.Status, r.Stderr, want.Status, want.Stderr)
	}
	refuses(t, h, "symlink as root", bundle, "root.path", "is a symbolic link")
}

func TestProgram(t *testing.T) {
	h := linuxtest.One(t)
	script := func(s *specs.Spec) { s.Root.Readonly = false }
	for _, c := range []struct {
		name  string
		args  []string
		texts []string
	}{
		{"no arguments", nil, []string{"process.args"}},
		{"empty name", []string{""}, []string{"process.args"}},
		{"not in PATH", []string{"nothing"}, []string{"process.args[0]", `"nothing": executable file not found in $PATH`}},
		{"missing", []string{"/bin/nothing"}, []string{"process.args[0]", "/bin/nothing", "no such file or directory"}},
		{"missing, relative", []string{"./nothing"}, []string{"process.args[0]", "./nothing", "no such file or directory"}},
		{"directory", []string{"/bin"}, []string{"process.args[0]", `"/bin"`}},
		{"not executable", []string{"/etc/passwd"}, []string{"process.args[0]", "/etc/passwd", "permission denied"}},
		{"below a file", []string{"/etc/passwd/x"}, []string{"process.args[0]", "not a directory"}},
		{"no format", []string{"/bin/noformat"}, []string{"exec format error"}},
		{"missing interpreter", []string{"/bin/nointerpreter"}, []string{"no such file or directory"}},
	} {
		bundle := h.Bundle(linuxtest.Args(c.args...), script)
		for name, content := range map[string]string{"noformat": "x", "nointerpreter": "#!/nothing\n"} {
			if err := os.WriteFile(filepath.Join(bundle, "rootfs/bin", name), []byte(content), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if c.name != "no format" && c.name != "missing interpreter" {
			refuses(t, h, c.name, bundle, c.texts...)
			continue
		}
		// Only execve knows: create works, and run tells.
		checkError(t, c.name, h.Run("--log-format", "json", "run", "--bundle", bundle, h.ID("a")), c.texts...)
	}
	if r := h.Run("run", "--bundle", h.Bundle(linuxtest.Args("true")), h.ID("a")); r.Status != 0 {
		t.Errorf("a program in PATH: %+v", r)
	}
}

func TestCwd(t *testing.T) {
	h := linuxtest.One(t)
	cwd := func(path string) linuxtest.Edit { return func(s *specs.Spec) { s.Process.Cwd = path } }
	refuses(t, h, "file", h.Bundle(cwd("/etc/passwd"), linuxtest.Args("/bin/true")), "process.cwd", "not a directory")
	refuses(t, h, "below a file", h.Bundle(cwd("/etc/passwd/x"), linuxtest.Args("/bin/true")), "process.cwd", "not a directory")
}

func TestManyCreatesOfOneID(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		bundle := h.Bundle(linuxtest.Args("/bin/sleep", "1000"))
		const n = 20
		var wg sync.WaitGroup
		results := make([]*linuxtest.Result, n)
		for i := range n {
			h.Go(&wg, func() { results[i] = h.Run("create", "--bundle", bundle, h.ID("a")) })
		}
		wg.Wait()
		won := 0
		for _, r := range results {
			switch {
			case r.Status == 0:
				won++
			case r.Status != 1 || !strings.Contains(r.Stderr, "container with given ID already exists"):
				t.Errorf("a loser says: status %d, %q", r.Status, r.Stderr)
			}
		}
		if won != 1 {
			t.Errorf("%d creates have won, want 1", won)
		}
		h.Must("start", h.ID("a"))
		h.Must("delete", "--force", h.ID("a"))
	})
}

func TestSockets(t *testing.T) {
	h := linuxtest.One(t)
	terminal := h.Bundle(linuxtest.Terminal, linuxtest.Args("/bin/true"))
	plain := h.Bundle(linuxtest.Args("/bin/true"))
	deaf := filepath.Join(h.Dir, "deaf") // bound, and nobody listens
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: deaf})
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	none := filepath.Join(h.Dir, "none")
	for _, c := range []struct {
		args  []string
		texts []string
	}{
		{[]string{"create", "--bundle", terminal}, []string{"cannot allocate tty if tongs will detach without setting console socket"}},
		{[]string{"run", "-d", "--bundle", terminal}, []string{"cannot allocate tty if tongs will detach without setting console socket"}},
		{[]string{"create", "--console-socket", none, "--bundle", plain}, []string{"cannot use console socket if tongs will not detach or allocate tty"}},
		{[]string{"run", "--console-socket", none, "--bundle", terminal}, []string{"cannot use console socket if tongs will not detach or allocate tty"}},
		{[]string{"create", "--console-socket", none, "--bundle", terminal}, []string{"--console-socket", none, "no such file or directory"}},
		{[]string{"create", "--console-socket", deaf, "--bundle", terminal}, []string{"--console-socket", deaf, "connection refused"}},
		{[]string{"run", "-d", "--console-socket", deaf, "--bundle", terminal}, []string{"--console-socket", deaf, "connection refused"}},
		{[]string{"create", "--console-socket", h.Dir, "--bundle", terminal}, []string{"--console-socket", h.Dir}},
		{[]string{"create", "--pidfd-socket", none, "--bundle", plain}, []string{"--pidfd-socket", none, "no such file or directory"}},
		{[]string{"run", "--pidfd-socket", deaf, "--bundle", plain}, []string{"--pidfd-socket", deaf, "connection refused"}},
		// Standard input is not a terminal.
		{[]string{"run", "--bundle", terminal}, []string{"terminal"}},
	} {
		args := append([]string{"--log-format", "json"}, c.args...)
		checkError(t, strings.Join(c.args, " "), h.Exec(linuxtest.Command{Args: append(args, h.ID("a")), Session: c.args[0] == "x"}), c.texts...)
		h.CheckClean()
	}
}

func TestPreserveFDs(t *testing.T) {
	h := linuxtest.One(t)
	bundle := h.Bundle(linuxtest.Args("/bin/true"))
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, n := range []string{"2", "3", "1000000", "2147483647"} {
		r := h.Exec(linuxtest.Command{Args: []string{"--log-format", "json", "run", "--preserve-fds", n, "--bundle", bundle, h.ID("a")}, Files: []*os.File{f}})
		checkError(t, "--preserve-fds "+n, r, "please check that the preserved-fd", "is present")
	}
	for _, n := range []string{"-1", "x", "99999999999999999999"} {
		r := h.Run("--log-format", "json", "run", "--preserve-fds", n, "--bundle", bundle, h.ID("a"))
		checkError(t, "--preserve-fds "+n, r, "preserve-fds")
	}
}

func TestPidFile(t *testing.T) {
	h := linuxtest.One(t)
	bundle := h.Bundle(linuxtest.Args("/bin/sleep", "1000"))
	left := filepath.Join(h.Dir, ".left")
	if err := os.WriteFile(left, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(h.Dir, "nowhere", "pid"), "/proc/pid", h.Dir + "/left", bundle} {
		for _, command := range []string{"create", "run"} {
			r := h.Run("--log-format", "json", command, "--pid-file", path, "--bundle", bundle, h.ID("a"))
			checkError(t, command+" --pid-file "+path, r, "pid-file")
			h.CheckClean()
		}
	}
}

func TestStateRoot(t *testing.T) {
	h := linuxtest.One(t)
	bundle := h.Bundle(linuxtest.Args("/bin/true"))
	file := filepath.Join(h.Dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(h.Dir, "open")
	if err := os.Mkdir(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{"/", file, open, "/proc/nowhere"} {
		r := h.Exec(linuxtest.Command{Args: []string{"--log-format", "json", "--root", root, "run", "--bundle", bundle, h.ID("a")}, Bare: true})
		checkError(t, "--root "+root, r, "--root")
	}
}

func TestFlags(t *testing.T) {
	h := linuxtest.One(t)
	for _, c := range []struct {
		args []string
		text string
	}{
		{[]string{"--nonsense", "list"}, "nonsense"},
		{[]string{"list", "--nonsense"}, "nonsense"},
		{[]string{"run", "--nonsense", "a"}, "nonsense"},
		{[]string{"create", "-x", "a"}, "-x"},
		{[]string{"create"}, `"create" requires exactly 1 argument(s)`},
		{[]string{"create", "a", "b"}, `"create" requires exactly 1 argument(s)`},
		{[]string{"run"}, `"run" requires exactly 1 argument(s)`},
		{[]string{"start"}, `"start" requires`},
		{[]string{"state"}, `"state" requires exactly 1 argument(s)`},
		{[]string{"kill"}, `"kill" requires a minimum of 1 argument(s)`},
		{[]string{"kill", "a", "9", "b"}, `"kill" requires a maximum of 2 argument(s)`},
		{[]string{"delete"}, `"delete" requires`},
		{[]string{"list", "a"}, `"list" requires exactly 0 argument(s)`},
		{[]string{"--log", "/nowhere/log", "list"}, "--log"},
		{[]string{"--rootless", "maybe", "list"}, "--rootless"},
		{[]string{"create", "--bundle"}, "bundle"},
		{[]string{"nonsense"}, `unknown command "nonsense"`},
	} {
		r := h.Run(c.args...)
		status := 1
		if c.args[0] == "nonsense" {
			status = 3
		}
		if r.Status != status || r.Stdout != "" || !strings.Contains(strings.ReplaceAll(r.Stderr, `\"`, `"`), c.text) || strings.Count(r.Stderr, "\n") != 1 {
			t.Errorf("%q: status %d, want %d; stdout %q; stderr %q, want %q in one line", c.args, r.Status, status, r.Stdout, r.Stderr, c.text)
		}
	}
}
