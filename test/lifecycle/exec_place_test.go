package lifecycle

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// --cgroup puts the process below the container's cgroup: where it says, and
// otherwise where the container is.
func TestExecCgroup(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		for _, o := range []*linuxtest.Host{h, h.With("runc")} {
			id := o.ID("cg")
			o.Must("run", "--detach", "--bundle", h.Bundle(linuxtest.Args("/bin/sleep", "1000"), linuxtest.WithoutNamespace(specs.CgroupNamespace)), id)
			st, _ := o.State(id)
			sub, flag, which := filepath.Join(h.CgroupDir(st.PID, "pids"), "sub"), "sub", "0::"
			if !h.V2 {
				flag, which = "pids:/sub", ":pids:"
			}
			if err := os.Mkdir(sub, 0o755); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(o.Must("exec", "--cgroup", flag, id, "cat", "/proc/self/cgroup").Stdout) {
				is := strings.HasSuffix(line, "/sub\n")
				if want := strings.Contains(line, which); is != want {
					t.Errorf("cgroup %s", line)
				}
			}
			if err := os.Remove(sub); err != nil { // nothing is left in it
				t.Error(err)
			}
			o.Must("delete", "--force", id)
		}
		id := running(t, h)
		for flag, text := range map[string]string{"nothing:sub": "unknown controller", "missing": "no such file or directory"} {
			if h.V2 && flag != "missing" {
				text = "cannot be named on cgroup v2"
			}
			if r := h.Run("exec", "--cgroup", flag, id, "true"); r.Status != 255 || !strings.Contains(r.Stderr, text) {
				t.Errorf("--cgroup %s: status %d, %s", flag, r.Status, r.Stderr)
			}
		}
	})
}

// process.execCPUAffinity: first where the process starts, in the end where it
// runs.
func TestExecAffinity(t *testing.T) {
	h := linuxtest.One(t)
	all, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ initial, final, want string }{
		{"", "", strings.TrimSpace(string(all))}, {"0", "", "0"}, {"", "0", "0"}, {"0-1", "1", "1"}, {"1", "0", "0"},
	} {
		id := running(t, h, func(s *specs.Spec) {
			s.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: c.initial, Final: c.final}
		})
		if got := h.Look(h.Must("exec", id, "inside").Stdout).Affinity; got != c.want {
			t.Errorf("%+v: runs on %s", c, got)
		}
		h.Must("delete", "--force", id)
	}
	for field, a := range map[string]specs.CPUAffinity{"initial": {Initial: "4000"}, "final": {Final: "4000"}} {
		id := running(t, h, func(s *specs.Spec) { s.Process.ExecCPUAffinity = &a })
		r := h.Run("exec", id, "true")
		if r.Status != 255 || !strings.Contains(r.Stderr, "process.execCPUAffinity."+field+": ") {
			t.Errorf("%s: status %d, %s", field, r.Status, r.Stderr)
		}
		h.Must("delete", "--force", id)
	}
}

// A container that ends takes the processes of exec with it, and those that are
// just coming; none of their callers hangs.
func TestExecContainerDies(t *testing.T) {
	h := linuxtest.One(t)
	for i, edits := range [][]linuxtest.Edit{{}, {}, {}, {userNamespace}, {userNamespace}, {userNamespace}} {
		id := h.ID(fmt.Sprint(i))
		edits = append(edits, linuxtest.Args("/bin/sleep", "1000"))
		h.Must("run", "--detach", "--bundle", h.Bundle(edits...), id)
		long := h.Start(linuxtest.Command{Args: []string{"exec", id, "sh", "-c", "echo ready; exec sleep 1000"}})
		if !linuxtest.Until(func() bool { return strings.Contains(long.Output(), "ready") }) {
			t.Fatal("the process does not start")
		}
		var wg sync.WaitGroup
		for range 4 {
			h.Go(&wg, func() {
				for {
					r := h.Run("exec", id, "true")
					if r.Status == 255 && strings.Contains(r.Stderr, "cannot exec in a stopped container") {
						return
					}
					if r.Status != 0 && r.Status != 137 && (r.Status != 255 || !strings.Contains(r.Stderr, "exec failed: ")) {
						t.Errorf("status %d, %s", r.Status, r.Stderr)
						return
					}
				}
			})
		}
		time.Sleep(time.Duration(20*i+20) * time.Millisecond) // in the middle of any of them
		h.Must("kill", id, "KILL")
		if r := long.Wait(); r.Status != 137 {
			t.Errorf("status %d, want 137; %s", r.Status, r.Stderr)
		}
		wg.Wait()
		h.WaitFor(id, "stopped")
		h.Must("delete", id)
	}
}

