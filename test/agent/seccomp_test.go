// Package agent tests containers whose profile has an agent: what it is told,
// what its answers do, and what happens without one.
package agent

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

func TestMain(m *testing.M) { linuxtest.Main(m) }

// asks gives calls to an agent at a socket.
func asks(path string, names ...string) linuxtest.Edit {
	return func(s *specs.Spec) {
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: path, ListenerMetadata: "some text",
			Syscalls: []specs.LinuxSyscall{{Names: names, Action: specs.ActNotify}}}
		s.Annotations = map[string]string{"org.example": "a"}
		s.Root.Readonly = false
	}
}

// byName refuses what is called no, and lets the rest pass.
func byName(path string) (unix.Errno, bool) {
	if strings.HasSuffix(path, "/no") {
		return unix.EDQUOT, false
	}
	return 0, true
}

const makeTwo = "mkdir /tmp/no; echo $?; mkdir /tmp/yes; echo $?; test -d /tmp/yes && echo made"

// An agent decides, in every way that a program begins, and is told of the
// container what runc tells.
func TestAgent(t *testing.T) {
	h := linuxtest.One(t)
	for _, program := range []string{"tongs", "runc"} {
		for _, way := range []string{"run", "create", "run detached", "exec"} {
			h.Sub(t, program+" "+way, func(t *testing.T, h *linuxtest.Host) {
				if program != "tongs" {
					h = h.With(program)
				}
				testAgent(t, h, program, way)
			})
		}
	}
}

func testAgent(t *testing.T, h *linuxtest.Host, program, way string) {
	a := serve(t, h, byName)
	id, script := h.ID(program+strings.ReplaceAll(way, " ", "")), makeTwo
	if way == "exec" {
		script = "sleep 1000"
	}
	bundle := h.Bundle(asks(a.path, "mkdir", "mkdirat"), linuxtest.Shell(script))
	var r *linuxtest.Result
	pid := 0
	switch way {
	case "run":
		r = h.Must("run", "--bundle", bundle, id)
	case "create":
		r = h.Must("create", "--bundle", bundle, id)
		st, _ := h.State(id)
		pid = st.PID
		h.Must("start", id)
		h.WaitFor(id, "stopped")
	case "run detached":
		r = h.Must("run", "--detach", "--bundle", bundle, id)
		h.WaitFor(id, "stopped")
	case "exec":
		h.Must("run", "--detach", "--bundle", bundle, id)
		st, _ := h.State(id)
		pid = st.PID
		r = h.Must("exec", id, "/bin/sh", "-c", makeTwo)
	}
	r.Reread()
	if want := "1\n0\nmade\n"; r.Stdout != want || !strings.Contains(r.Stderr, "Disk quota exceeded") && !strings.Contains(r.Stderr, "Quota exceeded") {
		t.Errorf("printed %q, want %q; %s", r.Stdout, want, r.Stderr)
	}
	states, asked := a.heard()
	if len(asked) != 2 {
		t.Errorf("the agent was asked for %v, want two calls", asked)
	}
	checkStates(t, states, way, id, bundle, pid)
	if way != "run" {
		h.Must("delete", "--force", id)
	}
}

// checkStates checks what the agent was told: of the container's first process,
// and of that of exec.
func checkStates(t *testing.T, states []specs.ContainerProcessState, way, id, bundle string, pid int) {
	t.Helper()
	if want := map[bool]int{false: 1, true: 2}[way == "exec"]; len(states) != want {
		t.Fatalf("the agent was told of %d processes, want %d", len(states), want)
	}
	for i, st := range states {
		if st.Version == "" || !slices.Equal(st.Fds, []string{"seccompFd"}) || st.Metadata != "some text" {
			t.Errorf("told %+v", st)
		}
		s := st.State
		if s.ID != id || s.Bundle != bundle || s.Annotations["org.example"] != "a" || s.Version == "" || pid != 0 && s.Pid != pid {
			t.Errorf("told of the container %+v", s)
		}
		running := i == 1
		if st.Pid <= 0 || (st.Pid == s.Pid) == running || (s.Status == specs.StateRunning) != running {
			t.Errorf("process %d of %d: told of process %d, container's is %d, %s", i, len(states), st.Pid, s.Pid, s.Status)
		}
	}
}

// An agent that is missing is found out before there is a container, or ends
// it if it goes away later.
func TestAgentMissing(t *testing.T) {
	h := linuxtest.One(t)
	path := filepath.Join(h.Dir, "none.sock")
	bundle := h.Bundle(asks(path, "mkdir"), linuxtest.Shell("sleep 1000"))
	for _, command := range []string{"run", "create"} {
		r := h.Run(command, "--bundle", bundle, h.ID("a"))
		if r.Status == 0 || !strings.Contains(r.Stderr, "linux.seccomp.listenerPath: cannot look at socket") {
			t.Errorf("%s: status %d, %s", command, r.Status, r.Stderr)
		}
	}
	sock := listen(t, path) // and nobody after create
	id := h.ID("b")
	h.Must("create", "--bundle", bundle, id)
	unix.Shutdown(sock, unix.SHUT_RDWR) // from now on nobody can connect
	const refused = "linux.seccomp.listenerPath: cannot connect to socket"
	if r := h.Run("start", id); r.Status == 0 || !strings.Contains(r.Stderr, refused) {
		t.Errorf("start: status %d, %s", r.Status, r.Stderr)
	}
	h.WaitFor(id, "stopped")
	h.Must("delete", id)
	for _, args := range [][]string{{"run"}, {"run", "--detach"}} {
		if r := h.Run(append(args, "--bundle", bundle, h.ID("c"))...); r.Status == 0 || !strings.Contains(r.Stderr, refused) {
			t.Errorf("%s: status %d, %s", args, r.Status, r.Stderr)
		}
	}
}

