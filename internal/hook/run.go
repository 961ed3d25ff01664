// Package hook executes hooks on the host, and watches those that a container's
// process executes (runtime-spec 1.3, config § POSIX-platform Hooks).
//
// What it deliberately does not do:
//   - It does not know when a hook's time is: packages setup and container do.
//   - It adds nothing to a hook's environment, neither ours nor the
//     container's: what an image says must not reach a program of the host
//     (CVE-2025-23266).
//   - It ends no container.
package hook

import (
	"encoding/json"
	"fmt"
	"math"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// killTimeout bounds the wait for the end of a hook that was killed.
const killTimeout = 10 * time.Second

// State is what a hook gets as its standard input (runtime-spec 1.3, runtime
// § State).
func State(st *specs.State) ([]byte, error) {
	data, err := json.Marshal(st)
	if err != nil {
		return nil, fmt.Errorf("hooks: cannot encode the state: %w", err)
	}
	return data, nil
}

// Run executes a hook in our own namespaces, in a process group of its own, and
// waits for its end. When its time is over, the group is killed. What it writes
// is only shown if it fails. field is the hook's path in config.json.
func Run(field string, h *specs.Hook, dir string, state []byte) error {
	in, err := input(state)
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	defer unix.Close(in)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("%s: cannot make a pipe: %w", field, err)
	}
	defer unix.Close(pipe[0])
	p, err := start(h, dir, in, pipe[1])
	unix.Close(pipe[1])
	if err != nil {
		return fmt.Errorf("%s: cannot execute %s: %w", field, h.Path, err)
	}
	defer unix.Close(p.fd)
	if err := unix.SetNonblock(pipe[0], true); err != nil {
		return fmt.Errorf("%s: cannot read its output: %w", field, err)
	}
	out := output{fd: pipe[0]}
	how := p.wait(&out, h.Timeout)
	out.drain()
	if how == "" {
		return nil
	}
	return failure(field, h.Path, how, &out)
}

// input is a file that only this process can write.
func input(state []byte) (int, error) {
	fd, err := unix.MemfdCreate("state", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, fmt.Errorf("cannot make a file for its input: %w", err)
	}
	if err := fill(fd, state); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// fill writes the input and seals it: the next hook reads the same.
func fill(fd int, state []byte) error {
	for off := 0; off < len(state); {
		n, err := unix.Pwrite(fd, state[off:], int64(off))
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("cannot write its input: %w", err)
		}
		off += max(n, 0)
	}
	const seals = unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("cannot seal its input: %w", err)
	}
	return nil
}

type process struct{ pid, fd int }

func start(h *specs.Hook, dir string, in, out int) (*process, error) {
	// What our caller passed for the container, and what it forgot.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return nil, fmt.Errorf("cannot mark descriptors close-on-exec: %w", err)
	}
	p := &process{}
	args := h.Args
	if len(args) == 0 {
		args = []string{h.Path}
	}
	attr := &syscall.ProcAttr{Dir: dir, Env: h.Env, Files: []uintptr{uintptr(in), uintptr(out), uintptr(out)},
		Sys: &syscall.SysProcAttr{Setpgid: true, PidFD: &p.fd}}
	var err error
	p.pid, err = syscall.ForkExec(h.Path, args, attr)
	return p, err
}

// wait waits for the end, takes the output meanwhile, and says what went wrong.
func (p *process) wait(out *output, timeout *int) string {
	end := time.Time{}
	if timeout != nil {
		end = time.Now().Add(time.Duration(min(*timeout, math.MaxInt32)) * time.Second)
	}
	late := ""
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}, {Fd: int32(out.fd), Events: unix.POLLIN}}
	for {
		left := -1
		if !end.IsZero() {
			left = int(min(max(time.Until(end).Milliseconds()+1, 0), math.MaxInt32))
		}
		n, err := unix.Poll(fds, left)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return "poll: " + err.Error()
		case n == 0 && late == "":
			late = fmt.Sprintf("was killed: it took longer than %d s", *timeout)
			_ = unix.Kill(-p.pid, unix.SIGKILL) // gone already otherwise
			end = time.Now().Add(killTimeout)
		case n == 0:
			return late + ", and has not ended"
		case fds[0].Revents != 0:
			how := p.reap()
			if late != "" {
				how = late
			}
			return how
		default:
			if !out.read() {
				fds = fds[:1] // closed
			}
		}
	}
}

func (p *process) reap() string {
	var st unix.WaitStatus
	for {
		switch _, err := unix.Wait4(p.pid, &st, 0, nil); err {
		case nil:
			return ended(st)
		case unix.EINTR:
		default:
			return "wait4: " + err.Error()
		}
	}
}

// ended says how a hook has failed, "" if it has not.
func ended(st unix.WaitStatus) string {
	switch {
	case st == 0:
		return ""
	case st.Signaled():
		return "was killed by " + unix.SignalName(st.Signal())
	}
	return fmt.Sprintf("exited with status %d", st.ExitStatus())
}
