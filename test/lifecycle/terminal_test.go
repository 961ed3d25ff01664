package lifecycle

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

func TestConsoleSocket(t *testing.T) {
	h := linuxtest.One(t)
	socket := h.Listen("console")
	bundle := h.Bundle(linuxtest.Terminal, linuxtest.Shell("tty; stty size; read line; echo got $line; exec inside"), func(s *specs.Spec) {
		s.Process.ConsoleSize = &specs.Box{Height: 33, Width: 77}
	})
	id := h.ID("a")
	h.Must("create", "--console-socket", socket.Path, "--bundle", bundle, id)
	name, master := socket.Receive()
	defer master.Close()
	if name != "/dev/pts/0" && name != "/dev/ptmx" {
		t.Errorf("the socket's message is %q", name)
	}
	h.Must("start", id)
	linuxtest.ReadUntil(t, master, "33 77\r\n")
	if _, err := master.WriteString("hello\n"); err != nil {
		t.Error(err)
	}
	out := strings.ReplaceAll(linuxtest.ReadUntil(t, master, ""), "\r\n", "\n")
	if !strings.Contains(out, "got hello\n") {
		t.Errorf("terminal shows %q", out)
	}
	r := h.Look(out[strings.Index(out, "{"):])
	if r.Terminal != "136:0" || r.Size != "33 77" || r.Session != 1 || r.Group != 1 {
		t.Errorf("controlling terminal %q, size %q, session %d, group %d", r.Terminal, r.Size, r.Session, r.Group)
	}
	h.WaitFor(id, "stopped")
	h.Must("delete", id)
}

// The process leads a session also where it is the child of the one that tongs
// has started: else it could not have a controlling terminal.
func TestConsoleSocketInUserNamespace(t *testing.T) {
	h := linuxtest.One(t)
	socket := h.Listen("console")
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	id := h.ID("a")
	h.Must("create", "--console-socket", socket.Path, "--bundle", h.Bundle(linuxtest.Terminal, linuxtest.Inside(), linuxtest.Namespace(specs.UserNamespace, ""),
		func(s *specs.Spec) { s.Linux.UIDMappings, s.Linux.GIDMappings = ids, ids }), id)
	_, master := socket.Receive()
	defer master.Close()
	h.Must("start", id)
	out := strings.ReplaceAll(linuxtest.ReadUntil(t, master, ""), "\r\n", "\n")
	if r := h.Look(out); r.Terminal != "136:0" || r.Session != 1 {
		t.Errorf("controlling terminal %q, session %d", r.Terminal, r.Session)
	}
	h.WaitFor(id, "stopped")
	h.Must("delete", id)
}

func TestPidfdSocket(t *testing.T) {
	h := linuxtest.One(t)
	socket := h.Listen("pidfd")
	id := h.ID("a")
	h.Must("create", "--pidfd-socket", socket.Path, "--bundle", h.Bundle(forever), id)
	text, pidfd := socket.Receive()
	defer pidfd.Close()
	if text != "standard" {
		t.Errorf("the socket's message is %q, want standard", text)
	}
	st, _ := h.State(id)
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", pidfd.Fd()))
	if err != nil || !strings.Contains(string(info), fmt.Sprintf("\nPid:\t%d\n", st.PID)) {
		t.Errorf("descriptor is not the pidfd of %d: %v\n%s", st.PID, err, info)
	}
	if err := unix.PidfdSendSignal(int(pidfd.Fd()), unix.SIGKILL, nil, 0); err != nil {
		t.Errorf("cannot use the pidfd: %v", err)
	}
	h.WaitFor(id, "stopped")
	h.Must("delete", id)
}

func TestForegroundTerminal(t *testing.T) {
	h := linuxtest.One(t)
	master, side := h.Terminal()
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 20, Col: 50}); err != nil {
		t.Fatal(err)
	}
	before, err := unix.IoctlGetTermios(int(side.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	script := "trap 'echo winch; stty size' WINCH; stty size; echo ready; until read line; do :; done; echo got $line; exit 5"
	run := h.Start(linuxtest.Command{
		Args:    []string{"run", "--bundle", h.Bundle(linuxtest.Terminal, linuxtest.Shell(script)), h.ID("a")},
		Stdin:   side,
		Out:     side,
		Session: true,
	})
	if out := linuxtest.ReadUntil(t, master, "ready\r\n"); !strings.Contains(out, "20 50\r\n") {
		t.Errorf("the container's terminal does not have the size of the caller's: %q", out)
	}
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 30, Col: 60}); err != nil {
		t.Fatal(err)
	}
	linuxtest.ReadUntil(t, master, "30 60\r\n")
	if _, err := master.WriteString("hello\r"); err != nil {
		t.Error(err)
	}
	out := linuxtest.ReadUntil(t, master, "got hello\r\n")
	if n := strings.Count(out, "hello"); n != 2 {
		t.Errorf("the input is echoed %d times, want once: %q", n-1, out)
	}
	if r := run.Wait(); r.Status != 5 {
		t.Errorf("status %d, want 5", r.Status)
	}
	after, err := unix.IoctlGetTermios(int(side.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the terminal's modes are not restored: %+v, were %+v (%v)", after, before, err)
	}
}