// exec in the foreground with a terminal leaves the caller's as it was, however
// the process ends.
func TestExecForegroundTerminal(t *testing.T) {
	h := linuxtest.One(t)
	id := running(t, h)
	for script, status := range map[string]int{"stty raw; echo ready; kill -KILL $$": 137, "stty size; echo ready; exit 6": 6, "echo ready; exec sleep 0.1 <&- >&- 2>&-": 0} {
		master, side := h.Terminal()
		before, err := unix.IoctlGetTermios(int(side.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		p := h.Start(linuxtest.Command{Args: []string{"exec", "--tty", id, "sh", "-c", script}, Stdin: side, Out: side, Session: true})
		linuxtest.ReadUntil(t, master, "ready")
		if r := p.Wait(); r.Status != status || r.Signal != syscall.Signal(0) {
			t.Errorf("%s: status %d, want %d", script, r.Status, status)
		}
		after, err := unix.IoctlGetTermios(int(side.Fd()), unix.TCGETS)
		if err != nil || *after != *before {
			t.Errorf("%s: the terminal's modes are not restored: %+v, were %+v (%v)", script, after, before, err)
		}
	}
}

// The streams of exec are the caller's: much goes through, and their end.
func TestExecPipes(t *testing.T) {
	h := linuxtest.One(t)
	id := running(t, h)
	stdin, in, stdout, out := pipes(t)
	const size = 4 << 20
	p := h.Start(linuxtest.Command{Args: []string{"exec", id, "cat"}, Stdin: stdin, Out: stdout})
	stdin.Close()
	stdout.Close()
	go func() {
		in.Write(make([]byte, size)) // what is lost is missed below
		in.Close()
	}()
	n, err := io.Copy(io.Discard, out)
	if r := p.Wait(); err != nil || n != size || r.Status != 0 {
		t.Errorf("%d bytes have come, want %d; status %d; %v", n, size, r.Status, err)
	}
}

// --pidfd-socket and --preserve-fds of exec.
func TestExecPasses(t *testing.T) {
	h := linuxtest.One(t)
	id := running(t, h)
	socket := h.Listen("pidfd")
	file := filepath.Join(h.Dir, "pid")
	h.Must("exec", "--detach", "--pid-file", file, "--pidfd-socket", socket.Path, id, "sleep", "1000")
	text, pidfd := socket.Receive()
	defer pidfd.Close()
	pid := readPID(t, file)
	h.Adopt(pid)
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", pidfd.Fd()))
	if err != nil || text != "setns" || !strings.Contains(string(info), fmt.Sprintf("\nPid:\t%d\n", pid)) {
		t.Errorf("got %q with %s, want the pidfd of %d; %v", text, info, pid, err)
	}
	data, err := os.Open("/etc/hostname")
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	r := h.Exec(linuxtest.Command{Args: []string{"exec", "--preserve-fds", "1", id, "sh", "-c", "cat <&3; ls /proc/self/fd | wc -l"}, Files: []*os.File{data}})
	want, _ := os.ReadFile("/etc/hostname")
	if r.Status != 0 || r.Stdout != string(want)+"5\n" { // and the directory of ls
		t.Errorf("status %d, %q, want %q; %s", r.Status, r.Stdout, string(want)+"5\n", r.Stderr)
	}
}
