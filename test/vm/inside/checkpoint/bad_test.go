package checkpoint

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// fails runs a command that must fail in these words.
func (b *box) fails(env []string, want string, args ...string) {
	b.t.Helper()
	r := b.h.Exec(linuxtest.Command{Args: args, Env: env})
	if r.Status != 1 || !strings.Contains(words(r.Stderr), want) {
		b.t.Errorf("%q: status %d, want %q: %s", args, r.Status, want, r.Stderr)
	}
}

// words is a line of a log without what is quoted twice.
func words(line string) string { return strings.ReplaceAll(line, `\"`, `"`) }

// goesOn checks that nothing has happened to the container.
func (b *box) goesOn() {
	b.t.Helper()
	if st, _ := b.h.State(b.id); st.Status != "running" {
		b.t.Fatalf("the container is %q", st.Status)
	}
	b.passes(b.count())
}

// nothingLeft checks that there is no container.
func (b *box) nothingLeft() {
	b.t.Helper()
	if st, ok := b.h.State(b.id); ok {
		b.t.Errorf("the container is there: %+v", st)
		b.h.Run("delete", "--force", b.id)
	}
	b.h.CheckCleanButKeys()
}

// fakeCRIU gives the variable of a path where the program of that name is found
// first.
func fakeCRIU(t *testing.T, h *linuxtest.Host) string {
	t.Helper()
	fake := filepath.Join(h.Dir, "fake")
	if err := os.Mkdir(fake, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := linuxtest.Program(fake+"/criu", "test/vm/inside/checkpoint/criu"); err != nil {
		t.Fatal(err)
	}
	return "PATH=" + fake + ":" + os.Getenv("PATH")
}

// A CRIU that is missing, too old, or that dies, and leaves what it has frozen.
func TestBadCRIU(t *testing.T) {
	h := linuxtest.One(t)
	b := newBox(t, h)
	path := fakeCRIU(t, h)
	b.run()
	b.passes(20)
	b.newImages()
	save := []string{"checkpoint", "--image-path", b.images, b.id}
	b.fails([]string{"PATH=/nonexistent"}, "cannot find criu", save...)
	b.goesOn()
	b.fails([]string{path, "FAKE_CRIU=old"}, "criu 3.10.0 is too old", save...)
	b.goesOn()
	b.fails(append(freezer(b), path, "FAKE_CRIU=killed"), "criu was killed by signal 9 (SIGKILL)", save...)
	b.goesOn()
	b.fails([]string{path}, "criu version: it ended without an answer", save...)
	b.goesOn()
	b.checkpoint()
	load := []string{"restore", "-d", "-b", b.bundle, "--image-path", b.images, b.id}
	for env, want := range map[string]string{"PATH=/nonexistent": "cannot find criu", path + " FAKE_CRIU=old": "criu 3.10.0 is too old",
		path + " FAKE_CRIU=killed": "was killed by signal 9 (SIGKILL)"} {
		b.fails(strings.Fields(env), want, load...)
		b.nothingLeft()
	}
	b.restore()
	b.ends()
}

// tongs is killed while CRIU works. The container that was to be saved goes on; of
// the one that was to be restored nothing stays behind once it is deleted.
func TestKilled(t *testing.T) {
	h := linuxtest.One(t)
	b := newBox(t, h)
	ready := h.Dir + "/ready"
	env := []string{fakeCRIU(t, h), "FAKE_CRIU=hangs", "FAKE_CRIU_READY=" + ready}
	kill := func(args ...string) (request string) {
		t.Helper()
		p := h.Start(linuxtest.Command{Args: args, Env: env})
		if !linuxtest.Until(func() bool {
			data, err := os.ReadFile(ready)
			request = string(data)
			return err == nil && os.Remove(ready) == nil
		}) {
			t.Fatal("criu does not begin")
		}
		p.Signal(syscall.SIGKILL)
		if r := p.Wait(); r.Signal != syscall.SIGKILL {
			t.Errorf("it was not killed: status %d: %s", r.Status, r.Stderr)
		}
		return request
	}
	b.run()
	b.passes(20)
	b.newImages()
	kill("checkpoint", "--image-path", b.images, b.id)
	b.goesOn()
	b.works()
	b.checkpoint()
	const context = "u:r:secret_t:s0" // only the request shows it on a host without SELinux
	request := kill("restore", "-d", "-b", b.bundle, "--image-path", b.images, "--lsm-mount-context", context, b.id)
	if !strings.Contains(request, context) {
		t.Errorf("criu is not told of --lsm-mount-context: %q", request)
	}
	if r := h.Run("delete", "--force", b.id); r.Status != 0 || r.Stderr != "" {
		t.Errorf("delete --force: status %d, %s", r.Status, r.Stderr)
	}
	b.nothingLeft()
	b.restore()
	b.works()
	b.ends()
}

// CRIU itself is killed when it has come to what its log says, and not much
// further, since the log is a small pipe that nobody reads on.
func TestStages(t *testing.T) {
	h := linuxtest.One(t)
	config, log := filepath.Join(h.Dir, "criu.conf"), filepath.Join(h.Dir, "pipe")
	if err := syscall.Mkfifo(log, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(log, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, 4096)
	}
	if err != nil {
		t.Fatal(err)
	}
	pipe := os.NewFile(uintptr(fd), log)
	defer pipe.Close()
	b := newBox(t, h, func(s *specs.Spec) { s.Annotations = map[string]string{"org.criu.config": config} })
	kill := func(stage string, args ...string) {
		t.Helper()
		write(t, config, "log-file="+log+"\n")
		file := filepath.Join(h.Dir, "log")
		os.Remove(file) // of the command before
		p := h.Start(linuxtest.Command{Args: append([]string{"--log", file}, args...), Out: null(t)})
		readTo(t, pipe, stage)
		for _, pid := range childrenOf(t, p.PID) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		r := p.Wait()
		data, _ := os.ReadFile(file)
		if r.Status != 1 || !strings.Contains(string(data), "killed by signal 9 (SIGKILL)") {
			t.Errorf("killed at %q: status %d: %s", stage, r.Status, data)
		}
		pipe.SetReadDeadline(time.Now()) // what is left
		io.Copy(io.Discard, pipe)
		write(t, config, "")
	}
	b.run()
	b.passes(20)
	b.newImages()
	kill("Running pre-dump scripts", "checkpoint", "--image-path", b.images, b.id)
	b.goesOn()
	b.works()
	b.checkpoint()
	n := b.count()
	for _, stage := range []string{"Running pre-restore scripts", "Running setup-namespaces scripts", "Restoring resources"} {
		kill(stage, "restore", "-d", "-b", b.bundle, "--image-path", b.images, b.id)
		b.nothingLeft()
	}
	b.restore()
	b.passes(n)
	b.works()
	b.ends()
}

// readTo reads until a text has come, and little more.
func readTo(t *testing.T, f *os.File, text string) {
	t.Helper()
	f.SetReadDeadline(time.Now().Add(20 * time.Second))
	all, buf := "", make([]byte, 64)
	for !strings.Contains(all, text) {
		n, err := f.Read(buf)
		if err != nil {
			t.Errorf("criu does not come to %q: %v: %s", text, err, all)
			return
		}
		all += string(buf[:n])
	}
}

func childrenOf(t *testing.T, pid int) (list []int) {
	t.Helper()
	files, _ := filepath.Glob("/proc/" + itoa(pid) + "/task/*/children")
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			continue // a thread that has ended
		}
		for s := range strings.FieldsSeq(string(data)) {
			n, err := strconv.Atoi(s)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, n)
		}
	}
	return list
}

