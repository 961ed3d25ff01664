package lifecycle

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// manager is a service manager as far as sd_notify(3) needs one.
type manager struct {
	t    *testing.T
	path string
	fd   int
}

func newManager(t *testing.T, h *linuxtest.Host) *manager {
	t.Helper()
	m := &manager{t: t, path: filepath.Join(h.Dir, "manager")}
	os.Remove(m.path)
	var err error
	if m.fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err == nil {
		err = unix.Bind(m.fd, &unix.SockaddrUnix{Name: m.path})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(m.fd) })
	return m
}

// receive takes a datagram with its descriptors; "" if none comes in time.
func (m *manager) receive(within time.Duration) (text string, fds []int) {
	m.t.Helper()
	poll := []unix.PollFd{{Fd: int32(m.fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(poll, int(within.Milliseconds())); n == 0 || err != nil {
		return "", nil
	}
	data, oob := make([]byte, 4096), make([]byte, 1024)
	n, oobn, _, _, err := unix.Recvmsg(m.fd, data, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		m.t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		m.t.Fatal(err)
	}
	for i := range messages {
		rights, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			m.t.Fatal(err)
		}
		fds = append(fds, rights...)
	}
	return string(data[:n]), fds
}

// want takes datagrams and compares them.
func (m *manager) want(texts ...string) (fds []int) {
	m.t.Helper()
	for _, want := range texts {
		text, list := m.receive(10 * time.Second)
		if text != want {
			m.t.Errorf("the service manager is told %q, want %q", text, want)
		}
		fds = append(fds, list...)
	}
	return fds
}

// That a container is ready comes through, in each way to start one, and nothing
// else that it says. (runc 1.1 sends no barrier, so it is not asked.)
func TestNotifySocket(t *testing.T) {
	h := linuxtest.One(t)
	for _, way := range []string{"start", "run --detach", "run"} {
		h.Sub(t, way, func(t *testing.T, h *linuxtest.Host) { testNotify(t, h, way) })
	}
}

func testNotify(t *testing.T, h *linuxtest.Host, way string) {
	m := newManager(t, h)
	id := h.ID("a")
	env := []string{"NOTIFY_SOCKET=" + m.path}
	ready := "READY=1\nMAINPID=77\nSTATUS=busy"
	bundle := h.Bundle(linuxtest.Args("/bin/inside", "--notify", "STATUS=hello", "MAINPID=1", "XREADY=1", ready), func(s *specs.Spec) {
		s.Process.User = specs.User{UID: 1000, GID: 1000}
		s.Process.Env = append(s.Process.Env, "NOTIFY_SOCKET=/elsewhere")
	})
	c := linuxtest.Command{Args: append(strings.Fields(way), "--bundle", bundle, id), Env: env}
	if way == "start" {
		create := linuxtest.Command{Args: []string{"create", "--bundle", bundle, id}, Env: env}
		if r := h.Exec(create); r.Status != 0 {
			t.Fatalf("%+v", r)
		}
		c.Args = []string{"start", id}
	}
	p := h.Start(c)
	m.want("READY=1\n")
	st := h.WaitFor(id, "running")
	pid := st.PID
	if way == "run" {
		pid = p.PID
	}
	fds := m.want(fmt.Sprintf("MAINPID=%d\n", pid), "BARRIER=1")
	if len(fds) != 1 {
		t.Fatalf("%d descriptors have come, want the barrier's", len(fds))
	}
	if text, _ := m.receive(50 * time.Millisecond); text != "" {
		t.Errorf("more is said: %q", text)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
	if err != nil || strings.Contains(string(stat), ") Z ") {
		t.Errorf("the command does not wait for the barrier: %s, %v", stat, err)
	}
	unix.Close(fds[0])
	if way == "run" {
		h.Must("kill", id, "KILL")
		if r := p.Wait(); r.Status != 137 {
			t.Errorf("%+v", r)
		}
		return
	}
	if r := p.Wait(); r.Status != 0 || r.Stderr != "" {
		t.Errorf("%+v", r)
	}
	h.Must("delete", "--force", id)
}

// A program that ends without being ready lets nobody wait for ever, and one
// that is deleted meanwhile neither.
func TestNotifySocketNeverReady(t *testing.T) {
	h := linuxtest.One(t)
	m := newManager(t, h)
	env := []string{"NOTIFY_SOCKET=" + m.path}
	bundle := h.Bundle(linuxtest.Args("/bin/inside", "--notify", "STATUS=hello", "exit"))
	r := h.Exec(linuxtest.Command{Args: []string{"run", "--detach", "--bundle", bundle, h.ID("a")}, Env: env})
	if r.Status != 0 || r.Stderr != "" {
		t.Errorf("run: %+v", r)
	}
	h.Must("delete", "--force", h.ID("a"))

	h.Exec(linuxtest.Command{Args: []string{"create", "--bundle", h.Bundle(forever), h.ID("b")}, Env: env})
	start := h.Start(linuxtest.Command{Args: []string{"start", h.ID("b")}, Env: env})
	h.WaitFor(h.ID("b"), "running")
	h.Must("delete", "--force", h.ID("b"))
	if r := start.Wait(); r.Status != 0 {
		t.Errorf("start: %+v", r)
	}
	// Created without a service manager, so there is nothing to wait for.
	h.Must("create", "--bundle", h.Bundle(forever), h.ID("c"))
	if r := h.Exec(linuxtest.Command{Args: []string{"start", h.ID("c")}, Env: env}); r.Status != 0 || r.Stderr != "" {
		t.Errorf("start without a socket: %+v", r)
	}
	h.Must("delete", "--force", h.ID("c"))
	if text, _ := m.receive(0); text != "" {
		t.Errorf("the service manager is told %q", text)
	}
}

// The service manager's sockets are the container's from descriptor 3 on, what
// is preserved follows; but only if they are for this very process.
func TestListenFDs(t *testing.T) {
	h := linuxtest.One(t)
	var files []*os.File
	for i := range 4 {
		f, err := os.Create(filepath.Join(h.Dir, fmt.Sprintf("file%d", i)))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	runc := h.With("runc")
	for _, c := range []struct {
		name, env, preserve string
		fds                 []string
		vars                []string
		status              int
	}{
		{"sockets", "LISTEN_FDS=2 LISTEN_PID=$$ LISTEN_FDNAMES=a:b", "0", []string{"3", "4"}, []string{"LISTEN_FDS=2", "LISTEN_PID=1"}, 0},
		{"sockets and others", "LISTEN_FDS=2 LISTEN_PID=$$", "1", []string{"3", "4", "5"}, []string{"LISTEN_FDS=2", "LISTEN_PID=1"}, 0},
		{"of another process", "LISTEN_FDS=2 LISTEN_PID=1", "1", []string{"3"}, nil, 0},
		{"no number", "LISTEN_FDS=two LISTEN_PID=$$", "0", nil, nil, 0},
		{"negative", "LISTEN_FDS=-1 LISTEN_PID=$$", "0", nil, nil, 0},
		{"none", "LISTEN_FDS=0 LISTEN_PID=$$", "0", nil, nil, 0},
		{"more than there are", "LISTEN_FDS=2000000000 LISTEN_PID=$$", "0", nil, nil, 1},
	} {
		for _, host := range []*linuxtest.Host{h, runc} {
			program := host.Argv()[0]
			script := filepath.Join(h.Dir, "script")
			if err := os.WriteFile(script, []byte("#!/bin/sh\nexport "+c.env+"\nexec "+program+" \"$@\"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			if host == runc && (c.status != 0 || c.name == "negative") {
				continue // it says nothing, or panics
			}
			r := h.With(script).Exec(linuxtest.Command{Files: files,
				Args: []string{"run", "--preserve-fds", c.preserve, "--bundle", h.Bundle(linuxtest.Inside()), h.ID("a")}})
			if r.Status != c.status {
				t.Errorf("%s: %+v", c.name, r)
				continue
			}
			if c.status != 0 {
				if !strings.Contains(r.Stderr, "LISTEN_FDS: ") {
					t.Errorf("%s: stderr %q", c.name, r.Stderr)
				}
				continue
			}
			report := h.Look(r.Stdout)
			var vars []string
			for _, v := range report.Env {
				if strings.HasPrefix(v, "LISTEN_") {
					vars = append(vars, v)
				}
			}
			if want := append([]string{"0", "1", "2"}, c.fds...); !slices.Equal(slices.Sorted(maps.Keys(report.Descriptors)), want) || !slices.Equal(vars, c.vars) {
				t.Errorf("%s, %s: descriptors %v, variables %q", filepath.Base(program), c.name, report.Descriptors, vars)
			}
			for i, fd := range c.fds {
				if report.Descriptors[fd] != files[i].Name() {
					t.Errorf("%s: descriptor %s is %q", c.name, fd, report.Descriptors[fd])
				}
			}
		}
	}
}

// The sockets that a service manager passes to exec are the process's, which is told
// its own number in the container. runc ignores them: LISTEN_PID=1 would not be true.
func TestExecListenFDs(t *testing.T) {
	h := linuxtest.One(t)
	file, err := os.Open("/etc/hostname")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, c := range []struct {
		who  *linuxtest.Host
		open int // descriptors of the process
	}{{h, 4}, {h.With("runc"), 3}} {
		id := c.who.ID("listen")
		c.who.Must("run", "--detach", "--bundle", h.Bundle(forever), id)
		script := filepath.Join(h.Dir, "listen")
		text := "#!/bin/sh\nexport LISTEN_FDS=$1 LISTEN_PID=$$\nshift\nexec " + c.who.Argv()[0] + " \"$@\"\n"
		if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		exec := func(n string) *linuxtest.Result {
			args := []string{n, "--root", c.who.Root(), "exec", "--env", "LISTEN_PID=1", id, "/bin/inside"}
			return h.Exec(linuxtest.Command{Program: script, Files: []*os.File{file}, Args: args})
		}
		r := exec("1")
		if r.Status != 0 {
			t.Fatalf("%+v", r)
		}
		seen := h.Look(r.Stdout)
		if len(seen.Descriptors) != c.open {
			t.Errorf("%d descriptors: %v", c.open, seen.Descriptors)
		}
		env := strings.Join(seen.Env, " ") + " "
		want := "LISTEN_FDS=1 LISTEN_PID=" + strconv.Itoa(seen.PID) + " "
		if got := strings.Contains(env, want); got != (c.open == 4) || c.open == 4 && strings.Count(env, "LISTEN_PID=") != 1 {
			t.Errorf("process %d, environment %q", seen.PID, seen.Env)
		}
		if r := exec("2"); c.open == 4 && (r.Status != 255 || !strings.Contains(r.Stderr, "LISTEN_FDS: descriptor 4 (of 2) is not open")) {
			t.Errorf("a socket that is not there: %+v", r)
		}
		c.who.Must("delete", "--force", id)
	}
}
