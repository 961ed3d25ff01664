package criu

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func itoa(n int) string { return strconv.Itoa(n) }

// The real program, of which only the answers that need no kernel are asked for.
func TestRealVersion(t *testing.T) {
	program, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(program)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for range 2 { // the connection stays
		if err := p.RequireVersion(); err != nil {
			t.Error(p.Explain(err))
		}
	}
	r, err := p.ask(&request{kind: version})
	if err != nil || r.version.Major < 3 {
		t.Errorf("version %v: %v", r, err)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/criu", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, path := range []string{"", "/nonexistent", dir, ".", ":"} { // not executable; not absolute
		t.Setenv("PATH", path)
		if path != dir {
			if err := os.Chmod(dir+"/criu", 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := Find(); !errors.Is(err, ErrMissing) {
			t.Errorf("PATH=%s: %q, %v", path, got, err)
		}
		if err := os.Chmod(dir+"/criu", 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir+"/criu", 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", "/nonexistent:"+dir)
	if got, err := Find(); got != dir+"/criu" {
		t.Errorf("%q, %v", got, err)
	}
}

// server plays CRIU: it gives answers in turn, and keeps what it was asked.
type server struct {
	s    *Session
	fd   int
	done chan [][]byte
}

// answer is a message with a descriptor, or without if that is -1.
type answer struct {
	data []byte
	fd   int
}

func serve(t *testing.T, answers ...answer) *server {
	t.Helper()
	s, fd, err := NewPair()
	if err != nil {
		t.Fatal(err)
	}
	v := &server{s: s, fd: fd, done: make(chan [][]byte, 1)}
	t.Cleanup(s.Close)
	go func() {
		var asked [][]byte
		for i := 0; ; i++ {
			buf := make([]byte, 1<<16)
			n, err := unix.Read(fd, buf)
			if err != nil || n <= 0 {
				break
			}
			asked = append(asked, buf[:n])
			if i >= len(answers) {
				break
			}
			var control []byte
			if answers[i].fd >= 0 {
				control = unix.UnixRights(answers[i].fd)
			}
			if err := unix.Sendmsg(fd, answers[i].data, control, nil, 0); err != nil {
				break
			}
		}
		unix.Close(fd)
		v.done <- asked
	}()
	return v
}

func notify(script string, pid int) answer {
	var e encoder
	e.int(1, int64(notification))
	e.int(2, 1)
	e.message(5, func(e *encoder) {
		e.string(1, script)
		e.int(2, int64(pid))
	})
	return answer{e.buf, -1}
}

func result(kind Kind, success bool, more func(*encoder)) answer {
	var e encoder
	e.int(1, int64(kind))
	e.int(2, boolInt(success))
	if more != nil {
		more(&e)
	}
	return answer{e.buf, -1}
}

func TestDo(t *testing.T) {
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	terminal := notify("orphan-pts-master", 0)
	terminal.fd = int(null.Fd())
	restored := result(Restore, true, func(e *encoder) { e.message(4, func(e *encoder) { e.int(1, 4321) }) })
	v := serve(t, notify("setup-namespaces", 77), terminal, notify("post-restore", 4321), restored)
	var heard []string
	pid, err := v.s.Do(Restore, &Options{WorkDir: -1}, func(n Notice) error {
		heard = append(heard, n.Script+" "+itoa(n.PID))
		if (n.FD >= 0) != (n.Script == "orphan-pts-master") {
			t.Errorf("%s comes with descriptor %d", n.Script, n.FD)
		}
		if n.FD >= 0 {
			var st unix.Stat_t
			if err := unix.Fstat(n.FD, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
				t.Errorf("it is %o: %v", st.Mode, err)
			}
			unix.Close(n.FD)
		}
		return nil
	})
	if err != nil || pid != 4321 || strings.Join(heard, ", ") != "setup-namespaces 77, orphan-pts-master 0, post-restore 4321" {
		t.Errorf("process %d, heard %q: %v", pid, heard, err)
	}
	v.s.Close()
	asked := <-v.done
	if len(asked) != 4 || string(asked[1]) != "\x08\x06\x18\x01" {
		t.Errorf("it was asked %d times, and answered %x", len(asked), asked[1])
	}
}

// An error of ours is told to CRIU, which then says that it has failed.
func TestDoRefused(t *testing.T) {
	mine := errors.New("mine")
	v := serve(t, notify("post-restore", 1), notify("network-unlock", 0), result(Restore, false, nil))
	_, err := v.s.Do(Restore, &Options{}, func(n Notice) error {
		if n.Script == "post-restore" {
			return mine
		}
		return nil
	})
	if err != mine {
		t.Errorf("the error is %v", err)
	}
	v.s.Close()
	asked := <-v.done
	for i, data := range asked[1:] {
		if string(data) != "\x08\x06\x18\x00" {
			t.Errorf("answer %d is %x", i, data)
		}
	}
}

func TestDoFails(t *testing.T) {
	for want, answers := range map[string][]answer{
		"criu dump failed: operation not permitted":     {result(Dump, false, func(e *encoder) { e.int(7, 1) })},
		"criu dump failed":                              {result(Dump, false, nil)},
		"criu dump: it has answered something else (2)": {result(Restore, true, nil)},
		"criu dump: the message is damaged":             {{[]byte{0xff}, -1}},
		"criu dump: it ended without an answer":         {},
	} {
		v := serve(t, answers...)
		if _, err := v.s.Do(Dump, &Options{}, func(Notice) error { return nil }); err == nil || err.Error() != want {
			t.Errorf("the error is %v, want %q", err, want)
		}
		v.s.Close()
		<-v.done
	}
}

func TestRequire(t *testing.T) {
	v := serve(t, result(version, true, func(e *encoder) { e.message(10, func(e *encoder) { e.int(1, 3); e.int(2, 15) }) }),
		result(featureCheck, true, func(e *encoder) { e.message(8, func(e *encoder) { e.int(1, 1); e.int(2, 0) }) }),
		result(featureCheck, true, func(e *encoder) { e.message(8, func(e *encoder) { e.int(1, 1); e.int(2, 0) }) }),
		result(featureCheck, false, nil))
	if err := v.s.RequireVersion(); err == nil || err.Error() != "criu 3.15.0 is too old: 3.16.0 or later is needed" {
		t.Error(err)
	}
	if err := v.s.RequireFeature(MemoryTracking); err != nil {
		t.Error(err)
	}
	if err := v.s.RequireFeature(LazyPages); err == nil || !strings.Contains(err.Error(), "lacks lazy pages") {
		t.Error(err)
	}
	if err := v.s.RequireFeature(LazyPages); err == nil || !strings.Contains(err.Error(), "feature check failed") {
		t.Error(err)
	}
	v.s.Close()
	<-v.done
}
