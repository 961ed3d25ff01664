package stepper

import (
	"testing"

	"golang.org/x/sys/unix"
)

// What the program has started stops, too, if that is asked for, and ends with it.
func TestRun(t *testing.T) {
	for _, children := range []bool{false, true} {
		own, others, refused := 0, 0, 0
		script := "cd /nowhere 2>/dev/null; /bin/true; "
		if children { // what is not followed is not ended either
			script += "/bin/sleep 1000 & "
		}
		c := Command{Argv: []string{"/bin/sh", "-c", script + "exit 3"}, Children: children}
		ws := Run(t, c, func(s *Stop) Verdict {
			if s.Own {
				own++
			} else {
				others++
			}
			if !s.Entry && s.Result == -int64(unix.ENOENT) {
				refused++
			}
			return Next
		})
		if ws.ExitStatus() != 3 {
			t.Errorf("the status is %d, signal %v", ws.ExitStatus(), ws.Signal())
		}
		if own == 0 || others > 0 != children || refused == 0 {
			t.Errorf("followed %v: %d stops of the program, %d of others, %d errors", children, own, others, refused)
		}
		if _, err := unix.Wait4(-1, nil, unix.WALL|unix.WNOHANG, nil); err != unix.ECHILD {
			t.Errorf("a process is left: %v", err)
		}
	}
}

func TestRunVerdicts(t *testing.T) {
	stops := 0
	count := func(v Verdict) func(*Stop) Verdict {
		return func(*Stop) Verdict { stops++; return v }
	}
	c := Command{Argv: []string{"/bin/sh", "-c", "/bin/true; exit 3"}, Children: true}
	if ws := Run(t, c, count(Free)); ws.ExitStatus() != 3 || stops != 1 {
		t.Errorf("free: status %d after %d stops", ws.ExitStatus(), stops)
	}
	stops = 0
	if ws := Run(t, c, count(Kill)); ws.Signal() != unix.SIGKILL || stops != 1 {
		t.Errorf("killed: signal %v after %d stops", ws.Signal(), stops)
	}
}
