package lifecycle

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
	"tongs/test/inside/report"
)

// running starts a container that stays, and gives its name.
func running(t *testing.T, h *linuxtest.Host, edits ...linuxtest.Edit) string {
	t.Helper()
	id := h.ID("a")
	h.Must("run", "--detach", "--bundle", h.Bundle(append([]linuxtest.Edit{linuxtest.Args("/bin/sleep", "1000")}, edits...)...), id)
	t.Cleanup(func() { h.Must("delete", "--force", id) })
	return id
}

func userNamespace(s *specs.Spec) {
	linuxtest.Namespace(specs.UserNamespace, "")(s)
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	s.Linux.GIDMappings = s.Linux.UIDMappings
}

// Whatever namespaces a container has, a further process is in all of them, in
// its cgroup, with the same rights, and has nothing open but its streams.
func TestExecJoins(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		for name, edits := range map[string][]linuxtest.Edit{
			"default":          {},
			"user namespace":   {userNamespace},
			"time namespace":   {linuxtest.Namespace(specs.TimeNamespace, "")},
			"cgroup namespace": {linuxtest.Namespace(specs.CgroupNamespace, "")},
			"host's processes": {linuxtest.WithoutNamespace(specs.PIDNamespace)},
			"host's network":   {linuxtest.WithoutNamespace(specs.NetworkNamespace)},
			"seccomp": {func(s *specs.Spec) {
				s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mknod", "mknodat"}, Action: specs.ActErrno}}}
			}},
			"no new privileges":  {func(s *specs.Spec) { s.Process.NoNewPrivileges = true }},
			"user, group, limit": {func(s *specs.Spec) { s.Process.User = specs.User{UID: 1000, GID: 7, AdditionalGids: []uint32{8, 9}} }},
		} {
			h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
				id := running(t, h, edits...)
				want := h.Look(h.Must("run", "--bundle", h.Bundle(append([]linuxtest.Edit{linuxtest.Inside()}, edits...)...), h.ID("b")).Stdout)
				got := h.Look(h.Must("exec", id, "/bin/inside").Stdout)
				st, _ := h.State(id)
				for ns := range got.Namespaces {
					path := fmt.Sprintf("/proc/%d/ns/%s", st.PID, ns)
					if link, err := os.Readlink(path); err != nil || link != got.Namespaces[ns] {
						t.Errorf("namespace %s: %s, the container's is %s %v", ns, got.Namespaces[ns], link, err)
					}
				}
				same(t, "uids", got.UIDs, want.UIDs)
				same(t, "gids", got.GIDs, want.GIDs)
				same(t, "groups", got.Groups, want.Groups)
				same(t, "capabilities", got.Capabilities, want.Capabilities)
				same(t, "limits", got.Limits, want.Limits)
				same(t, "environment", got.Env, want.Env)
				same(t, "descriptors", len(got.Descriptors), len(want.Descriptors))
				same(t, "seccomp, privileges", got.Seccomp+got.NoNewPrivs, want.Seccomp+want.NoNewPrivs)
				same(t, "keyring", got.Keyring, "_ses."+id)
				same(t, "mounts", len(got.Mounts), len(want.Mounts))
				same(t, "affinity", got.Affinity, want.Affinity)
				same(t, "session", got.Session, got.PID)
				inits := h.Must("exec", id, "cat", "/proc/1/cgroup")
				if name != "host's processes" {
					same(t, "cgroup", strings.Join(got.Cgroup, "\n"), strings.TrimSpace(inits.Stdout))
				}
			})
		}
	})
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s: got %s, want %s", what, g, w)
	}
}