// freezer is the file that freezes a container, and what to write to it.
func freezer(b *box) []string {
	b.t.Helper()
	dir := b.h.CgroupDir(b.h.WaitFor(b.id, "running").PID, "freezer")
	if b.h.V2 {
		return []string{"FAKE_CRIU_FREEZES=" + dir + "/cgroup.freeze", "FAKE_CRIU_WRITES=1"}
	}
	return []string{"FAKE_CRIU_FREEZES=" + dir + "/freezer.state", "FAKE_CRIU_WRITES=FROZEN"}
}

// A container that CRIU cannot save goes on.
func TestHalfWay(t *testing.T) {
	h := linuxtest.One(t)
	b := newBox(t, h)
	out, err := os.Create(filepath.Join(h.Dir, "host-file"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if r := h.Exec(linuxtest.Command{Args: []string{"run", "-d", "-b", b.bundle, b.id}, Out: out}); r.Status != 0 {
		t.Fatalf("status %d", r.Status)
	}
	b.passes(20)
	b.newImages()
	b.fails(nil, "/dump.log ends with: Error (", "checkpoint", "--image-path", b.images, b.id)
	b.goesOn()
	b.h.Must("pause", b.id)
	b.fails(nil, "/dump.log ends with: Error (", "checkpoint", "--image-path", b.images, b.id)
	b.h.WaitFor(b.id, "paused") // as it was
	b.h.Must("resume", b.id)
	b.works()
	b.ends()
}

// Images that are damaged, incomplete, or not the caller's.
func TestBadImages(t *testing.T) {
	h := linuxtest.One(t)
	b := newBox(t, h)
	b.run()
	b.passes(20)
	b.checkpoint()
	good := b.images
	secret := filepath.Join(h.Dir, "secret")
	write(t, secret, `["pipe:[1]"]`)
	for _, c := range []struct {
		name string
		do   func(dir string) error
		want string
	}{
		{"no inventory", func(d string) error { return os.Remove(d + "/inventory.img") }, "restore.log ends with: "},
		{"no core", func(d string) error { return os.Remove(d + "/core-1.img") }, "restore.log ends with: "},
		{"short pages", func(d string) error { return os.Truncate(d+"/pages-1.img", 5000) }, `pages-1.img" is damaged`},
		{"no mounts", func(d string) error { return truncateAll(d + "/mountpoints-*.img") }, "restore.log ends with: "},
		{"no descriptors", func(d string) error { return os.Remove(d + "/descriptors.json") }, "descriptors.json"},
		{"damaged descriptors", func(d string) error { return os.WriteFile(d+"/descriptors.json", []byte(`["a","b"`), 0o600) }, "descriptors.json"},
		{"a link for the descriptors", func(d string) error { return replace(secret, d+"/descriptors.json") }, `"descriptors.json" in it is a symbolic link`},
		{"a link for an image", func(d string) error { return replace(secret, d+"/core-1.img") }, `"core-1.img" in it is a symbolic link`},
		{"a link for the log", func(d string) error { return os.Symlink(secret, d+"/restore.log") }, `"restore.log" in it is a symbolic link`},
		{"a FIFO", func(d string) error { return syscall.Mkfifo(d+"/x.img", 0o600) }, `"x.img" in it is not a file`},
		{"another's file", func(d string) error { return os.Chown(d+"/core-1.img", 1000, 1000) }, `"core-1.img" in it belongs to uid 1000`},
		{"another's directory", func(d string) error { return os.Chown(d, 1000, 1000) }, "it belongs to uid 1000"},
		{"everybody's directory", func(d string) error { return os.Chmod(d, 0o777) }, "other users can write to it"},
		{"an absolute parent", func(d string) error { return os.Symlink("/etc", d+"/parent") }, `the parent "/etc" is not a relative path`},
		{"itself as parent", func(d string) error { return os.Symlink(".", d+"/parent") }, "more than 1000 parents"},
		{"no parent", func(d string) error { return os.Symlink("../nothing", d+"/parent") }, "cannot open"},
	} {
		dir := filepath.Join(h.Dir, "bad")
		if err := os.CopyFS(dir, os.DirFS(good)); err != nil {
			t.Fatal(err)
		}
		if err := c.do(dir); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		r := h.Run("restore", "-d", "-b", b.bundle, "--image-path", dir, b.id)
		if r.Status != 1 || !strings.Contains(words(r.Stderr), c.want) {
			t.Errorf("%s: status %d, want %q: %s", c.name, r.Status, c.want, r.Stderr)
		}
		if _, ok := h.State(b.id); ok {
			t.Errorf("%s: the container is there", c.name)
			h.Run("delete", "--force", b.id)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if data, _ := os.ReadFile(secret); string(data) != `["pipe:[1]"]` {
		t.Errorf("the file that links led to has %q", data)
	}
	h.CheckCleanButKeys()
	b.restore()
	b.works()
	// CRIU would write to what a link leads to.
	dir := filepath.Join(h.Dir, "hostile")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, dir+"/dump.log"); err != nil {
		t.Fatal(err)
	}
	b.fails(nil, `"dump.log" in it is a symbolic link`, "checkpoint", "--image-path", dir, b.id)
	b.fails(nil, `"dump.log" in it is a symbolic link`, "checkpoint", "--image-path", good, "--work-path", dir, b.id)
	if err := os.Symlink(good, h.Dir+"/link"); err != nil {
		t.Fatal(err)
	}
	b.fails(nil, "or a symbolic link", "checkpoint", "--image-path", h.Dir+"/link", b.id)
	b.goesOn()
	b.ends()
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func replace(target, link string) error {
	if err := os.Remove(link); err != nil {
		return err
	}
	return os.Symlink(target, link)
}

func truncateAll(pattern string) error {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		return os.ErrNotExist
	}
	for _, f := range files {
		if err := os.Truncate(f, 20); err != nil {
			return err
		}
	}
	return nil
}

// A container without a process of its own program is not saved.
func TestStates(t *testing.T) {
	h := linuxtest.One(t)
	b := newBox(t, h)
	h.Must("create", "-b", b.bundle, b.id)
	b.fails(nil, "Container cannot be checkpointed in created state", "checkpoint", "--image-path", h.Dir+"/x", b.id)
	h.Must("start", b.id)
	h.Must("kill", b.id, "KILL")
	h.WaitFor(b.id, "stopped")
	b.fails(nil, "Container cannot be checkpointed in stopped state", "checkpoint", "--image-path", h.Dir+"/x", b.id)
	h.Must("delete", b.id)
	b.fails(nil, "does not exist", "checkpoint", "--image-path", h.Dir+"/x", b.id)
	if _, err := os.Stat(h.Dir + "/x"); !os.IsNotExist(err) {
		t.Errorf("images of nothing: %v", err)
	}
}