// An agent that takes connections and never reads holds nobody for ever.
func TestAgentNeverReads(t *testing.T) {
	h := linuxtest.One(t)
	path := filepath.Join(h.Dir, "agent.sock")
	listen(t, path)
	bundle := h.Bundle(asks(path, "mkdir"), linuxtest.Shell("echo began"))
	r := h.Run("run", "--bundle", bundle, h.ID("a"))
	if r.Status == 0 || !strings.Contains(r.Stderr, "linux.seccomp.listenerPath: ") || !strings.Contains(r.Stderr, "nobody has read the message") || r.Stdout != "" {
		t.Errorf("status %d, %s%s", r.Status, r.Stdout, r.Stderr)
	}
}

// A profile may ask for what the runtime itself needs last.
func TestAgentForEachCall(t *testing.T) {
	h := linuxtest.One(t)
	all := strings.Fields("execve read sendmsg recvmsg exit_group mmap openat fcntl close getpid futex poll ppoll rt_sigreturn prctl clone ioctl")
	a := serve(t, h, func(string) (unix.Errno, bool) { return 0, true })
	r := h.Must("run", "--bundle", h.Bundle(asks(a.path, all...), linuxtest.Shell("echo began")), h.ID("a"))
	if _, asked := a.heard(); r.Stdout != "began\n" || len(asked) == 0 || asked[0] != unix.SYS_EXECVE {
		t.Errorf("printed %q; asked %v", r.Stdout, asked)
	}
	// And an agent that refuses it is an error like the kernel's.
	no := func(string) (unix.Errno, bool) { return unix.EXDEV, false }
	h.Sub(t, "refused", func(t *testing.T, h *linuxtest.Host) {
		b := serve(t, h, no)
		r := h.Run("run", "--bundle", h.Bundle(asks(b.path, "execve"), linuxtest.Shell("echo began")), h.ID("b"))
		if r.Status == 0 || !strings.Contains(r.Stderr, "process.args[0]: cannot execute") || !strings.Contains(r.Stderr, "EXDEV") {
			t.Errorf("status %d, %s", r.Status, r.Stderr)
		}
	})
}

// Whoever the program is executed as, it has nothing of the listener.
func TestAgentUsers(t *testing.T) {
	h := linuxtest.One(t)
	for name, edits := range map[string][]linuxtest.Edit{
		"root": {},
		"user": {func(s *specs.Spec) { s.Process.User = specs.User{UID: 1000, GID: 1000} }},
		"user, new privileges": {func(s *specs.Spec) {
			s.Process.User, s.Process.NoNewPrivileges = specs.User{UID: 1000, GID: 1000}, false
		}},
		"no capabilities":        {func(s *specs.Spec) { s.Process.Capabilities = &specs.LinuxCapabilities{} }},
		"user namespace":         {inUserNamespace},
		"the host's processes":   {linuxtest.WithoutNamespace(specs.PIDNamespace)},
		"wait killable":          {flags(specs.LinuxSeccompFlagWaitKillableRecv)},
		"flags without killable": {flags(specs.LinuxSeccompFlagLog)},
	} {
		h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
			a := serve(t, h, byName)
			script := linuxtest.Shell("mkdir /tmp/no 2> /dev/null || ls /proc/self/fd")
			edits := append([]linuxtest.Edit{asks(a.path, "mkdir", "mkdirat"), script, linuxtest.Mount("/tmp", "tmpfs", "tmpfs", "mode=1777")}, edits...)
			r := h.Must("run", "--bundle", h.Bundle(edits...), h.ID("a"))
			if _, asked := a.heard(); r.Stdout != "0\n1\n2\n3\n" || len(asked) != 1 { // ls has the directory open
				t.Errorf("printed %q; asked %v", r.Stdout, asked)
			}
		})
	}
}

func inUserNamespace(s *specs.Spec) {
	linuxtest.Namespace(specs.UserNamespace, "")(s)
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	s.Linux.GIDMappings = s.Linux.UIDMappings
}

func flags(list ...specs.LinuxSeccompFlag) linuxtest.Edit {
	return func(s *specs.Spec) { s.Linux.Seccomp.Flags = list }
}