// What the command line says, as Debian's runc does it.
func TestExecFlags(t *testing.T) {
	h := linuxtest.One(t)
	runc := h.With("runc")
	process := func(f func(*specs.Process)) string {
		p := linuxtest.Spec(linuxtest.Args("/bin/inside")).Process
		f(p)
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(h.Dir, fmt.Sprintf("process-%d.json", time.Now().UnixNano()))
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	umask := uint32(0o37)
	id := running(t, h)
	r := h.Look(h.Must("exec", "--process", process(func(p *specs.Process) { p.User.Umask = &umask }), id).Stdout)
	same(t, "umask", r.Umask, "0037") // 1.1 ignores it
	for _, c := range []struct {
		name string
		args []string
	}{
		{"plain", []string{"ID", "/bin/inside"}},
		{"by PATH", []string{"ID", "inside"}},
		{"user", []string{"--user", "1000", "ID", "/bin/inside"}},
		{"user and group", []string{"-u", "1000:1001", "ID", "/bin/inside"}},
		{"groups", []string{"--additional-gids", "5", "--additional-gids", "6", "ID", "/bin/inside"}},
		{"directory", []string{"--cwd", "/dev/shm", "ID", "/bin/inside"}},
		{"environment", []string{"-e", "A=b", "-e", "C=", "ID", "inside"}},
		{"capabilities", []string{"--cap", "CAP_NET_ADMIN", "--cap", "CAP_CHOWN", "ID", "/bin/inside"}},
		{"no new privileges", []string{"--no-new-privs", "ID", "/bin/inside"}},
		{"process", []string{"--process", process(func(p *specs.Process) {
			p.User = specs.User{UID: 3, GID: 4, AdditionalGids: []uint32{5}}
			p.Cwd, p.Env = "/tmp", []string{"X=y"}
			p.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL"}, Inheritable: []string{"CAP_KILL"}, Permitted: []string{"CAP_KILL"}, Ambient: []string{"CAP_KILL"}}
			p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 1, Hard: 2}}
		}), "ID"}},
		{"process that may gain privileges", []string{"-p", process(func(p *specs.Process) { p.NoNewPrivileges = false }), "ID"}},
		{"nothing but the program", []string{"-p", process(func(p *specs.Process) {
			*p = specs.Process{Args: p.Args, Cwd: "/", Env: []string{"PATH=/bin"}}
		}), "ID"}},
		{"unknown capability", []string{"--cap", "CAP_FROM_THE_FUTURE", "ID", "/bin/inside"}},
		{"process without capabilities", []string{"-p", process(func(p *specs.Process) { p.Capabilities, p.Rlimits = nil, nil }), "ID"}},
	} {
		h.Sub(t, c.name, func(t *testing.T, h *linuxtest.Host) {
			var reports [2]*report.Report
			for i, who := range []*linuxtest.Host{h, runc} {
				id := h.ID(fmt.Sprint("x", i))
				who.Must("run", "--detach", "--bundle", h.Bundle(linuxtest.Args("/bin/sleep", "1000")), id)
				args := []string{"exec"}
				for _, a := range c.args {
					args = append(args, strings.Replace(a, "ID", id, 1))
				}
				r := who.Must(args...)
				reports[i] = h.Look(r.Stdout)
				if warned := strings.Contains(r.Stderr, "CAP_FROM_THE_FUTURE"); warned != (c.name == "unknown capability") {
					t.Errorf("%s: warned of a capability: %v: %s", id, warned, r.Stderr)
				}
				who.Must("delete", "--force", id)
			}
			got, want := reports[0], reports[1]
			same(t, "arguments", got.Args, want.Args)
			same(t, "environment", got.Env, want.Env)
			same(t, "uids", got.UIDs, want.UIDs)
			same(t, "gids", got.GIDs, want.GIDs)
			same(t, "groups", got.Groups, want.Groups)
			same(t, "directory", got.Cwd, want.Cwd)
			same(t, "capabilities", got.Capabilities, want.Capabilities)
			same(t, "limits", got.Limits, want.Limits)
			same(t, "umask", got.Umask, want.Umask)
			same(t, "no new privileges", got.NoNewPrivs, want.NoNewPrivs)
			same(t, "descriptors", len(got.Descriptors), len(want.Descriptors))
		})
	}
}

func TestExecStatus(t *testing.T) {
	h := linuxtest.One(t)
	id := running(t, h)
	for _, c := range []struct {
		status int
		stderr string
		args   []string
	}{
		{0, "", []string{id, "true"}},
		{42, "", []string{id, "sh", "-c", "exit 42"}},
		{255, "", []string{id, "sh", "-c", "exit 255"}},
		{137, "", []string{id, "sh", "-c", "kill -9 $$"}},
		{255, "no such file or directory", []string{id, "/nowhere"}},
		{255, "executable file not found in $PATH", []string{id, "nowhere"}},
		{255, "permission denied", []string{id, "/etc/passwd"}},
		{255, "is a directory", []string{id, "/etc"}},
		{255, "process.cwd", []string{"--cwd", "/nowhere", id, "true"}},
		{255, "process.cwd", []string{"--cwd", "/etc/passwd", id, "true"}},
		{255, "process.cwd", []string{"--cwd", "/proc/self/fd/3", id, "true"}},
		{255, "process.cwd", []string{"--cwd", "relative", id, "true"}},
		{255, "--user", []string{"--user", "root", id, "true"}},
		{255, "--user", []string{"--user", "4294967296", id, "true"}},
		{255, "process.user.uid", []string{"--user", "4294967295", id, "true"}},
		{255, "--cgroup", []string{"--cgroup", "../x", id, "true"}},
		{255, "nowhere", []string{"--cgroup", "nowhere", id, "true"}},
		{255, "--process", []string{"--process", "/nowhere", id}},
		{255, "process: expected an object", []string{"--process", "/etc/passwd", id}},
		{255, "--process: more than 1048576 bytes", []string{"--process", "/dev/zero", id}},
		{255, "--process: ", []string{"--process", "/etc", id}},
		{255, "console socket", []string{"--detach", "--tty", id, "true"}},
		{255, "--console-socket", []string{"--detach", "--tty", "--console-socket", "/nowhere", id, "true"}},
		{255, "--pid-file", []string{"--pid-file", "/nowhere/x", id, "true"}},
		{255, "--preserve-fds", []string{"--preserve-fds", "2", id, "true"}},
		{255, "process args cannot be empty", []string{id}},
	} {
		r := h.Run(append([]string{"exec"}, c.args...)...)
		if r.Status != c.status || !strings.Contains(r.Stderr, c.stderr) || (r.Stderr == "") != (c.stderr == "") {
			t.Errorf("exec %q: status %d, want %d; stderr %q, want %q", c.args, r.Status, c.status, r.Stderr, c.stderr)
		}
	}
	if r := h.Must("exec", id, "ps"); strings.Count(r.Stdout, "\n") != 3 {
		t.Errorf("something was left: %s", r.Stdout)
	}
}

