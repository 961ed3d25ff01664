package checkpoint

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

func TestCounter(t *testing.T) {
	b := newBox(t, linuxtest.One(t))
	b.run()
	b.roundTrips(nil, func() {
		if got := b.exec("/bin/hostname"); got != "e2e" {
			t.Errorf("the host name is %q", got)
		}
		if got := b.exec("/bin/sh", "-c", "wc -c </proc/keys"); got != "0" { // masked
			t.Errorf("/proc/keys has %s bytes", got)
		}
	})
	b.h.Must("update", "--pids-limit", "77", b.id)
	if got := b.exec("/bin/sh", "-c", "cat /sys/fs/cgroup/pids.max || cat /sys/fs/cgroup/pids/pids.max"); got != "77" {
		t.Errorf("the limit is %q", got)
	}
	b.ends()
}

// newUserBox is a box with a user namespace.
func newUserBox(t *testing.T, h *linuxtest.Host) *box {
	t.Helper()
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 1000}}
	b := newBox(t, h, linuxtest.Namespace(specs.UserNamespace, ""), func(s *specs.Spec) {
		s.Linux.UIDMappings, s.Linux.GIDMappings = ids, ids
	})
	own(t, filepath.Join(b.bundle, "rootfs"), 100000)
	return b
}

func TestUserNamespace(t *testing.T) {
	b := newUserBox(t, linuxtest.One(t))
	b.run()
	b.roundTrips(nil, func() {
		if got := strings.Fields(b.exec("/bin/cat", "/proc/1/uid_map")); strings.Join(got, " ") != "0 100000 1000" {
			t.Errorf("the mapping is %q", got)
		}
		b.exec("/bin/sh", "-c", "echo >/dev/null")
	})
	b.fails(nil, "--auto-dedup: criu can only read", "restore", "-d", "--auto-dedup", "-b", b.bundle, "--image-path", b.images, b.id)
	b.ends()
}

