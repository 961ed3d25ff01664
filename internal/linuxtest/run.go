package linuxtest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// timeLimit bounds each command; a runtime that hangs is a failure.
var timeLimit = patience(30 * time.Second)

// patience is how long to wait for what takes so long on a busy machine: longer in the
// virtual machine, which emulates its processors.
func patience(d time.Duration) time.Duration {
	if os.Getenv(inVM) != "" {
		return 4 * d
	}
	return d
}

// Command is one call of the runtime.
type Command struct {
	Args    []string   // after --root DIR
	Bare    bool       // without --root DIR
	Program string     // another program than the runtime, with Args alone
	Stdin   *os.File   // nil: /dev/null
	Out     *os.File   // standard output and error, if not to be captured
	Files   []*os.File // descriptors from 3 on
	Dir     string
	Env     []string // beside the test's own environment
	// Session makes the command the leader of a session whose terminal is Stdin.
	Session bool
}

// Result is how a command ended. Stdout and Stderr are what it and the processes
// that it started had written by then.
type Result struct {
	Status int            // exit status, or -1
	Signal syscall.Signal // that ended it, or 0
	Stdout string
	Stderr string

	t        *testing.T
	out, err string // files
}

// Process is a command under way.
type Process struct {
	PID int

	h        *Host
	cmd      *exec.Cmd
	timer    *time.Timer
	timedOut chan struct{}
	result   *Result
}

// Start starts a command.
func (h *Host) Start(c Command) *Process {
	h.t.Helper()
	if !h.inside() {
		h.t.Fatal("this goroutine is in another mount namespace: use Sub or Go")
	}
	args := c.Args
	if !c.Bare {
		args = append([]string{"--root", h.root}, args...)
	}
	program := h.program
	if c.Program != "" {
		program, args = c.Program, c.Args
	}
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.ExtraFiles = c.Dir, c.Files
	cmd.Env = append(os.Environ(), c.Env...)
	if c.Stdin != nil {
		cmd.Stdin = c.Stdin
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: c.Session, Setctty: c.Session}
	if h.User != nil {
		cmd.Env = append(h.User.run(cmd.SysProcAttr, os.Environ()), c.Env...)
	}
	p := &Process{h: h, cmd: cmd, timedOut: make(chan struct{}), result: &Result{t: h.t}}
	// Files and not pipes: a container that goes on holds its standard output.
	if c.Out != nil {
		cmd.Stdout, cmd.Stderr = c.Out, c.Out
	} else {
		stdout, stderr := h.outputFile("stdout-"), h.outputFile("stderr-")
		defer stdout.Close()
		defer stderr.Close()
		cmd.Stdout, cmd.Stderr = stdout, stderr
		p.result.out, p.result.err = stdout.Name(), stderr.Name()
	}
	if err := cmd.Start(); err != nil {
		h.t.Errorf("cannot start %q: %v", cmd.Args, err)
		p.result.Status = -1
		return p
	}
	p.PID = cmd.Process.Pid
	p.timer = time.AfterFunc(timeLimit, func() {
		close(p.timedOut)
		cmd.Process.Kill()
	})
	return p
}

func (h *Host) outputFile(name string) *os.File {
	f, err := os.CreateTemp(h.Dir, name)
	if err != nil {
		h.t.Errorf("cannot make a file for output: %v", err)
		return nil
	}
	return f
}

// Signal sends a signal to the command.
func (p *Process) Signal(sig syscall.Signal) {
	p.h.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.h.t.Errorf("cannot signal: %v", err)
	}
}

// Wait waits for the command's end. One that is too slow is killed and fails the
// test.
func (p *Process) Wait() *Result {
	p.h.t.Helper()
	r := p.result
	if p.PID == 0 {
		return r
	}
	p.cmd.Wait() // the status below tells all of it
	p.timer.Stop()
	select {
	case <-p.timedOut:
		p.h.t.Errorf("%q has not ended after %v", p.cmd.Args, timeLimit)
	default:
	}
	r.Status = p.cmd.ProcessState.ExitCode()
	if ws := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		r.Signal = ws.Signal()
	}
	r.Reread()
	return r
}

// Reread takes the output again, with what a container has written since.
func (r *Result) Reread() {
	for file, text := range map[string]*string{r.out: &r.Stdout, r.err: &r.Stderr} {
		if file == "" {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			r.t.Errorf("cannot read output: %v", err)
		}
		*text = string(data)
	}
}

// Exec runs a command to its end.
func (h *Host) Exec(c Command) *Result {
	h.t.Helper()
	r := h.Start(c).Wait()
	if n := len(c.Args); n > 0 && h.program != h.tools.tongs && c.Program == "" {
		h.settle(c.Args[n-1])
	}
	return r
}

// Run runs the runtime with arguments to its end.
func (h *Host) Run(args ...string) *Result {
	h.t.Helper()
	return h.Exec(Command{Args: args})
}

// Must is Run for what has to succeed.
func (h *Host) Must(args ...string) *Result {
	h.t.Helper()
	r := h.Run(args...)
	if r.Status != 0 {
		h.t.Fatalf("%s %q: status %d\nstdout: %s\nstderr: %s", filepath.Base(h.program), args, r.Status, r.Stdout, r.Stderr)
	}
	return r
}

// State is the object that `state` prints.
type State struct {
	OCIVersion  string            `json:"ociVersion"`
	ID          string            `json:"id"`
	PID         int               `json:"pid"`
	Status      string            `json:"status"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Annotations map[string]string `json:"annotations"`
	Owner       string            `json:"owner"`
}

// State asks for the state of a container; ok is false if there is none.
func (h *Host) State(id string) (st State, ok bool) {
	h.t.Helper()
	r := h.Run("state", id)
	if r.Status != 0 {
		return st, false
	}
	if err := json.Unmarshal([]byte(r.Stdout), &st); err != nil {
		h.t.Errorf("state of %q is not JSON: %v\n%s", id, err, r.Stdout)
	}
	return st, true
}

// WaitFor asks until a container has the status.
func (h *Host) WaitFor(id, status string) State {
	h.t.Helper()
	var st State
	if !Until(func() bool { st, _ = h.State(id); return st.Status == status }) {
		h.t.Fatalf("container %q is %q, want %q", id, st.Status, status)
	}
	return st
}

// Until asks again and again, for ten seconds at most (patience), whether something
// holds.
func Until(holds func() bool) bool {
	for end := time.Now().Add(patience(10 * time.Second)); ; time.Sleep(2 * time.Millisecond) {
		if holds() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// Output is what the command has written to standard output so far.
func (p *Process) Output() string {
	p.result.Reread()
	return p.result.Stdout
}

// Argv is what a call of the runtime with these arguments consists of, for tests
// that start it themselves.
func (h *Host) Argv(args ...string) []string {
	return append([]string{h.program, "--root", h.root}, args...)
}

// Tool runs another program than the runtime, as who runs that.
func (h *Host) Tool(program string, args ...string) *Result {
	h.t.Helper()
	return h.Exec(Command{Program: program, Args: args})
}

// CopyProgram copies the runtime.
func (h *Host) CopyProgram(to string) {
	h.t.Helper()
	data, err := os.ReadFile(h.program)
	if err == nil {
		err = os.WriteFile(to, data, 0o755)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}
