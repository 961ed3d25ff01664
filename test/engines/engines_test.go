// Package engines runs containers through the engines that tongs is made for,
// as their users do: with Debian's packages, images made on the spot, and the
// configuration of docs/engines as it stands.
//
// It deliberately does not test the engines: only that they get from tongs what
// they expect.
package engines

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

func TestMain(m *testing.M) { linuxtest.Main(m) }

// binary is where docs/engines says that tongs is.
const binary = "/usr/local/bin/tongs"

// debian is a program of a Debian package: PATH may lead to another of its name.
func debian(name string) string {
	for _, dir := range []string{"/usr/bin/", "/usr/sbin/"} {
		if unix.Access(dir+name, unix.X_OK) == nil {
			return dir + name
		}
	}
	return name // whose start will fail
}

// snippet copies a file of docs/engines (testdata is that) to where the test can use it; all that is
// changed is the path of the binary.
func snippet(t *testing.T, h *linuxtest.Host, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte(binary)) {
		t.Fatalf("docs/engines/%s does not name %s", name, binary)
	}
	file := filepath.Join(h.Dir, name)
	if err := os.WriteFile(file, bytes.ReplaceAll(data, []byte(binary), []byte(h.Argv()[0])), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// privateRun gives the test's mount namespace a /run of its own, where engines
// leave things. The service manager's part of it stays.
func privateRun(t *testing.T, h *linuxtest.Host) {
	t.Helper()
	dir := directory(t, h, "run")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"))
	if systemd() {
		for _, name := range []string{"/systemd", "/dbus", "/user"} {
			must(os.Mkdir(dir+name, 0o755))
			must(unix.Mount("/run"+name, dir+name, "", unix.MS_BIND|unix.MS_REC, ""))
		}
	}
	must(unix.Mount(dir, "/run", "", unix.MS_MOVE, ""))
	t.Cleanup(func() {
		if err := unix.Unmount("/run", unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// systemd reports whether it is the machine's service manager: then engines let it
// make the cgroups.
func systemd() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}

// directory makes one for an engine, which goes with the test's.
func directory(t *testing.T, h *linuxtest.Host, name string) string {
	t.Helper()
	dir := filepath.Join(h.Dir, name)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// archive makes a tar of a root file system.
func archive(t *testing.T, h *linuxtest.Host, dir string) string {
	t.Helper()
	tar := filepath.Join(dir, "image.tar")
	if out, err := exec.Command("tar", "-C", h.Bundle()+"/rootfs", "-cf", tar, ".").CombinedOutput(); err != nil {
		t.Fatalf("cannot make an image: %v: %s", err, out)
	}
	return tar
}

// daemon starts a server that runs until stop is called, and waits until it is
// ready. The test has failed if it is not.
func daemon(t *testing.T, ready func() bool, dir string, argv ...string) (stop func()) {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, filepath.Base(argv[0])+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(debian(argv[0]), argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("cannot start %s: %v", argv[0], err)
	}
	up := false
	for range 6 { // in a virtual machine it may take long
		if up = linuxtest.Until(ready); up {
			break
		}
	}
	if !up {
		text, _ := os.ReadFile(log.Name()) // for the message
		t.Errorf("%s is not ready: %s", argv[0], text)
	}
	return func() {
		cmd.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
		defer timer.Stop()
		cmd.Wait()
	}
}

// client is an engine's command line.
type client struct {
	t    *testing.T
	argv []string
	env  []string
	dir  string
}

// do runs a command and returns what it printed and its exit status.
func (c *client) do(args ...string) (string, int) {
	c.t.Helper()
	return c.feed("", args...)
}

// feed is do with something on standard input.
func (c *client) feed(input string, args ...string) (string, int) {
	c.t.Helper()
	argv := append(c.argv[:len(c.argv):len(c.argv)], args...)
	cmd := exec.Command(debian(argv[0]), argv[1:]...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &out
	cmd.Env, cmd.Dir = append(os.Environ(), c.env...), c.dir
	cmd.WaitDelay = time.Second // monitors go on with the streams
	timer := time.AfterFunc(3*time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Run()
	if cmd.ProcessState == nil {
		c.t.Fatalf("%q: %v", argv, err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// must is do for what has to succeed.
func (c *client) must(args ...string) string {
	c.t.Helper()
	return c.want(0, args...)
}

// want is do for what has to end with the status, with the texts in its output.
func (c *client) want(status int, args ...string) string {
	c.t.Helper()
	out, got := c.do(args...)
	if got != status {
		c.t.Errorf("%s %q: status %d, want %d: %s", filepath.Base(c.argv[0]), args, got, status, out)
	}
	return out
}

// contains wants texts in an output.
func contains(t *testing.T, what, text string, wanted ...string) {
	t.Helper()
	for _, w := range wanted {
		if !strings.Contains(text, w) {
			t.Errorf("%s: got %q, want %q", what, text, w)
		}
	}
}
