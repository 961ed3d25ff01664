package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tongs/internal/state"
)

// beStub is set to the path of the start FIFO for a test program that behaves
// as the process of a created container.
const beStub = "TONGS_TEST_FIFO"

func testStore(t *testing.T) *state.Store {
	t.Helper()
	s, err := state.Open(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// spawn starts a process that is ended and waited for with the test.
func spawn(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	begin(t, cmd)
	return cmd
}

func begin(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}

func identify(t *testing.T, pid int) state.ProcessID {
	t.Helper()
	id, err := state.Identify(pid)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// put writes the state of a container whose first process is pid (0: none),
// and gives the directory, unlocked.
func put(t *testing.T, s *state.Store, id string, pid int, change func(*state.State)) *state.Dir {
	t.Helper()
	d, err := s.Create(id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	boot, err := state.BootID()
	if err != nil {
		t.Fatal(err)
	}
	st := &state.State{
		Created: time.Now(),
		Config:  state.Config{Namespaces: []state.Namespace{{Type: "NEWPID"}}},
		Tongs: state.Own{
			Phase:   state.Created,
			Bundle:  "/b",
			BootID:  boot,
			Runtime: identify(t, os.Getpid()),
		},
	}
	if pid != 0 {
		who := identify(t, pid)
		st.PID, st.Start = who.PID, who.Start
	}
	if change != nil {
		change(st)
	}
	if err := d.Write(st); err != nil {
		t.Fatal(err)
	}
	d.Unlock()
	return d
}

func TestMain(m *testing.M) {
	if path := os.Getenv(beStub); path != "" {
		fmt.Fprintln(os.Stderr, waitAndExec(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// waitAndExec reads one byte from the FIFO and becomes another program, which
// closes it.
func waitAndExec(path string) error {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if n, err := unix.Read(fd, make([]byte, 1)); n != 1 {
		return fmt.Errorf("read %d bytes: %v", n, err)
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		return err
	}
	return unix.Exec(sleep, []string{"sleep", "1000"}, nil)
}

// waiting is a created container with a process that waits for start.
func waiting(t *testing.T, s *state.Store, id string) (*state.Dir, *exec.Cmd) {
	t.Helper()
	fifo := filepath.Join(s.Path(), id, "exec.fifo")
	// The name is taken by put, the FIFO is made after it and the process last:
	// so the state is written twice.
	d := put(t, s, id, os.Getpid(), nil)
	if err := d.MakeFIFO(os.Getuid(), os.Getgid()); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), beStub+"="+fifo)
	cmd.Stderr = os.Stderr
	begin(t, cmd)
	for end := time.Now().Add(10 * time.Second); ; {
		fd, err := d.OpenFIFO(unix.O_WRONLY | unix.O_NONBLOCK)
		if err == nil {
			unix.Close(fd)
			break
		}
		if !errors.Is(err, unix.ENXIO) || time.Now().After(end) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	if err := d.Lock(); err != nil {
		t.Fatal(err)
	}
	defer d.Unlock()
	st, err := d.Load()
	if err != nil {
		t.Fatal(err)
	}
	who := identify(t, cmd.Process.Pid)
	st.PID, st.Start = who.PID, who.Start
	if err := d.Write(st); err != nil {
		t.Fatal(err)
	}
	return d, cmd
}

// testCgroup makes a cgroup of version 2 of the test's own.
func testCgroup(t *testing.T) string {
	t.Helper()
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var st unix.Statfs_t
		if err := unix.Statfs(mount, &st); err != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
			continue
		}
		dir := fmt.Sprintf("%s/tongs-test-%d", mount, os.Getpid())
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Skipf("cannot make a cgroup: %v", err)
		}
		t.Cleanup(func() { os.Remove(dir) })
		return dir
	}
	t.Skip("no cgroup v2 here")
	return ""
}

func enter(t *testing.T, dir string, pid int) {
	t.Helper()
	if err := os.WriteFile(dir+"/cgroup.procs", fmt.Append(nil, pid), 0); err != nil {
		t.Fatal(err)
	}
}

func wantStatus(t *testing.T, s *state.Store, id string, want Status) {
	t.Helper()
	info, err := Query(s, id)
	if err != nil {
		t.Errorf("%s: %v", id, err)
	} else if info.Status != want {
		t.Errorf("%s: status is %s, want %s", id, info.Status, want)
	}
}

func wantError(t *testing.T, what string, err error, want string) {
	t.Helper()
	got := "no error"
	if err != nil {
		got = err.Error()
	}
	if want == "" {
		want = "no error"
	}
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func wantGone(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%q is still there (%v)", path, err)
	}
}

func noWarning(t *testing.T) func(string) {
	return func(msg string) { t.Errorf("unexpected warning: %s", msg) }
}
