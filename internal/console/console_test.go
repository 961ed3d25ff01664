package console

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test program becomes a foreground `run` with a terminal when this is set.
const beRun = "TONGS_TEST_IS_RUN"

func TestMain(m *testing.M) {
	if script := os.Getenv(beRun); script != "" {
		if err := runScript(script); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// runScript runs a shell on a new pty, connected with our terminal.
func runScript(script string) error {
	master, slave, err := openPTY()
	if err != nil {
		return err
	}
	cmd := shell(script, slave)
	s, err := Attach(master)
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		s.Close()
		return err
	}
	slave.Close()
	err = cmd.Wait()
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	return err
}

func shell(script string, tty *os.File) *exec.Cmd {
	cmd := exec.Command("sh", "-c", script)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	return cmd
}

func openPTY() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		return nil, nil, err
	}
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|syscall.O_NOCTTY, 0)
	return master, slave, err
}

// host is a terminal with a program that runs script in "a container".
func host(t *testing.T, script string, stdio func(*exec.Cmd)) (*os.File, *os.File, *exec.Cmd) {
	t.Helper()
	master, slave, err := openPTY()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close(); slave.Close() })
	size := &unix.Winsize{Row: 33, Col: 77}
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, size); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), beRun+"="+script)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if stdio != nil {
		stdio(cmd)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return master, slave, cmd
}

// readUntil reads what the terminal shows until it ends so.
func readUntil(t *testing.T, f *os.File, end string) string {
	t.Helper()
	got := make(chan string, 1)
	go func() {
		var all []byte
		buf := make([]byte, 1024)
		for !bytes.HasSuffix(all, []byte(end)) {
			n, err := f.Read(buf)
			if err != nil {
				all = fmt.Appendf(all, "<%v>", err)
				break
			}
			all = append(all, buf[:n]...)
		}
		got <- string(all)
	}()
	select {
	case s := <-got:
		return s
	case <-time.After(20 * time.Second):
		t.Fatalf("the terminal never showed %q", end)
	}
	return ""
}

func TestAttach(t *testing.T) {
	master, slave, cmd := host(t, `stty size; stty -echo; echo ready; read x; echo "got $x"`, nil)
	before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	// One "\r\n" each, not "\r\r\n": only one of the terminals translates.
	if got, want := readUntil(t, master, "ready\r\n"), "33 77\r\nready\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	raw, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if raw.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 || raw.Oflag&unix.OPOST == 0 {
		t.Errorf("the terminal is not raw: lflag %#x, oflag %#x", raw.Lflag, raw.Oflag)
	}
	if _, err := master.WriteString("some text\r"); err != nil {
		t.Fatal(err)
	}
	if got, want := readUntil(t, master, "text\r\n"), "got some text\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if *after != *before {
		t.Errorf("the terminal was not restored: got %+v, want %+v", after, before)
	}
}

// Ctrl-C belongs to the container's terminal, not to ours.
func TestAttachPassesControlKeys(t *testing.T) {
	master, _, cmd := host(t, `trap 'echo caught; exit 0' INT; stty -echo; echo ready; while :; do read x; done`, nil)
	readUntil(t, master, "ready\r\n")
	if _, err := master.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	if got := readUntil(t, master, "caught\r\n"); !strings.HasSuffix(got, "caught\r\n") {
		t.Errorf("got %q", got)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestAttachDrainsOutput(t *testing.T) {
	master, _, cmd := host(t, `i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done; echo END`, nil)
	got := readUntil(t, master, "END\r\n")
	if n := strings.Count(got, "\r\n"); n != 5001 {
		t.Errorf("got %d lines, want 5001", n)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// All three streams are redirected, the controlling terminal is still there.
func TestAttachFindsControllingTerminal(t *testing.T) {
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	_, _, cmd := host(t, "stty size", func(cmd *exec.Cmd) {
		// Setctty wants the terminal at some descriptor of the child's.
		cmd.ExtraFiles = []*os.File{cmd.Stdin.(*os.File)}
		cmd.SysProcAttr.Ctty = 3
		cmd.Stdin, cmd.Stdout, cmd.Stderr = null, out, out
	})
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if got, _ := os.ReadFile(out.Name()); string(got) != "33 77\n" {
		t.Errorf("got %q, want the size of the terminal", got)
	}
}

func TestAttachWithoutTerminal(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), beRun+"=true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.CombinedOutput()
	const want = "process.terminal is set, but there is no terminal to connect: open /dev/tty: no such device or address\n"
	if err == nil || string(out) != want {
		t.Errorf("got %q, %v; want %q", out, err, want)
	}
}
