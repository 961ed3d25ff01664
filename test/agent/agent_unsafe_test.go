package agent

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// answer is what an agent says to a call.
type answer func(path string) (errno unix.Errno, proceed bool)

// agent answers for the calls of containers at a socket, as
// opencontainers/runc's contrib/cmd/seccompagent does.
type agent struct {
	path string
	t    *testing.T
	say  answer

	mu     sync.Mutex
	states []specs.ContainerProcessState
	asked  []int // numbers of system calls
}

// serve starts an agent. It ends with the test.
func serve(t *testing.T, h *linuxtest.Host, say answer) *agent {
	t.Helper()
	dir, err := os.MkdirTemp(h.Dir, "agent-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{path: filepath.Join(dir, "agent.sock"), t: t, say: say}
	sock := listen(t, a.path)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { a.accept(sock, done, &wg) })
	t.Cleanup(func() {
		close(done)
		wg.Wait()
	})
	return a
}

func listen(t *testing.T, path string) int {
	t.Helper()
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(sock, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = os.Chmod(path, 0o777) // for anybody's containers
	}
	if err == nil {
		err = unix.Listen(sock, 8)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(sock) })
	return sock
}

// readable waits until fd has something to read; false when the test is over.
func readable(fd int, done chan struct{}) bool {
	for {
		select {
		case <-done:
			return false
		default:
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, _ := unix.Poll(fds, 50); n > 0 {
			return fds[0].Revents&unix.POLLIN != 0
		}
	}
}

func (a *agent) accept(sock int, done chan struct{}, wg *sync.WaitGroup) {
	for readable(sock, done) {
		conn, _, err := unix.Accept4(sock, unix.SOCK_CLOEXEC)
		if err != nil {
			a.t.Error(err)
			return
		}
		fd, err := a.receive(conn)
		unix.Close(conn)
		if err != nil {
			a.t.Errorf("what the agent got: %v", err)
			continue
		}
		wg.Go(func() {
			a.answer(fd, done)
			unix.Close(fd)
		})
	}
}

// receive takes one state, and the listener beside it.
func (a *agent) receive(conn int) (int, error) {
	data, oob := make([]byte, 16<<10), make([]byte, unix.CmsgSpace(16*4))
	n, oobn, _, _, err := unix.Recvmsg(conn, data, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, err
	}
	var st specs.ContainerProcessState
	if err := json.Unmarshal(data[:n], &st); err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return -1, errors.Join(err, errors.New("not one control message"))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != len(st.Fds) || len(fds) != 1 || st.Fds[0] != specs.SeccompFdName {
		return -1, errors.Join(err, errors.New("not one descriptor by the name of the specification"))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.states = append(a.states, st)
	return fds[0], nil
}

// notification is struct seccomp_notif of seccomp_unotify(2).
type notification struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

// answer answers until the listener's processes are gone.
func (a *agent) answer(fd int, done chan struct{}) {
	for readable(fd, done) {
		var n notification
		if ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)) != 0 {
			continue // it was killed meanwhile
		}
		a.mu.Lock()
		a.asked = append(a.asked, int(n.nr))
		a.mu.Unlock()
		path := int(n.args[0])
		if n.nr == unix.SYS_MKDIRAT {
			path = int(n.args[1])
		}
		errno, proceed := a.say(text(int(n.pid), path))
		r := response{id: n.id, errno: -int32(errno)}
		if proceed {
			r.flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
		}
		ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r))
	}
}

func ioctl(fd int, request uint, arg unsafe.Pointer) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg))
	return errno
}

// text reads a string of the process that asks.
func text(pid, address int) string {
	buf := make([]byte, 64)
	local, remote := []unix.Iovec{{Base: &buf[0], Len: uint64(len(buf))}}, []unix.RemoteIovec{{Base: uintptr(address), Len: len(buf)}}
	n, err := unix.ProcessVMReadv(pid, local, remote, 0)
	if err != nil || n < 1 {
		return ""
	}
	return unix.ByteSliceToString(buf[:n])
}

// heard returns what the agent was told and asked so far.
func (a *agent) heard() (states []specs.ContainerProcessState, asked []int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]specs.ContainerProcessState{}, a.states...), append([]int{}, a.asked...)
}
