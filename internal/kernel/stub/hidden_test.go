package stub

import (
	"os"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

const stranger = 1000 // uid and gid of a user without rights

// becomeStranger makes a stub that runs as the stranger.
func becomeStranger(t *testing.T, c Config) *Stub {
	t.Helper()
	s := launch(t, c)
	run(t, s, func(b *kernel.Batch) { b.Setgroups(nil).Setresgid(stranger).Setresuid(stranger) })
	return s
}

// owners returns the owners of the stub's files in /proc that show it.
func owners(t *testing.T, s *Stub) map[string]uint32 {
	t.Helper()
	m := map[string]uint32{}
	for _, name := range []string{"mem", "exe", "fd", "environ"} {
		var st unix.Stat_t
		if err := unix.Lstat("/proc/"+strconv.Itoa(s.PID)+"/"+name, &st); err != nil {
			t.Fatal(err)
		}
		m[name] = st.Uid
	}
	return m
}

// attempts returns what the stranger can do to the stub: the names of what
// worked.
func attempts(t *testing.T, s *Stub) []string {
	t.Helper()
	done := make(chan []string)
	go func() {
		// Ids and capabilities belong to the thread: this one ends with them.
		runtime.LockOSThread()
		var worked []string
		defer func() { done <- worked }()
		for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
			if _, _, e := unix.RawSyscall(call, stranger, stranger, stranger); e != 0 {
				t.Errorf("cannot become the stranger: %v", e)
				return
			}
		}
		for _, name := range []string{"mem", "exe", "environ", "maps", "fd"} {
			if fd, err := unix.Open("/proc/"+strconv.Itoa(s.PID)+"/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
				unix.Close(fd)
				worked = append(worked, name)
			}
		}
		if _, _, e := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(s.PID), 0, 0, 0, 0); e == 0 {
			worked = append(worked, "ptrace")
		}
		if fd, err := unix.PidfdGetfd(s.PidFD, 0, 0); err == nil {
			unix.Close(fd)
			worked = append(worked, "pidfd_getfd")
		}
	}()
	return <-done
}

func TestHidden(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs uid 0, to become another")
	}
	// The thread that becomes the stranger makes this process non-dumpable.
	t.Cleanup(func() { unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) })

	s := becomeStranger(t, Config{})
	for name, uid := range owners(t, s) {
		if uid != 0 {
			t.Errorf("%s is owned by %d", name, uid)
		}
	}
	if worked := attempts(t, s); len(worked) > 0 {
		t.Errorf("the stranger can use %v of its own stub", worked)
	}

	// The other way round, to show that the above can fail.
	s = becomeStranger(t, Config{Dumpable: true})
	for name, uid := range owners(t, s) {
		if uid != stranger {
			t.Errorf("dumpable: %s is owned by %d", name, uid)
		}
	}
	if worked := attempts(t, s); len(worked) != 7 {
		t.Errorf("dumpable: the stranger can only use %v", worked)
	}
	s.Hide()
	run(t, s, func(b *kernel.Batch) { b.Umask(0) })
	for name, uid := range owners(t, s) {
		if uid != 0 {
			t.Errorf("hidden: %s is owned by %d", name, uid)
		}
	}
	if worked := attempts(t, s); len(worked) > 0 {
		t.Errorf("hidden: the stranger can use %v", worked)
	}
}

// The first call hides: as soon as the stub has said that it is ready, and
// before any batch.
func TestHiddenFromTheFirstCall(t *testing.T) {
	s := launch(t, Config{})
	if s.ring.result(hideRecord) != 0 {
		if ready, err := poll(s.line, deadline()); !ready || err != nil {
			t.Fatalf("the stub does not become ready: %v", err)
		}
	}
	if n := s.ring.result(hideRecord); n != 0 {
		t.Errorf("the stub is ready, and the result of its first call is %d", n)
	}
	if nr := *s.ring.word(0); nr != unix.SYS_PRCTL+1 {
		t.Errorf("the first call is %d, want prctl", nr-1)
	}
}
