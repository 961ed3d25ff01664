package config

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
	"tongs/test/inside/report"
)

func seccomp(s specs.LinuxSeccomp) linuxtest.Edit {
	return func(spec *specs.Spec) { spec.Linux.Seccomp = &s }
}

func noNewPrivileges(yes bool) linuxtest.Edit {
	return func(s *specs.Spec) { s.Process.NoNewPrivileges = yes }
}

func user(uid uint32) linuxtest.Edit {
	return func(s *specs.Spec) { s.Process.User = specs.User{UID: uid, GID: uid} }
}

// refuse is a profile that allows all but some calls.
func refuse(action specs.LinuxSeccompAction, errno *uint, names ...string) specs.LinuxSeccomp {
	return specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: names, Action: action, ErrnoRet: errno}}}
}

// dockers is Docker's default profile.
func dockers(t *testing.T) specs.LinuxSeccomp {
	t.Helper()
	data, err := os.ReadFile("../../internal/seccomp/testdata/docker.json")
	if err != nil {
		t.Fatal(err)
	}
	var s specs.LinuxSeccomp
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// allowList lets busybox run, and nothing but that.
func allowList() specs.LinuxSeccomp {
	names := strings.Fields("execve exit exit_group read write readv writev open openat close fstat newfstatat stat brk mmap munmap mprotect " +
		"arch_prctl set_tid_address set_robust_list rseq prlimit64 readlink readlinkat getrandom rt_sigaction rt_sigprocmask rt_sigreturn " +
		"getuid getgid geteuid getegid getpid getppid uname fcntl ioctl getcwd access poll clone fork vfork wait4 prctl dup2")
	return specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: names, Action: specs.ActAllow}}}
}

// A filter is in force for the program, whoever it is executed as, and leaves
// no capability behind that the set-up needed to load it.
func TestSeccompFilters(t *testing.T) {
	h := linuxtest.One(t)
	errno := uint(77)
	for _, c := range []struct {
		name    string
		profile specs.LinuxSeccomp
		script  string
		status  int
		output  string // lines that the streams contain
	}{
		{"errno of a call", refuse(specs.ActErrno, &errno, "mkdir", "mkdirat"), "mkdir /tmp/d; echo status $?", 0, "File descriptor in bad state\nstatus 1"},
		{"errno by default", allowList(), "mkdir /tmp/d; echo status $?", 0, "Operation not permitted\nstatus 1"},
		{"the process is killed", refuse(specs.ActKillProcess, nil, "mkdir", "mkdirat"), "(mkdir /tmp/d); echo status $?", 0, "status 159"},
		{"the first process is killed", refuse(specs.ActKillProcess, nil, "mkdir", "mkdirat"), "exec mkdir /tmp/d", 128 + int(unix.SIGSYS), ""},
		{"the thread is killed", refuse(specs.ActKill, nil, "mkdir", "mkdirat"), "(mkdir /tmp/d); echo status $?", 0, "status 159"},
		{"trap", refuse(specs.ActTrap, nil, "mkdir", "mkdirat"), "(mkdir /tmp/d); echo status $?", 0, "status 159"},
		{"log", refuse(specs.ActLog, nil, "mkdir", "mkdirat"), "mkdir /tmp/d; echo status $?", 0, "status 0"},
		{"trace without a tracer", refuse(specs.ActTrace, nil, "mkdir", "mkdirat"), "mkdir /tmp/d; echo status $?", 0, "Function not implemented\nstatus 1"},
		{"Docker's", dockers(t), "mkdir /tmp/d && mount -t tmpfs t /tmp/d; echo status $?", 0, "status 1"},
	} {
		for mode, edits := range map[string][]linuxtest.Edit{
			"":                       {noNewPrivileges(true)},
			", new privileges":       {noNewPrivileges(false)},
			", user":                 {noNewPrivileges(true), user(1000)},
			", user, new privileges": {noNewPrivileges(false), user(1000)},
			", user, new privileges, no process.capabilities": {noNewPrivileges(false), user(1000), func(s *specs.Spec) { s.Process.Capabilities = nil }},
		} {
			h.Sub(t, c.name+mode, func(t *testing.T, h *linuxtest.Host) {
				edits := append(edits, linuxtest.Shell(c.script), seccomp(c.profile), linuxtest.Mount("/tmp", "tmpfs", "tmpfs", "mode=1777"),
					func(s *specs.Spec) { s.Root.Readonly = false })
				r := h.Run("run", "--bundle", h.Bundle(edits...), h.ID("a"))
				if r.Status != c.status || !printed(r, c.output) {
					t.Errorf("status %d, want %d; want %q in\n%s%s", r.Status, c.status, c.output, r.Stderr, r.Stdout)
				}
			})
		}
	}
}

