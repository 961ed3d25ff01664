package lifecycle

import (
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tongs/internal/linuxtest"
)

// pipes gives a command's standard streams as pipes: what is written to in comes
// to it, and out gives what it writes.
func pipes(t *testing.T) (stdin, in, stdout, out *os.File) {
	t.Helper()
	stdin, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, stdout, err = os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, f := range []*os.File{stdin, in, stdout, out} {
			f.Close()
		}
	})
	return stdin, in, stdout, out
}

// Without a terminal the container has the caller's pipes: much goes through
// them, and their end comes through.
func TestForegroundPipes(t *testing.T) {
	h := linuxtest.One(t)
	const size = 20 << 20
	data := bytes.Repeat([]byte("0123456789abcde\n"), size/16)
	for _, o := range []*linuxtest.Host{h, h.With("runc")} {
		stdin, in, stdout, out := pipes(t)
		run := o.Start(linuxtest.Command{Args: []string{"run", "--bundle", h.Bundle(linuxtest.Args("/bin/cat")), o.ID("a")}, Stdin: stdin, Out: stdout})
		stdin.Close()
		stdout.Close()
		go func() {
			in.Write(data) // what is lost is missed below
			in.Close()
		}()
		sum := sha256.New()
		n, err := io.Copy(sum, out)
		if r := run.Wait(); err != nil || n != size || r.Status != 0 {
			t.Errorf("%d bytes have come, want %d; status %d; %v", n, size, r.Status, err)
		}
		if want := sha256.Sum256(data); !bytes.Equal(sum.Sum(nil), want[:]) {
			t.Error("other bytes have come")
		}
	}
}

// A program that ends before its input does is not waited for in vain, nor one
// whose output nobody reads.
func TestForegroundPipesClosed(t *testing.T) {
	h := linuxtest.One(t)
	stdin, _, stdout, out := pipes(t) // the input stays open
	run := h.Start(linuxtest.Command{Args: []string{"run", "--bundle", h.Bundle(linuxtest.Shell("read x; exit 4")), h.ID("a")}, Stdin: stdin, Out: stdout})
	run2 := h.Start(linuxtest.Command{Args: []string{"run", "--bundle", h.Bundle(linuxtest.Args("/bin/true")), h.ID("b")}, Stdin: stdin, Out: stdout})
	if r := run2.Wait(); r.Status != 0 {
		t.Errorf("input that goes on: status %d", r.Status)
	}
	h.WaitFor(h.ID("a"), "running")
	h.Must("kill", h.ID("a"), "KILL")
	if r := run.Wait(); r.Status != 137 {
		t.Errorf("status %d", r.Status)
	}
	out.Close()
	script := "while echo x; do :; done; exit 5"
	run = h.Start(linuxtest.Command{Args: []string{"run", "--bundle", h.Bundle(linuxtest.Shell("trap '' PIPE; " + script)), h.ID("c")}, Stdin: stdin, Out: stdout})
	if r := run.Wait(); r.Status != 5 {
		t.Errorf("output without a reader: status %d, want 5", r.Status)
	}
}

// Streams that the caller has closed are the null device.
func TestClosedStreams(t *testing.T) {
	h := linuxtest.One(t)
	runc := h.With("runc")
	file := filepath.Join(h.Dir, "report")
	for name, c := range map[string]struct{ redirect, closed string }{
		"input":     {"<&- >" + file, "0"},
		"all but 2": {"<&- >&- 2>" + file, "0 1"},
		"all but 1": {"<&- 2>&- >" + file, "0 2"},
	} {
		for _, o := range []*linuxtest.Host{h, runc} {
			script := filepath.Join(h.Dir, "script")
			if err := os.WriteFile(script, []byte("#!/bin/sh\nexec "+o.Argv()[0]+" \"$@\" "+c.redirect+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			to := "1"
			if strings.Contains(c.closed, "1") {
				to = "2"
			}
			look := linuxtest.Shell("x=$(for i in " + c.closed + "; do ls -l /proc/$$/fd/$i; done); echo \"$x\" >&" + to)
			r := h.With(script).Exec(linuxtest.Command{Args: []string{"run", "--bundle", h.Bundle(look), o.ID("a")}})
			if r.Status != 0 {
				t.Errorf("%s: %+v", name, r)
			}
			got, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(got), " -> /dev/null\n"); o == h && n != len(strings.Fields(c.closed)) {
				t.Errorf("%s: the closed streams are %q", name, got)
			}
		}
	}
}