// own gives a tree to a user.
func own(t *testing.T, dir string, id int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err == nil && !strings.HasPrefix(path, filepath.Join(dir, "bin")+"/") { // links to programs that others have, too
			err = os.Lchown(path, id, id)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A directory with a file of that name in it, whose content is the name.
func sourceDir(t *testing.T, h *linuxtest.Host, name string) string {
	t.Helper()
	dir := filepath.Join(h.Dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Mounts in mounts, on a root that has none of the mount points when it is
// restored.
func TestMounts(t *testing.T) {
	h := linuxtest.One(t)
	a, inner, deep, file := sourceDir(t, h, "a"), sourceDir(t, h, "b"), sourceDir(t, h, "c"), sourceDir(t, h, "d")+"/d"
	mounts := []linuxtest.Edit{
		linuxtest.Mount("/outer", "bind", a, "rbind", "rw"),
		linuxtest.Mount("/outer/inner", "bind", inner, "bind", "ro"),
		linuxtest.Mount("/memory", "tmpfs", "tmpfs", "size=1m", "mode=755"),
		linuxtest.Mount("/memory/deep/er", "bind", deep, "bind"),
		linuxtest.Mount("/some/file", "bind", file, "bind", "ro"),
		linuxtest.Mount("/by-link/here", "bind", deep, "bind"),
	}
	link := func(b *box) {
		if err := os.Symlink("/led/to", filepath.Join(b.bundle, "rootfs/by-link")); err != nil {
			t.Fatal(err)
		}
	}
	b := newBox(t, h, mounts...)
	link(b)
	b.run()
	b.exec("/bin/sh", "-c", "echo kept >/memory/kept; echo written >/outer/written")
	b.roundTrips(nil, func() {
		for path, want := range map[string]string{"/outer/a": "a", "/outer/inner/b": "b", "/memory/deep/er/c": "c", "/some/file": "d",
			"/memory/kept": "kept", "/outer/written": "written", "/led/to/here/c": "c", "/by-link/here/c": "c"} {
			if got := b.exec("/bin/cat", path); got != want {
				t.Errorf("%s has %q", path, got)
			}
		}
		if r := b.h.Run("exec", b.id, "/bin/touch", "/outer/inner/x"); r.Status == 0 || !strings.Contains(r.Stderr, "Read-only") {
			t.Errorf("a read-only mount can be written to: %s", r.Stderr)
		}
		b.exec("/bin/touch", "/outer/x", "/memory/x")
	})
	b.checkpoint()
	saved := b.count()
	fresh := newBox(t, h, mounts...)
	link(fresh)
	fresh.id, fresh.images = b.id, b.images
	if err := os.WriteFile(filepath.Join(fresh.bundle, "rootfs/tmp/n"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(a, "inner")); err != nil {
		t.Fatal(err)
	}
	fresh.forget()
	fresh.restore()
	fresh.passes(saved)
	if got := fresh.exec("/bin/cat", "/outer/inner/b", "/memory/deep/er/c", "/led/to/here/c", "/memory/kept"); got != "bcckept" {
		t.Errorf("on a new root: %q", got)
	}
	entries, err := os.ReadDir(filepath.Join(fresh.bundle, "rootfs/memory"))
	if err != nil || len(entries) != 0 {
		t.Errorf("the mount point of a tmpfs has %v: %v", entries, err)
	}
	fresh.ends()
}

func TestTCP(t *testing.T) {
	b := newTalker(t, linuxtest.One(t), nil)
	b.run()
	n := b.passes(20)
	b.newImages()
	status, log := b.detached("checkpoint", "--image-path", b.images, b.id)
	if status != 1 || !strings.Contains(log, "dump.log ends with: Error (") || !strings.Contains(log, "tcp") {
		t.Errorf("without --tcp-established: status %d: %s", status, log)
	}
	n = b.passes(n) // and it goes on
	b.roundTrips([]string{"--tcp-established"}, func() {})
	b.passes(n)
	b.ends()
}

func TestTerminal(t *testing.T) {
	h := linuxtest.One(t)
	b := newBox(t, h, linuxtest.Terminal, linuxtest.Shell("stty -echo; n=0; while read line; do n=$((n+1)); echo \"$n $line $(tty) $(test -t 0 && echo terminal)\"; done"))
	s := h.Listen("console")
	b.must("run", "-d", "-b", b.bundle, "--console-socket", s.Path, b.id)
	_, master := s.Receive()
	n := 0
	for trip := range 3 {
		for range 2 {
			n++
			if _, err := master.WriteString("ping\n"); err != nil {
				t.Fatal(err)
			}
			want := strconv.Itoa(n) + " ping /dev/pts/0 terminal"
			if got := readUntil(t, master, want); !strings.Contains(got, want) {
				t.Fatalf("trip %d: the terminal says %q, want %q", trip, got, want)
			}
		}
		if trip == 2 {
			break
		}
		b.checkpoint()
		master.Close()
		s := h.Listen("console" + strconv.Itoa(trip))
		b.restore("--console-socket", s.Path)
		var text string
		text, master = s.Receive()
		if text != "/dev/pts/0" {
			t.Errorf("the terminal came as %q", text)
		}
		b.works()
	}
	defer master.Close()
	b.ends()
}

// readUntil reads from a terminal until what was wanted has come, or for ten
// seconds.
func readUntil(t *testing.T, f *os.File, want string) string {
	t.Helper()
	parts := make(chan string)
	go func() {
		defer close(parts)
		buf := make([]byte, 4096)
		text := ""
		for !strings.Contains(text, want+"\r\n") {
			n, err := f.Read(buf)
			if err != nil {
				return
			}
			text += string(buf[:n])
			parts <- text
		}
	}()
	text := ""
	linuxtest.Until(func() bool {
		select {
		case more, ok := <-parts:
			text = max(text, more)
			return !ok
		default:
			return false
		}
	})
	return text
}

// What is mounted in the source of a recursive bind comes along.
func TestSubmounts(t *testing.T) {
	h := linuxtest.One(t)
	source := sourceDir(t, h, "source")
	for _, dir := range []string{"below", "memory"} {
		if err := os.Mkdir(filepath.Join(source, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mount(t, sourceDir(t, h, "other"), source+"/below", "", syscall.MS_BIND)
	mount(t, "tmpfs", source+"/memory", "tmpfs", 0)
	if err := os.WriteFile(source+"/memory/x", []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	b := newBox(t, h, linuxtest.Mount("/m", "bind", source, "rbind", "rprivate"), linuxtest.Mount("/m/memory/in", "tmpfs", "tmpfs"))
	b.run()
	b.exec("/bin/sh", "-c", "echo kept >/m/memory/in/kept")
	b.roundTrips(nil, func() {
		if got := b.exec("/bin/cat", "/m/source", "/m/below/other", "/m/memory/x", "/m/memory/in/kept"); got != "sourceotherxkept" {
			t.Errorf("the files have %q", got)
		}
	})
	b.ends()
}

// mount mounts for the time of the test.
func mount(t *testing.T, source, target, kind string, flags uintptr) {
	t.Helper()
	if err := syscall.Mount(source, target, kind, flags, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(target, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}
