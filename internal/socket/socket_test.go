package socket

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listen makes a socket at path. connect(2) completes without accept.
func listen(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	// A long path cannot be bound: bind in the directory.
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chdir(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Base(path)})
	if cerr := os.Chdir(wd); err == nil {
		err = cerr
	}
	if err == nil {
		err = unix.Listen(fd, 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// receive takes the one message as containerd and conmon do.
func receive(t *testing.T, sock int) (string, *os.File) {
	t.Helper()
	conn, _, err := unix.Accept4(sock, unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(conn)
	text, oob := make([]byte, 4096), make([]byte, 4096)
	n, oobn, _, _, err := unix.Recvmsg(conn, text, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) != 1 {
		t.Fatalf("control messages: %v, %v", msgs, err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("descriptors: %v, %v", fds, err)
	}
	if more, err := unix.Read(conn, make([]byte, 10)); more != 0 || err != nil {
		t.Errorf("after the message: %d bytes, %v; want the end", more, err)
	}
	return string(text[:n]), os.NewFile(uintptr(fds[0]), "received")
}

func TestSend(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"short path": filepath.Join(t.TempDir(), "s"),
		"long path":  filepath.Join(long, "s"),
	} {
		sock := listen(t, path)
		file, err := os.Create(filepath.Join(t.TempDir(), "file"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if err := SendFD(path, "/dev/pts/5", int(file.Fd())); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text, got := receive(t, sock)
		if text != "/dev/pts/5" {
			t.Errorf("%s: text is %q", name, text)
		}
		want, _ := file.Stat()
		if is, err := got.Stat(); err != nil || !os.SameFile(is, want) {
			t.Errorf("%s: received another file (%v)", name, err)
		}
		got.Close()
	}
}

func TestSendErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/nonexistent/s":                   "no such file or directory",
		"/nonexistent/" + longName("s"):    "no such file or directory",
		file:                               "connection refused",
		filepath.Dir(file) + "/./" + "fil": "no such file or directory",
	} {
		err := SendFD(path, "x", 0)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "cannot connect to socket ") {
			t.Errorf("%q: got %v, want an error with %q", path, err, want)
		}
	}
	sock := filepath.Join(t.TempDir(), "s")
	listen(t, sock)
	if err := SendFD(sock, "standard", -1); err == nil || !strings.Contains(err.Error(), "sendmsg: bad file descriptor") {
		t.Errorf("bad descriptor: got %v", err)
	}
}

func longName(s string) string { return strings.Repeat(s, 200) }

// Deliver tells a receiver that has taken the message from one that never does.
func TestDeliver(t *testing.T) {
	for name, c := range map[string]struct {
		receive func(t *testing.T, sock int)
		want    string
	}{
		"read": {receive: func(t *testing.T, sock int) {
			text, file := receive(t, sock)
			file.Close()
			if text != "hello" {
				t.Errorf("text is %q", text)
			}
		}},
		"closed without reading": {receive: func(t *testing.T, sock int) {
			conn, _, err := unix.Accept(sock)
			if err != nil {
				t.Error(err)
			}
			unix.Close(conn)
		}, want: "it was closed without reading the message"},
	} {
		path := filepath.Join(t.TempDir(), "s")
		sock, done := listen(t, path), make(chan error, 1)
		go func() { done <- Deliver(path, "hello", 0) }()
		c.receive(t, sock)
		if err := <-done; !matches(err, c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestDeliverNeverRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listen(t, path)
	sock, err := send(path, "hello", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(sock)
	if err := taken(sock, 50*time.Millisecond); !matches(err, "nobody has read the message for 50ms") {
		t.Errorf("got %v", err)
	}
}

func matches(err error, want string) bool {
	if want == "" {
		return err == nil
	}
	return err != nil && strings.Contains(err.Error(), want)
}

func TestCheck(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "s")
	listen(t, sock)
	for path, want := range map[string]string{sock: "", filepath.Dir(sock): "is not a socket", sock + "x": "no such file or directory"} {
		if err := Check(path); !matches(err, want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
}