// A detached process has its number in the pid file and dies with the container;
// signals to an exec in the foreground reach the process.
func TestExecDetach(t *testing.T) {
	h := linuxtest.One(t)
	id := running(t, h)
	file := filepath.Join(h.Dir, "pid")
	h.Must("exec", "--detach", "--pid-file", file, id, "sleep", "1000")
	pid := readPID(t, file)
	h.Adopt(pid)
	awaitName(t, pid, "sleep")
	p := h.Start(linuxtest.Command{Args: []string{"exec", id, "sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done"}})
	if !linuxtest.Until(func() bool { return strings.Contains(p.Output(), "ready") }) {
		t.Fatal("the process did not start")
	}
	p.Signal(syscall.SIGTERM)
	if r := p.Wait(); r.Status != 9 {
		t.Errorf("status %d, want 9: %s", r.Status, r.Stderr)
	}
}

// readPID takes the number from a pid file, and the file away.
func readPID(t *testing.T, file string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(file)
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestExecTerminal(t *testing.T) {
	h := linuxtest.One(t)
	for i, edits := range [][]linuxtest.Edit{{}, {userNamespace}} {
		id := running(t, h, edits...)
		socket := h.Listen(fmt.Sprint("console", i))
		file := filepath.Join(h.Dir, "pid")
		h.Must("exec", "--detach", "--pid-file", file, "--tty", "--console-socket", socket.Path, id, "sh", "-c", "tty; read line; echo got $line; exec inside")
		h.Adopt(readPID(t, file))
		_, master := socket.Receive()
		linuxtest.ReadUntil(t, master, "/dev/pts/0\r\n")
		if _, err := master.WriteString("hello\n"); err != nil {
			t.Error(err)
		}
		out := strings.ReplaceAll(linuxtest.ReadUntil(t, master, ""), "\r\n", "\n")
		master.Close()
		_, seen, ok := strings.Cut(out, "got hello\n")
		if !ok {
			t.Fatalf("got %q", out)
		}
		r := h.Look(seen)
		same(t, "terminal", r.Terminal, "136:0")
		same(t, "session", r.Session, r.PID)
		same(t, "descriptors", len(r.Descriptors), 3)
		h.Must("delete", "--force", id)
	}
}

func TestExecPaused(t *testing.T) {
	h := linuxtest.One(t)
	id := running(t, h)
	st, _ := h.State(id)
	h.Freeze(st.PID, true)
	r := h.Run("exec", id, "true")
	if r.Status != 255 || !strings.Contains(r.Stderr, "cannot exec in a paused container") {
		t.Errorf("status %d, stderr %q", r.Status, r.Stderr)
	}
	p := h.Start(linuxtest.Command{Args: []string{"exec", "--ignore-paused", id, "sh", "-c", "exit 5"}})
	time.Sleep(200 * time.Millisecond)
	h.Freeze(st.PID, false)
	if r := p.Wait(); r.Status != 5 {
		t.Errorf("status %d, want 5: %s", r.Status, r.Stderr)
	}
}

// awaitName waits until a process executes the program of that name: it is a moment
// later than the command that was to start it ends.
func awaitName(t *testing.T, pid int, name string) {
	t.Helper()
	var comm []byte
	if !linuxtest.Until(func() bool {
		comm, _ = os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)) // what has gone has none
		return string(comm) == name+"\n"
	}) {
		t.Errorf("process %d executes %q, want %s", pid, comm, name)
	}
}
