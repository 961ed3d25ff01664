package stub

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// namespaces is what a container usually gets.
const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP

// orphanMain is a tongs that is going to be killed: it starts a stub, says its
// number, and runs a batch that blocks on descriptor 3 if there is one.
func orphanMain() {
	c := Config{Namespaces: namespaces, CgroupFD: -1, Stdio: [3]int{0, 1, 2}}
	block := os.Getenv("STUB_TEST_BLOCK") != ""
	if block {
		c.Inherit = []kernel.Handle{kernel.NewHandle(3, "pipe"), kernel.NewHandle(1, "stdout")}
	}
	s, err := Start(c)
	if err != nil {
		fmt.Println(err)
		return
	}
	b := &kernel.Batch{}
	b.Umask(0)
	err = s.Run(b)
	fmt.Println("stub", s.PID, err)
	if block {
		b = &kernel.Batch{}
		b.Write(s.Inherited()[1], "begun\n")
		b.Read(s.Inherited()[0], 1)
		err = s.Run(b)
	}
	fmt.Println("unexpected end of the batch:", err)
	select {}
}

// orphan starts a tongs, lets it get to its state, and kills it. It returns a
// pidfd of the stub. The test adopts the stub, to reap it.
func orphan(t *testing.T, block *os.File) (pid, pidfd int) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) })
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), childVar+"=orphan")
	if block != nil {
		c.Env = append(c.Env, "STUB_TEST_BLOCK=1")
		c.ExtraFiles = []*os.File{block}
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	words := strings.Fields(lines.Text())
	if len(words) != 3 || words[0] != "stub" || words[2] != "<nil>" {
		t.Fatalf("the child says %q", lines.Text())
	}
	pid, _ = strconv.Atoi(words[1])
	if pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
		unix.Wait4(pid, nil, 0, nil)
		unix.Close(pidfd)
	})
	if block != nil {
		if lines.Scan(); lines.Text() != "begun" {
			t.Fatalf("the child says %q", lines.Text())
		}
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	return pid, pidfd
}

func TestTongsKilledWhileStubWaits(t *testing.T) {
	_, pidfd := orphan(t, nil)
	if !ended(t, pidfd, 5*time.Second) {
		t.Error("the stub lives on")
	}
}

func TestTongsKilledInABatch(t *testing.T) {
	r, w := pipe(t)
	pid, pidfd := orphan(t, r)
	if ended(t, pidfd, time.Millisecond) {
		t.Fatal("the stub was not in its batch")
	}
	if text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err != nil || strings.Contains(string(text), ") Z ") {
		t.Fatalf("the stub was not in its batch: %q, %v", text, err)
	}
	w.Close() // what blocked the batch goes away
	if !ended(t, pidfd, 5*time.Second) {
		t.Error("the stub lives on after its batch")
	}
}
