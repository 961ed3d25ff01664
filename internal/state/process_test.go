package state

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParseStat(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20 21"
	for name, c := range map[string]struct {
		text  string
		start uint64
		code  byte
	}{
		"plain name":            {"5 (sh)" + rest, 777, 'S'},
		"name with parentheses": {"5 (a) R 1 (b))" + rest, 777, 'S'},
		"name with newline":     {"5 (a\n) Z)" + rest, 777, 'S'},
		"zombie":                {"5 (sh)" + strings.Replace(rest, " S", " Z", 1), 777, 'Z'},
	} {
		start, code, err := parseStat([]byte(c.text))
		if err != nil || start != c.start || code != c.code {
			t.Errorf("%s: got %d %c, %v; want %d %c", name, start, code, err, c.start, c.code)
		}
	}
	for _, bad := range []string{"", "5 (sh", "5 (sh)", "5 (sh) S 1 2", strings.Replace("5 (sh)"+rest, "777", "x", 1)} {
		if _, _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// child starts a process that sleeps until the test ends.
func child(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

func TestProcessLife(t *testing.T) {
	cmd := child(t)
	id, err := Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	p, err := OpenProcess(id)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if ended, err := p.Wait(time.Millisecond); err != nil || ended {
		t.Errorf("Wait while it lives: got %v, %v", ended, err)
	}
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if ended, err := p.Wait(10 * time.Second); err != nil || !ended {
		t.Errorf("Wait after SIGKILL: got %v, %v", ended, err)
	}
	if _, err := OpenProcess(id); err != ErrProcessDone {
		t.Errorf("OpenProcess of a zombie: got %v, want %v", err, ErrProcessDone)
	}
	cmd.Wait()
	if _, err := OpenProcess(id); err != ErrProcessDone {
		t.Errorf("OpenProcess of a missing pid: got %v, want %v", err, ErrProcessDone)
	}
	if err := p.Signal(0); err != ErrProcessDone {
		t.Errorf("Signal afterwards: got %v, want %v", err, ErrProcessDone)
	}
}

// The pid lives, but it is not the process that was recorded.
func TestOpenProcessOfReusedPID(t *testing.T) {
	id, err := Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	id.Start--
	for _, id := range []ProcessID{id, {}, {PID: -1, Start: id.Start}} {
		if p, err := OpenProcess(id); err != ErrProcessDone {
			t.Errorf("%+v: got %v, %v; want %v", id, p, err, ErrProcessDone)
		}
	}
}

func TestSameBoot(t *testing.T) {
	id, err := BootID()
	if err != nil || len(id) != 36 {
		t.Fatalf("BootID: got %q, %v", id, err)
	}
	for recorded, want := range map[string]bool{id: true, "": true, "x" + id[1:]: id[0] == 'x'} {
		st := &State{Tongs: Own{BootID: recorded}}
		if got, err := st.SameBoot(); err != nil || got != want {
			t.Errorf("%q: got %v, %v; want %v", recorded, got, err, want)
		}
	}
}

func TestFIFO(t *testing.T) {
	s := testStore(t)
	d := testDir(t, s, "c1")
	if err := d.MakeFIFO(os.Getuid(), os.Getgid()); err != nil {
		t.Fatal(err)
	}
	if has, err := d.HasFIFO(); err != nil || !has {
		t.Errorf("HasFIFO: got %v, %v", has, err)
	}
	if _, err := d.OpenFIFO(unix.O_WRONLY | unix.O_NONBLOCK); err == nil || !strings.Contains(err.Error(), unix.ENXIO.Error()) {
		t.Errorf("OpenFIFO without a reader: got %v", err)
	}
	fd, err := d.OpenFIFO(unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	for range 2 {
		if err := d.RemoveFIFO(); err != nil {
			t.Fatal(err)
		}
	}
	if has, err := d.HasFIFO(); err != nil || has {
		t.Errorf("HasFIFO after RemoveFIFO: got %v, %v", has, err)
	}
	if err := os.WriteFile(d.Path()+"/"+fifoName, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.OpenFIFO(unix.O_RDWR); err == nil || !strings.Contains(err.Error(), "not a FIFO") {
		t.Errorf("OpenFIFO of a file: got %v", err)
	}
}