// printed reports whether each line of want is in one of the streams.
func printed(r *linuxtest.Result, want string) bool {
	for line := range strings.SplitSeq(want, "\n") {
		if !strings.Contains(r.Stdout, line) && !strings.Contains(r.Stderr, line) {
			return false
		}
	}
	return true
}

// The container is the same as runc's, but for the filter that both have.
func TestSeccompContainer(t *testing.T) {
	everything := specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"reboot"}, Action: specs.ActKillProcess}}}
	filtered := func(t *testing.T, r *report.Report) { linuxtest.Equal(t, "mode", r.Seccomp, "2") }
	var rows []row
	for name, s := range map[string]specs.LinuxSeccomp{"Docker's": dockers(t), "one rule": everything} {
		for mode, edits := range map[string][]linuxtest.Edit{
			"":                       {noNewPrivileges(true)},
			", new privileges":       {noNewPrivileges(false)},
			", user, new privileges": {noNewPrivileges(false), user(1000)},
			", ambient capabilities": {noNewPrivileges(false), user(1000), ambient},
		} {
			rows = append(rows, row{name: name + mode, edits: append(edits, seccomp(s)), check: filtered})
		}
	}
	rows = append(rows, row{name: "empty object", edits: []linuxtest.Edit{seccomp(specs.LinuxSeccomp{})},
		check: func(t *testing.T, r *report.Report) { linuxtest.Equal(t, "mode", r.Seccomp, "0") }})
	rows = append(rows, row{name: "user, new privileges, no process.capabilities", onlyTongs: "1.1 takes no capabilities for none",
		edits: []linuxtest.Edit{noNewPrivileges(false), user(1000), seccomp(everything), func(s *specs.Spec) { s.Process.Capabilities = nil }},
		check: func(t *testing.T, r *report.Report) {
			filtered(t, r)
			for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
				linuxtest.Equal(t, set, r.Capabilities[set], "0000000000000000")
			}
		}})
	each(t, linuxtest.One(t), rows)
}

func ambient(s *specs.Spec) {
	c := s.Process.Capabilities
	c.Inheritable, c.Ambient = c.Permitted, c.Permitted
}

// `create` and `start`, for which the last calls are queued whole.
func TestSeccompCreated(t *testing.T) {
	h := linuxtest.One(t)
	errno := uint(77)
	for _, nnp := range []bool{true, false} {
		id := h.ID("a")
		out := h.Bundle(noNewPrivileges(nnp), seccomp(refuse(specs.ActErrno, &errno, "read", "mkdir")), linuxtest.Args("/bin/sleep", "1000"))
		h.Must("create", "--bundle", out, id)
		h.Must("start", id)
		st := h.WaitFor(id, "running")
		status, err := os.ReadFile("/proc/" + strconv.Itoa(st.PID) + "/status")
		if err != nil || !strings.Contains(string(status), "\nSeccomp:\t2\n") {
			t.Errorf("no filter: %v\n%s", err, status)
		}
		h.Must("kill", id, "KILL")
		h.WaitFor(id, "stopped")
		h.Must("delete", id)
	}
}

// A filter that refuses the program and the end of the process: there is an
// error, and nothing goes on.
func TestSeccompRefusesExecve(t *testing.T) {
	h := linuxtest.One(t)
	bundle := h.Bundle(seccomp(refuse(specs.ActErrno, nil, "execve", "exit_group", "exit")))
	r := h.Run("run", "--bundle", bundle, h.ID("a"))
	if r.Status == 0 || !strings.Contains(r.Stderr, "process.args[0]: cannot execute") || !strings.Contains(r.Stderr, "operation not permitted (EPERM)") {
		t.Errorf("status %d, stderr %s", r.Status, r.Stderr)
	}
	id := h.ID("b")
	h.Must("create", "--bundle", bundle, id)
	h.Run("start", id)
	h.WaitFor(id, "stopped")
	h.Must("delete", id)
}
