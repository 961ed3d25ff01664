package hook

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func shell(script string) *specs.Hook {
	return &specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"}}
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	leaked, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer leaked.Close()
	if _, err := unix.FcntlInt(leaked.Fd(), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
	data, err := State(&specs.State{Version: "1.3.0", ID: "x", Status: specs.StateCreating, Pid: 5, Bundle: "/b"})
	if err != nil {
		t.Fatal(err)
	}
	err = Run("hooks.prestart[0]", shell("cat > in; env > env; ls /proc/self/fd > fds; cut -d' ' -f5 /proc/$$/stat > group; echo $$ >> group; (echo x >&0) 2>/dev/null && exit 1; exit 0"), dir, data)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"in":  `{"ociVersion":"1.3.0","id":"x","status":"creating","pid":5,"bundle":"/b"}`,
		"env": "PATH=/usr/bin:/bin\nPWD=" + dir + "\n",
		"fds": "0\n1\n2\n3\n",
	} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %q, want %q (%v)", name, got, want, err)
		}
	}
	got, err := os.ReadFile(filepath.Join(dir, "group"))
	if f := strings.Fields(string(got)); err != nil || len(f) != 2 || f[0] != f[1] {
		t.Errorf("process group and number: %q, %v", got, err)
	}
}

func TestRunFails(t *testing.T) {
	limit, huge := 3, int(^uint(0)>>1)
	late := shell("trap '' TERM; echo waits; sleep 1000 & sleep 1000")
	late.Timeout = &limit
	patient := shell("exit 7")
	patient.Timeout = &huge
	for name, c := range map[string]struct {
		hook *specs.Hook
		want string
	}{
		"status":        {shell("exit 3"), "f: cannot complete /bin/sh: it exited with status 3"},
		"output":        {shell("echo a; echo b >&2; exit 1"), "f: cannot complete /bin/sh: it exited with status 1; its output: \"a\\nb\\n\""},
		"signal":        {shell("kill -SEGV $$"), "f: cannot complete /bin/sh: it was killed by SIGSEGV"},
		"late":          {late, "f: cannot complete /bin/sh: it was killed: it took longer than 3 s; its output: \"waits\\n\""},
		"huge timeout":  {patient, "f: cannot complete /bin/sh: it exited with status 7"},
		"missing":       {&specs.Hook{Path: "/no/hook"}, "f: cannot execute /no/hook: no such file or directory"},
		"no program":    {&specs.Hook{Path: "/etc/passwd"}, "f: cannot execute /etc/passwd: permission denied"},
		"one left over": {shell("sleep 20 & exit 1"), "f: cannot complete /bin/sh: it exited with status 1"},
	} {
		begin := time.Now()
		if err := Run("f", c.hook, "/", nil); err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
	}
	err := Run("f", shell("i=0; while [ $i -lt 30000 ]; do echo 0123456789; i=$((i+1)); done; echo last; exit 1"), "/", nil)
	if err == nil || !strings.Contains(err.Error(), "; the end of its output: ") || !strings.HasSuffix(err.Error(), `0123456789\nlast\n"`) || len(err.Error()) > 6000 {
		t.Errorf("much output: got %.200v", err)
	}
	if err := Run("f", shell("i=0; while [ $i -lt 30000 ]; do echo 0123456789; i=$((i+1)); done"), "/", nil); err != nil {
		t.Errorf("much output and no failure: %v", err)
	}
}

// watched is a Watcher of a process that writes reports.
func watched(t *testing.T, script string) *Watcher {
	t.Helper()
	var fds [2][2]int
	for i := range fds {
		if err := unix.Pipe2(fds[i][:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fds[i][0]); unix.Close(fds[i][1]) })
	}
	p, err := start(shell(script), "/", fds[0][1], fds[1][1]) // reports on 0, output on 1
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Kill(-p.pid, unix.SIGKILL); p.reap(); unix.Close(p.fd) })
	return &Watcher{Report: fds[0][0], Output: fds[1][0], PidFD: p.fd}
}

func TestWatch(t *testing.T) {
	second := 1
	two := []specs.Hook{{Path: "/a"}, {Path: "/b", Timeout: &second}}
	for name, c := range map[string]struct{ script, want string }{
		"both well":       {`printf '\0\0\0\0\0\0\0\0' >&0; sleep 1000`, ""},
		"both, and ended": {`printf '\0\0\0\0\0\0\0\0' >&0`, ""},
		"first fails":     {`echo x; printf '\0\5\0\0' >&0; sleep 1000`, `l[0]: cannot complete /a: it exited with status 5; its output: "x\n"`},
		"second fails":    {`printf '\0\0\0\0' >&0; printf '\11\0\0\0' >&0`, "l[1]: cannot complete /b: it was killed by SIGKILL"},
		"second is late":  {`echo x; printf '\0\0\0\0' >&0`, `l[1]: cannot complete /b: it took longer than 1 s, or the container was killed; its output: "x\n"`},
		"nothing":         {`exit`, "l[0]: cannot complete /a: it did not end before the container's process"},
	} {
		err := watched(t, c.script).Watch("l", two, 0)
		if got := ""; err != nil && err.Error() != c.want || err == nil && c.want != got {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}
