package checkpoint

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

// refuses checks that CRIU does not save the container without an option, in
// these words, and that the container goes on.
func (b *box) refuses(want string, flags ...string) {
	b.t.Helper()
	b.newImages()
	status, log := b.detached(append(append([]string{"checkpoint", "--image-path", b.images}, flags...), b.id)...)
	if status != 1 || !strings.Contains(log, "dump.log ends with: Error (") || !strings.Contains(log, want) {
		b.t.Errorf("checkpoint %q: status %d, want %q: %s", flags, status, want, log)
	}
	b.goesOn()
}

// A lock that a program of the container holds is held by the restored one.
func TestFileLocks(t *testing.T) {
	b := newTalker(t, linuxtest.One(t), []string{"lock", "/tmp/lock"})
	lock := func() error {
		f, err := os.Open(filepath.Join(b.bundle, "rootfs/tmp/lock"))
		if err == nil {
			defer f.Close()
			err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		}
		return err
	}
	b.run()
	b.passes(20)
	b.refuses("--file-locks")
	b.roundTrips([]string{"--file-locks"}, func() {
		if err := lock(); err != syscall.EWOULDBLOCK {
			t.Errorf("locking what is locked: %v", err)
		}
	})
	b.ends()
	if err := lock(); err != nil {
		t.Errorf("the lock of a container that is gone: %v", err)
	}
}

// A file that is open under a name which is gone, while it has another.
func TestLinkRemap(t *testing.T) {
	b := newBox(t, linuxtest.One(t), linuxtest.Shell("exec 9>/tmp/old; ln /tmp/old /tmp/other; rm /tmp/old; echo begun >&9; "+
		strings.Replace(counter, "sleep", "echo $n >&9; sleep", 1)))
	b.run()
	b.passes(20)
	b.refuses("link-remap")
	b.trips([]string{"--link-remap"}, nil, func() {
		if got := b.exec("/bin/busybox", "head", "-n1", "/tmp/other"); got != "begun" {
			t.Errorf("the file begins with %q", got)
		}
		size := b.exec("/bin/busybox", "stat", "-c", "%s", "/tmp/other")
		if !linuxtest.Until(func() bool { return b.exec("/bin/busybox", "stat", "-c", "%s", "/tmp/other") != size }) {
			t.Error("nothing more is written to the file")
		}
	})
	b.ends()
}

// A socket outside, to which the restored program is connected again. CRIU finds
// it only in the network namespace of the container, and connects it by the name
// that it has outside.
func TestUnixSocketOutside(t *testing.T) {
	h := linuxtest.One(t)
	dir := filepath.Join(h.Dir, "outside")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir + "/socket", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go drain(l)
	b := newTalker(t, h, []string{"to", dir + "/socket"}, linuxtest.Mount(dir, "bind", dir, "bind"), linuxtest.WithoutNamespace(specs.NetworkNamespace))
	b.run()
	b.passes(20)
	b.refuses("--ext-unix-sk")
	b.roundTrips([]string{"--ext-unix-sk"}, func() {})
	b.ends()
}

// drain reads what comes, until the socket is closed.
func drain(l *net.UnixConn) {
	buf := make([]byte, 100)
	for {
		if _, err := l.Read(buf); errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

// newTalker is a box with the program of talk.
func newTalker(t *testing.T, h *linuxtest.Host, args []string, edits ...linuxtest.Edit) *box {
	t.Helper()
	b := newBox(t, h, append(edits, linuxtest.Args(append([]string{"/bin/talk", "/tmp/n"}, args...)...))...)
	if err := linuxtest.Program(filepath.Join(b.bundle, "rootfs/bin/talk"), "test/vm/inside/checkpoint/talk"); err != nil {
		t.Fatal(err)
	}
	return b
}

// A connection that the container has not accepted yet is left out.
func TestSkipInFlight(t *testing.T) {
	const address = "127.0.0.1:27278"
	b := newTalker(t, linuxtest.One(t), []string{"at", address}, linuxtest.WithoutNamespace(specs.NetworkNamespace))
	b.run()
	b.passes(20)
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b.refuses("In-flight connection", "--tcp-established")
	b.checkpoint("--tcp-established", "--tcp-skip-in-flight")
	n := b.count()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection that was left out: %v", err)
	}
	b.restore("--tcp-established")
	b.passes(n)
	again, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatalf("connecting after the restore: %v", err)
	}
	again.Close()
	b.works()
	b.ends()
}

