package vm

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// bootTime bounds the time until the first test. Without KVM it is about 20 s
	// on an idle machine, and was 4 minutes on one that ran five of them.
	bootTime = 8 * time.Minute
	// quietTime bounds the time without output between packages, and beyond what
	// the tests of a package may take, whose own limit says more.
	quietTime = 30 * time.Second
	// deadTime bounds the time without a sign of life on the console, where `run`
	// writes one every 10 s.
	deadTime = 2 * time.Minute
)

// alive is a sign of life on the console.
const alive = "@@alive"

// trouble is what a kernel says first of its own.
var trouble = regexp.MustCompile(`(?m)^.*(BUG: |Oops|Kernel panic|rcu: INFO|blocked for more than).*$`)

// machine is a virtual machine under way.
type machine struct {
	cmd      *exec.Cmd
	lines    chan string // of the tests; closed at the end
	console  string      // file
	stderr   strings.Builder
	deadline time.Time // when the test must have ended
	signs    int       // of life, on the console
	lastSign time.Time // when the last one was seen
	hung     bool      // no more have come
}

// bootDisk starts the machine with the image's disk and that of the tests, which
// write to a port of virtio-serial. What is written to the disks is lost at the
// end.
func bootDisk(t *testing.T, i image, s setup, tests string) *machine {
	console := filepath.Join(t.TempDir(), "console")
	arguments := append(i.kernel(s.suite), "-m", "2048",
		"-append", "root=/dev/vda rw console=ttyS0 net.ifnames=0 systemd.unit=tests.target "+
			// It ends when it is stuck, rather than go on without a processor.
			"panic=-1 softlockup_panic=1 watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=120 sysctl.kernel.panic_on_rcu_stall=1 "+s.append,
		"-drive", "if=virtio,format=raw,snapshot=on,file="+i.file("root.img"),
		"-drive", "if=virtio,format=raw,snapshot=on,file="+tests,
		"-serial", "file:"+console,
		"-chardev", "file,id=results,path=/dev/stdout",
		"-device", "virtio-serial-pci", "-device", "virtserialport,chardev=results,name=results")
	return boot(t, console, arguments...)
}

// boot starts a machine, of which the lines that it writes to the standard output
// are read.
func boot(t *testing.T, console string, arguments ...string) *machine {
	t.Helper()
	m := &machine{console: console, lines: make(chan string, 1000), deadline: time.Now().Add(time.Hour)}
	if end, ok := t.Deadline(); ok {
		m.deadline = end.Add(-15 * time.Second)
	}
	m.cmd = exec.Command("qemu-system-x86_64", append([]string{"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		// Not even where there is KVM: one machine for all who run this.
		"-accel", "tcg,thread=multi", "-smp", "2",
		// QEMU 7.2 sets wrong flags after cmpxchg16b, which kernels use to allocate memory.
		"-cpu", "max,-cx16"}, arguments...)...)
	m.cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir()) // for the snapshots
	m.cmd.Stderr = &m.stderr
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan error)
	go m.read(out, started)
	if err := <-started; err != nil {
		t.Fatalf("cannot start the virtual machine: %v", err)
	}
	t.Cleanup(m.end)
	return m
}

func (m *machine) end() {
	m.cmd.Process.Kill() // may have ended
	for range m.lines {
	}
}

// read starts the process and reads to its end. It must not outlive the test,
// and the kernel takes the end of the thread for the end of the parent.
func (m *machine) read(out io.Reader, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(m.lines)
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := m.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	in := bufio.NewScanner(out)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		m.lines <- in.Text()
	}
	m.cmd.Wait() // the last line tells success
}

// next gives the next line, or why there is none.
func (m *machine) next(limit time.Duration, doing string) (string, error) {
	limit = min(limit, time.Until(m.deadline))
	timer := time.NewTimer(limit)
	defer timer.Stop()
	look := time.NewTicker(5 * time.Second)
	defer look.Stop()
	for {
		select {
		case line, ok := <-m.lines:
			if ok {
				return line, nil
			}
			return "", m.explain(fmt.Sprintf("the virtual machine ended during %s: %v", doing, m.cmd.ProcessState))
		case <-look.C:
			if m.isDead() {
				m.hung = true
				return "", m.explain(fmt.Sprintf("the virtual machine gave no sign of life for %.0f s during %s", deadTime.Seconds(), doing))
			}
		case <-timer.C:
			return "", m.explain(fmt.Sprintf("the virtual machine said nothing for %.0f s during %s", limit.Seconds(), doing))
		}
	}
}

// isDead reports whether signs of life have begun to come, and come no more. What the
// kernel says of itself, such as that it is stuck, is none.
func (m *machine) isDead() bool {
	text, err := os.ReadFile(m.console)
	if err != nil {
		return false
	}
	if n := bytes.Count(text, []byte(alive)); n != m.signs {
		m.signs, m.lastSign = n, time.Now()
	}
	return m.signs > 0 && time.Since(m.lastSign) > deadTime
}

// failed reports whether it is the machine that has failed, and no test: its kernel
// has panicked, or does nothing any more.
func (m *machine) failed() bool {
	text, err := os.ReadFile(m.console)
	return m.hung || err == nil && m.cmd.ProcessState != nil && bytes.Contains(text, []byte("Kernel panic - not syncing"))
}

// explain adds what the machine and its console said last.
func (m *machine) explain(what string) error {
	text, err := os.ReadFile(m.console)
	if err != nil {
		text = []byte(err.Error())
	}
	if m.cmd.ProcessState != nil { // nobody writes to it any more
		what += "\n" + m.stderr.String()
	}
	lines := strings.ReplaceAll(string(text), alive+"\r\n", "")
	if i := trouble.FindStringIndex(lines); i != nil {
		what += "\nits kernel is in trouble:\n" + firstLines(lines[i[0]:], 60)
	}
	return fmt.Errorf("%s\nlast lines of its console:\n%s", what, lastLines(lines, 40))
}

func firstLines(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[:min(n, len(lines))], "\n")
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\r\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
