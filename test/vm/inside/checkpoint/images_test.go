package checkpoint

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tongs/internal/cgroup"
	"tongs/internal/linuxtest"
)

// A chain of memory images, each of which has only what has changed, and the rest
// in the one before.
func TestPreDumps(t *testing.T) {
	h := linuxtest.One(t)
	h.Sub(t, "plain", func(t *testing.T, h *linuxtest.Host) { testPreDumps(t, newBox(t, h)) })
	h.Sub(t, "user namespace", func(t *testing.T, h *linuxtest.Host) { testPreDumps(t, newUserBox(t, h)) })
}

func testPreDumps(t *testing.T, b *box) {
	b.run()
	n := b.passes(20)
	for range 2 { // the second of a container that was restored
		dir := filepath.Join(b.h.Dir, "chain")
		b.must("checkpoint", "--pre-dump", "--image-path", dir+"/1", b.id)
		n = b.passes(n)
		b.must("checkpoint", "--pre-dump", "--image-path", dir+"/2", "--parent-path", "../1", b.id)
		n = b.passes(n)
		if target, err := os.Readlink(dir + "/2/parent"); target != "../1" {
			t.Errorf("the parent is %q: %v", target, err)
		}
		b.images = dir + "/3"
		b.must("checkpoint", "--image-path", b.images, "--parent-path", "../2", b.id)
		n = b.count()
		b.restore()
		n = b.passes(n)
		b.works()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, wrong := range []struct{ parent, want string }{
		{"/tmp", "--parent-path must be relative"},
		{"../missing", "invalid --parent-path: "},
	} {
		status, log := b.detached("checkpoint", "--image-path", b.h.Dir+"/x", "--parent-path", wrong.parent, b.id)
		if status != 1 || !strings.Contains(log, wrong.want) {
			t.Errorf("--parent-path %s: status %d: %s", wrong.parent, status, log)
		}
	}
	b.passes(n)
	b.ends()
}

// Memory stays with the page server until it is needed: that is the CRIU which
// has made the checkpoint. It goes on from one container to the next.
func TestLazyPages(t *testing.T) {
	b := newBox(t, linuxtest.One(t))
	b.run()
	for _, name := range []string{"-2", "-3"} {
		next := *b
		next.id += name
		t.Cleanup(func() { b.h.Run("delete", "--force", next.id) })
		b.moveLazily(&next)
		b = &next
	}
	b.works()
	b.ends()
}

// moveLazily restores the container as another, while it is still there, stopped,
// with its memory.
func (b *box) moveLazily(next *box) {
	t := b.t
	t.Helper()
	saved := b.passes(20)
	b.newImages()
	next.images = b.images
	ready, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	const port = "27277"
	dump := b.h.Start(linuxtest.Command{Files: []*os.File{theirs}, Args: []string{"checkpoint", "--lazy-pages", "--page-server", "127.0.0.1:" + port,
		"--status-fd", "3", "--image-path", b.images, b.id}})
	theirs.Close()
	if zero, err := bufio.NewReader(ready).ReadByte(); err != nil || zero != 0 {
		t.Fatalf("--status-fd got %d: %v: %s", zero, err, dump.Wait().Stderr)
	}
	work, err := os.MkdirTemp(b.h.Dir, "work-")
	if err != nil {
		t.Fatal(err)
	}
	pages := exec.Command("criu", "lazy-pages", "--page-server", "--address", "127.0.0.1", "--port", port, "-D", b.images, "-W", work)
	if err := pages.Start(); err != nil {
		t.Fatal(err)
	}
	linuxtest.Until(func() bool { _, err := os.Stat(work + "/lazy-pages.socket"); return err == nil })
	b.forget()
	next.restore("--lazy-pages", "--work-path", work)
	next.passes(saved)
	if r := dump.Wait(); r.Status != 0 {
		t.Errorf("checkpoint: status %d: %s", r.Status, r.Stderr)
	}
	if err := pages.Wait(); err != nil {
		t.Errorf("criu lazy-pages: %v", err)
	}
	if st, ok := b.h.State(b.id); ok {
		t.Errorf("the container is still there: %s", st.Status)
	}
}

// The images are the same, whoever makes or reads them.
func TestExchangeWithRunc(t *testing.T) {
	h := linuxtest.One(t)
	again := cgroup.KeepOptions() // which runc does not
	t.Cleanup(func() {
		if err := again(); err != nil {
			t.Error(err)
		}
	})
	tongs := newBox(t, h, linuxtest.Mount("/bound", "bind", sourceDir(t, h, "s"), "bind", "ro"), linuxtest.Mount("/memory", "tmpfs", "tmpfs"))
	runc := tongs.with(h.With("runc"))
	runc.run()
	n := runc.passes(20)
	for range 2 {
		runc.checkpoint()
		tongs.images = runc.images
		n = tongs.count()
		tongs.forget()
		tongs.restore()
		n = tongs.passes(n)
		tongs.works()
		if got := tongs.exec("/bin/cat", "/bound/s"); got != "s" {
			t.Errorf("a bind mount of runc's has %q", got)
		}
		tongs.checkpoint()
		runc.images = tongs.images
		n = runc.count()
		runc.forget()
		runc.restore()
		n = runc.passes(n)
		if got := runc.exec("/bin/cat", "/bound/s"); got != "s" {
			t.Errorf("a bind mount of tongs' has %q", got)
		}
	}
	runc.ends()
}

func TestLeaveRunning(t *testing.T) {
	b := newBox(t, linuxtest.One(t))
	b.run()
	n := b.passes(20)
	b.newImages()
	b.must("checkpoint", "--leave-running", "--image-path", b.images, "--work-path", b.h.Dir+"/new/logs", b.id)
	b.passes(n)
	if _, err := os.Stat(b.h.Dir + "/new/logs/dump.log"); err != nil {
		t.Error(err)
	}
	b.works()
	b.ends()
	b.restore() // as often as one likes
	b.ends()
	b.restore("--work-path", b.h.Dir+"/new/logs")
	b.works()
	// Without a path.
	for _, args := range [][]string{{"checkpoint", b.id}, {"restore", "-d", "--no-pivot", "--no-subreaper", "-b", b.bundle, b.id}} {
		if r := b.h.Exec(linuxtest.Command{Args: args, Dir: b.h.Dir, Out: null(t)}); r.Status != 0 {
			t.Errorf("%q: status %d", args, r.Status)
		}
	}
	if _, err := os.Stat(b.h.Dir + "/checkpoint/inventory.img"); err != nil {
		t.Error(err)
	}
	b.works()
	b.ends()
}