// However the container ends, the caller's terminal is as it was.
func TestForegroundTerminalIsRestored(t *testing.T) {
	h := linuxtest.One(t)
	for name, end := range map[string]struct {
		script string
		kill   bool
		status int
	}{
		"killed from outside":  {"stty raw -echo; echo ready; exec sleep 1000", true, 137},
		"killed by itself":     {"stty -icanon; echo ready; kill -KILL $$; exec sleep 0", false, 0}, // the first of its namespace cannot
		"streams are closed":   {"echo ready; exec sleep 0.2 <&- >&- 2>&-", false, 0},
		"cannot be executed":   {"", false, 1},
		"hangs up the session": {"trap '' HUP; echo ready; exit 3", false, 3},
	} {
		h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
			master, side := h.Terminal()
			before, err := unix.IoctlGetTermios(int(side.Fd()), unix.TCGETS)
			if err != nil {
				t.Fatal(err)
			}
			args := linuxtest.Shell(end.script)
			if end.script == "" {
				args = linuxtest.Args("/etc/passwd")
			}
			run := h.Start(linuxtest.Command{Args: []string{"run", "--bundle", h.Bundle(linuxtest.Terminal, args), h.ID("a")},
				Stdin: side, Out: side, Session: true})
			if end.script != "" {
				linuxtest.ReadUntil(t, master, "ready")
			}
			if end.kill {
				raw, err := unix.IoctlGetTermios(int(side.Fd()), unix.TCGETS)
				if err != nil || raw.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 {
					t.Errorf("the caller's terminal is not raw meanwhile: %+v, %v", raw, err)
				}
				h.Must("kill", h.ID("a"), "KILL")
			}
			if r := run.Wait(); r.Status != end.status {
				t.Errorf("status %d, want %d", r.Status, end.status)
			}
			after, err := unix.IoctlGetTermios(int(side.Fd()), unix.TCGETS)
			if err != nil || *after != *before {
				t.Errorf("the terminal's modes are not restored: %+v, were %+v (%v)", after, before, err)
			}
		})
	}
}

// ^C is the container's business: the terminal is raw, so no signal comes to
// tongs.
func TestForegroundTerminalInterrupt(t *testing.T) {
	h := linuxtest.One(t)
	master, side := h.Terminal()
	script := "trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.01; done"
	run := h.Start(linuxtest.Command{
		Args:  []string{"run", "--bundle", h.Bundle(linuxtest.Terminal, linuxtest.Shell(script)), h.ID("a")},
		Stdin: side, Out: side, Session: true,
	})
	linuxtest.ReadUntil(t, master, "ready\r\n")
	if _, err := master.WriteString("\x03"); err != nil {
		t.Error(err)
	}
	linuxtest.ReadUntil(t, master, "interrupted\r\n")
	if r := run.Wait(); r.Status != 9 {
		t.Errorf("status %d, want 9", r.Status)
	}
}

// A program that writes much and exits at once loses nothing.
func TestForegroundTerminalKeepsLastOutput(t *testing.T) {
	h := linuxtest.One(t)
	master, side := h.Terminal()
	script := "i=0; while [ $i -lt 2000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done; echo end"
	run := h.Start(linuxtest.Command{
		Args:  []string{"run", "--bundle", h.Bundle(linuxtest.Terminal, linuxtest.Shell(script)), h.ID("a")},
		Stdin: side, Out: side, Session: true,
	})
	if n := strings.Count(linuxtest.ReadUntil(t, master, "end\r\n"), "0123456789\r\n"); n != 2000 {
		t.Errorf("%d lines have come, want 2000", n)
	}
	if r := run.Wait(); r.Status != 0 || r.Signal != syscall.Signal(0) {
		t.Errorf("status %d, want 0", r.Status)
	}
}
