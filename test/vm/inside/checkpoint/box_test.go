// Package checkpoint tests checkpoint and restore with CRIU, for which it needs
// the kernel of the virtual machine.
package checkpoint

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

func TestMain(m *testing.M) { linuxtest.MainVM(m) }

// counter is a program that counts in its memory and writes the number down. One
// that begins anew begins with 1.
const counter = `n=0; while :; do n=$((n+1)); echo $n >/tmp/new; mv /tmp/new /tmp/n; sleep 0.05; done`

// box is a container that counts, with its bundle and its images.
type box struct {
	t      *testing.T
	h      *linuxtest.Host
	bundle string
	id     string
	images string
}

// newBox makes the bundle of a counting container.
func newBox(t *testing.T, h *linuxtest.Host, edits ...linuxtest.Edit) *box {
	t.Helper()
	edits = append([]linuxtest.Edit{linuxtest.Shell(counter), writable}, edits...)
	b := &box{t: t, h: h, bundle: h.Bundle(edits...), id: h.ID("box"), images: filepath.Join(h.Dir, "images")}
	t.Cleanup(func() { h.Run("delete", "--force", b.id) })
	return b
}

func writable(s *specs.Spec) { s.Root.Readonly = false }

// with is the same container for another runtime.
func (b *box) with(h *linuxtest.Host) *box {
	o := *b
	o.h = h
	b.t.Cleanup(func() { h.Run("delete", "--force", b.id) })
	return &o
}

func null(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// detached runs a command whose container must not have our files as its streams:
// they lie outside of it. What it says is in its log.
func (b *box) detached(args ...string) (status int, log string) {
	b.t.Helper()
	file := filepath.Join(b.h.Dir, "log")
	os.Remove(file) // of the command before
	r := b.h.Exec(linuxtest.Command{Args: append([]string{"--log", file}, args...), Out: null(b.t)})
	data, _ := os.ReadFile(file) // there is none if nothing was said
	return r.Status, string(data)
}

func (b *box) must(args ...string) {
	b.t.Helper()
	if status, log := b.detached(args...); status != 0 {
		b.t.Fatalf("%q: status %d\n%s\n%s", args, status, log, b.criuLog())
	}
}

// criuLog is the end of what CRIU has written.
func (b *box) criuLog() string {
	text := ""
	for _, name := range []string{"dump.log", "restore.log"} {
		data, err := os.ReadFile(filepath.Join(b.images, name))
		if err == nil {
			lines := strings.Split(string(data), "\n")
			text += name + ":\n" + strings.Join(lines[max(0, len(lines)-25):], "\n")
		}
	}
	return text
}

func (b *box) run() {
	b.t.Helper()
	b.must("run", "-d", "-b", b.bundle, b.id)
}

// checkpoint saves the container to new images, and makes sure that it is gone.
func (b *box) checkpoint(flags ...string) {
	b.t.Helper()
	b.newImages()
	b.must(append(append([]string{"checkpoint", "--image-path", b.images}, flags...), b.id)...)
	if st, ok := b.h.State(b.id); ok {
		b.t.Fatalf("the container is still there: %s", st.Status)
	}
}

func (b *box) newImages() {
	b.t.Helper()
	images, err := os.MkdirTemp(b.h.Dir, "images-")
	if err != nil {
		b.t.Fatal(err)
	}
	b.images = images
}

func (b *box) restore(flags ...string) {
	b.t.Helper()
	b.must(append(append([]string{"restore", "-d", "-b", b.bundle, "--image-path", b.images}, flags...), b.id)...)
}

// count is the number that the container has come to.
func (b *box) count() int {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(b.bundle, "rootfs/tmp/n"))
	if os.IsNotExist(err) {
		return 0
	}
	n, errNumber := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || errNumber != nil {
		b.t.Fatalf("cannot read the number: %v %v", err, errNumber)
	}
	return n
}

// passes waits until the container has counted on from there, and gives where it
// is then. It must not have begun anew.
func (b *box) passes(from int) int {
	b.t.Helper()
	n := 0
	if !linuxtest.Until(func() bool { n = b.count(); return n > from }) {
		b.t.Fatalf("it counts no more: it is at %d, and was at %d; %v", n, from, b.h.Run("state", b.id).Stdout)
	}
	if from > 0 && n > from+2000 {
		b.t.Fatalf("the number went from %d to %d", from, n)
	}
	return n
}

// roundTrips saves and restores the container twice; check looks at it each time.
func (b *box) roundTrips(flags []string, check func()) {
	b.t.Helper()
	b.trips(flags, flags, check)
}

// trips is roundTrips with other flags for either direction.
func (b *box) trips(save, load []string, check func()) {
	b.t.Helper()
	n := b.passes(20) // a number that one that begins anew does not have soon
	check()
	for range 2 {
		b.checkpoint(save...)
		saved := b.count()
		if saved < n {
			b.t.Fatalf("it was saved at %d, after %d", saved, n)
		}
		b.forget()
		b.restore(load...)
		n = b.passes(saved)
		b.works()
		check()
	}
}

// forget removes the number, so that what is read later was written later.
func (b *box) forget() {
	if err := os.Remove(filepath.Join(b.bundle, "rootfs/tmp/n")); err != nil {
		b.t.Fatal(err)
	}
}

// exec gives what a command in the container prints.
func (b *box) exec(args ...string) string {
	b.t.Helper()
	return strings.TrimSpace(b.h.Must(append([]string{"exec", b.id}, args...)...).Stdout)
}

// works checks that a restored container takes commands.
func (b *box) works() {
	b.t.Helper()
	if st := b.h.WaitFor(b.id, "running"); st.PID == 0 {
		b.t.Errorf("a running container without a process: %+v", st)
	}
	if got := b.exec("/bin/echo", "hello"); got != "hello" {
		b.t.Errorf("exec gives %q", got)
	}
	b.h.Must("pause", b.id)
	b.h.WaitFor(b.id, "paused")
	b.h.Must("resume", b.id)
	b.h.WaitFor(b.id, "running")
}

// ends ends the container by a signal, and deletes it.
func (b *box) ends() {
	b.t.Helper()
	b.h.Must("kill", b.id, "KILL")
	b.h.WaitFor(b.id, "stopped")
	b.h.Must("delete", b.id)
}

func itoa(n int) string { return strconv.Itoa(n) }
