package hook

import (
	"encoding/binary"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Watcher follows the hooks that a container's process executes, one after
// another. The process reports the status of each that has ended (four bytes,
// as wait4(2) gives it) and ends itself after one that is not 0, or that took
// too long. It can be watched from anywhere: nobody decides here.
//
// What is read comes from processes of the container. The worst that they can
// do is to lie about their own success.
type Watcher struct {
	Report int // does not block
	Output int // does not block
	PidFD  int // of the container's process
}

// Watch returns when all the hooks from index first on have ended well, or with what
// was wrong with one. list is the hooks' path in config.json.
func (w *Watcher) Watch(list string, hooks []specs.Hook, first int) error {
	out := output{fd: w.Output}
	fds := []unix.PollFd{{Fd: int32(w.Report), Events: unix.POLLIN}, {Fd: int32(w.PidFD), Events: unix.POLLIN}, {Fd: int32(w.Output), Events: unix.POLLIN}}
	for done := first; done < len(hooks); {
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return fmt.Errorf("%s: cannot wait for the hooks: poll: %w", list, err)
		}
		if fds[2].Revents != 0 && !out.read() {
			fds = fds[:2]
		}
		var st [4]byte
		n, err := unix.Read(w.Report, st[:])
		switch {
		case n == len(st):
			if how := ended(unix.WaitStatus(binary.NativeEndian.Uint32(st[:]))); how != "" {
				out.drain()
				return failure(item(list, done), hooks[done].Path, how, &out)
			}
			done++
		case fds[1].Revents != 0: // and nothing more to read
			out.drain()
			return failure(item(list, done), hooks[done].Path, gone(hooks[done].Timeout), &out)
		case err != nil && err != unix.EAGAIN && err != unix.EINTR:
			return fmt.Errorf("%s: cannot wait for the hooks: read: %w", list, err)
		}
	}
	return nil
}

// gone is what is known of a hook during which the container's process has
// ended.
func gone(timeout *int) string {
	if timeout != nil {
		return fmt.Sprintf("took longer than %d s, or the container was killed", *timeout)
	}
	return "did not end before the container's process"
}

func item(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }

// Input is an empty file to be filled by Fill.
func Input() (int, error) {
	fd, err := unix.MemfdCreate("state", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, fmt.Errorf("hooks: cannot make a file for their input: %w", err)
	}
	return fd, nil
}

// Fill writes the state to a file of Input, once.
func Fill(fd int, st *specs.State) error {
	data, err := State(st)
	if err == nil {
		err = fill(fd, data)
	}
	if err != nil {
		return fmt.Errorf("hooks: %w", err)
	}
	return nil
}