// Hooks of startContainer run before there is an agent to ask.
func TestAgentHooks(t *testing.T) {
	h := linuxtest.One(t)
	for _, way := range []string{"run", "create"} {
		h.Sub(t, way, func(t *testing.T, h *linuxtest.Host) {
			a := serve(t, h, byName)
			bundle := h.Bundle(asks(a.path, "mkdir", "mkdirat"), linuxtest.Shell("cat /tmp/hook; mkdir /tmp/yes && echo made"), func(s *specs.Spec) {
				s.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "sleep 0.1; mkdir /tmp/dir 2> /tmp/hook; true"},
					Env: []string{"PATH=/bin"}}}}
			})
			id := h.ID(way)
			var r *linuxtest.Result
			if way == "run" {
				r = h.Must("run", "--bundle", bundle, id)
			} else {
				r = h.Must("create", "--bundle", bundle, id)
				h.Must("start", id)
				h.WaitFor(id, "stopped")
				h.Must("delete", id)
				r.Reread()
			}
			states, asked := a.heard()
			if !strings.Contains(r.Stdout, "Function not implemented\nmade\n") || len(states) != 1 || len(asked) != 1 {
				t.Errorf("printed %q; told %+v; asked %v", r.Stdout, states, asked)
			}
		})
	}
}

// A start that is killed while the agent keeps it waiting leaves no container
// without its agent.
func TestAgentStartKilled(t *testing.T) {
	h := linuxtest.One(t)
	path := filepath.Join(h.Dir, "agent.sock")
	sock := listen(t, path)
	id, bundle := h.ID("a"), h.Bundle(asks(path, "mkdir"), linuxtest.Shell("echo began; sleep 1000"))
	created := h.Must("create", "--bundle", bundle, id)
	start := h.Start(linuxtest.Command{Args: []string{"start", id}})
	conn, _, err := unix.Accept4(sock, unix.SOCK_CLOEXEC) // the process is held
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(conn)
	start.Signal(unix.SIGKILL)
	start.Wait()
	h.WaitFor(id, "stopped")
	if created.Reread(); created.Stdout != "" {
		t.Errorf("the program began: %q", created.Stdout)
	}
	h.Must("delete", id)
}

// The bundle may go after create: what start needs of it was kept.
func TestAgentBundleGone(t *testing.T) {
	h := linuxtest.One(t)
	a := serve(t, h, byName)
	id, bundle := h.ID("a"), h.Bundle(asks(a.path, "mkdir", "mkdirat"), linuxtest.Shell(makeTwo))
	r := h.Must("create", "--bundle", bundle, id)
	if err := os.Remove(filepath.Join(bundle, "config.json")); err != nil {
		t.Fatal(err)
	}
	h.Must("start", id)
	h.WaitFor(id, "stopped")
	h.Must("delete", id)
	if r.Reread(); r.Stdout != "1\n0\nmade\n" {
		t.Errorf("printed %q", r.Stdout)
	}
}

// Ordinary users' containers have agents, too.
func TestAgentOfOrdinaryUser(t *testing.T) {
	h := linuxtest.One(t).AsUser()
	other := func(s *specs.Spec) { s.Process.User = specs.User{UID: 7, GID: 8} }
	for name, edits := range map[string][]linuxtest.Edit{"alone": nil, "sub-ids": {h.User.SubIDs}, "sub-ids, another": {h.User.SubIDs, other}} {
		h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
			a := serve(t, h, byName)
			tmp := linuxtest.Mount("/tmp", "tmpfs", "tmpfs", "mode=1777")
			edits := append([]linuxtest.Edit{asks(a.path, "mkdir", "mkdirat"), tmp, linuxtest.Shell("mkdir /tmp/no 2>/dev/null || mkdir /tmp/yes && echo made; ls /proc/self/fd | wc -l")}, edits...)
			const want = "made\n4\n" // and the directory of ls
			if r := h.Run("run", "--bundle", h.Bundle(edits...), h.ID("a")); r.Stdout != want {
				t.Errorf("run: status %d, %s%s", r.Status, r.Stdout, r.Stderr)
			}
			id := h.ID("b")
			r := h.Must("create", "--bundle", h.Bundle(edits...), id)
			h.Must("start", id)
			h.WaitFor(id, "stopped")
			if r.Reread(); r.Stdout != want {
				t.Errorf("create, start: %s%s", r.Stdout, r.Stderr)
			}
			h.Must("delete", id)
			id = h.ID("c")
			h.Must("run", "--detach", "--bundle", h.Bundle(append(edits, linuxtest.Args("/bin/sleep", "1000"))...), id)
			if r := h.Run("exec", id, "/bin/sh", "-c", "mkdir /tmp/no 2>/dev/null || mkdir /tmp/yes && echo made; ls /proc/self/fd | wc -l"); r.Stdout != want {
				t.Errorf("exec: status %d, %s%s", r.Status, r.Stdout, r.Stderr)
			}
			h.Must("delete", "--force", id)
			if states, asked := a.heard(); len(states) != 4 || len(asked) != 6 {
				t.Errorf("told of %d processes, asked %v", len(states), asked)
			}
		})
	}
}