// A terminal of the caller's, which CRIU takes if the container can see its file
// system, and gives back from the standard input of restore. (It cannot save that a
// second time, since the terminal is then the host's.)
func TestShellJob(t *testing.T) {
	h := linuxtest.One(t)
	master, side := h.Terminal()
	terminal := "/terminals/" + filepath.Base(side.Name())
	const loop = `exec <%[1]s >%[1]s 2>&1; stty -echo; n=0; while read line; do n=$((n+1)); echo "$n $line"; done`
	b := newBox(t, h, linuxtest.Shell(fmt.Sprintf(loop, terminal)), linuxtest.Mount("/terminals", "bind", "/dev/pts", "bind"))
	start := func(args ...string) {
		t.Helper()
		file := filepath.Join(h.Dir, "log")
		r := h.Exec(linuxtest.Command{Args: append([]string{"--log", file}, args...), Stdin: side, Out: side})
		if r.Status != 0 {
			data, _ := os.ReadFile(file)
			t.Fatalf("%q: status %d: %s\n%s", args, r.Status, data, b.criuLog())
		}
	}
	ask := func(want int) {
		t.Helper()
		if _, err := master.WriteString("ping\n"); err != nil {
			t.Fatal(err)
		}
		linuxtest.ReadUntil(t, master, strconv.Itoa(want)+" ping\r\n")
	}
	const alone = "Found slave peer index "
	start("run", "-d", "-b", b.bundle, b.id)
	ask(1)
	b.newImages()
	b.fails(nil, alone, "checkpoint", "--image-path", b.images, b.id)
	ask(2)
	b.checkpoint("--shell-job")
	b.fails(nil, alone, "restore", "-d", "-b", b.bundle, "--image-path", b.images, b.id)
	b.nothingLeft()
	start("restore", "-d", "--shell-job", "-b", b.bundle, "--image-path", b.images, b.id)
	ask(3)
	b.works()
	b.ends()
}

// blocks is how much of the pages of images is on the disk.
func blocks(t *testing.T, images string) (n int64) {
	t.Helper()
	files, err := filepath.Glob(images + "/pages-*.img")
	if err != nil || len(files) == 0 {
		t.Fatalf("no pages in %s: %v", images, err)
	}
	for _, f := range files {
		var st syscall.Stat_t
		if err := syscall.Stat(f, &st); err != nil {
			t.Fatal(err)
		}
		n += st.Blocks
	}
	return n
}

// Pages that a later image of a chain has are taken out of the earlier ones; a
// restore takes out what it has read.
func TestAutoDedup(t *testing.T) {
	b := newBox(t, linuxtest.One(t))
	b.run()
	n := b.passes(20)
	for _, dedup := range []bool{false, true} {
		var flags []string
		if dedup {
			flags = []string{"--auto-dedup"}
		}
		dir, err := os.MkdirTemp(b.h.Dir, "chain-")
		if err != nil {
			t.Fatal(err)
		}
		b.must(append(append([]string{"checkpoint", "--pre-dump", "--image-path", dir + "/1"}, flags...), b.id)...)
		before := blocks(t, dir+"/1")
		n = b.passes(n)
		b.images = dir + "/2"
		b.must(append(append([]string{"checkpoint", "--image-path", b.images, "--parent-path", "../1"}, flags...), b.id)...)
		if after := blocks(t, dir+"/1"); (after < before) != dedup {
			t.Errorf("%q: the first image of a chain had %d blocks, and has %d", flags, before, after)
		}
		before = blocks(t, dir+"/2")
		n = b.count()
		b.restore(flags...)
		n = b.passes(n)
		if after := blocks(t, dir+"/2"); (after < before) != dedup {
			t.Errorf("%q: the restored image had %d blocks, and has %d", flags, before, after)
		}
		b.works()
	}
	b.ends()
}

// Further options of CRIU's are in the file that the annotation names.
func TestConfigFile(t *testing.T) {
	h := linuxtest.One(t)
	file := filepath.Join(h.Dir, "criu.conf")
	b := newBox(t, h, func(s *specs.Spec) { s.Annotations = map[string]string{"org.criu.config": file} })
	write(t, file, "log-file=mine.log\n")
	b.run()
	n := b.passes(20)
	b.checkpoint()
	if _, err := os.Stat(b.images + "/mine.log"); err != nil {
		t.Errorf("the log is not where the file says: %v", err)
	}
	write(t, file, "log-file=mine-too.log\n")
	b.restore()
	b.passes(n)
	if _, err := os.Stat(b.images + "/mine-too.log"); err != nil {
		t.Errorf("the log is not where the file says: %v", err)
	}
	b.works()
	b.ends()
}

// Memory goes to a server, which has written all of it when the container is gone.
func TestPageServer(t *testing.T) {
	b := newBox(t, linuxtest.One(t))
	b.run()
	b.passes(20)
	b.newImages()
	const port = "27279"
	server := exec.Command("criu", "page-server", "-D", b.images, "--port", port, "-o", b.h.Dir+"/server.log", "--daemon")
	if out, err := server.CombinedOutput(); err != nil {
		t.Fatalf("criu page-server: %v\n%s", err, out)
	}
	other := filepath.Join(b.h.Dir, "rest")
	b.must("checkpoint", "--page-server", "127.0.0.1:"+port, "--image-path", other, b.id)
	n := b.count()
	if pages, _ := filepath.Glob(other + "/pages-*.img"); len(pages) != 0 {
		t.Errorf("memory is here, too: %q", pages)
	}
	if out, err := exec.Command("cp", "-a", "-n", other+"/.", b.images).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
	b.forget()
	b.restore()
	b.passes(n)
	b.works()
	b.fails(nil, "Use --page-server ADDRESS:PORT", "checkpoint", "--page-server", "127.0.0.1", "--image-path", other, b.id)
	b.goesOn()
	b.ends()
}
