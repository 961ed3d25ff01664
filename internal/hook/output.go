package hook

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// maxOutput bounds what is kept of a hook's output: its end.
const maxOutput = 4096

// output takes what a hook writes.
type output struct {
	fd   int // does not block
	kept []byte
	cut  bool
}

// read takes some; false at the end.
func (o *output) read() (more bool) {
	var buf [16 << 10]byte
	n, err := unix.Read(o.fd, buf[:])
	if err == unix.EINTR || err == unix.EAGAIN {
		return true
	}
	if err != nil || n <= 0 {
		return false
	}
	o.kept = append(o.kept, buf[:n]...)
	if over := len(o.kept) - maxOutput; over > 0 {
		o.kept, o.cut = append(o.kept[:0], o.kept[over:]...), true
	}
	return true
}

// drain takes what is there. A process that the hook has left behind may go on
// to write for ever, so there is a limit.
func (o *output) drain() {
	for range 16 { // times the size of read's buffer: four pipes
		fds := []unix.PollFd{{Fd: int32(o.fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 0); err == unix.EINTR {
			continue
		} else if n <= 0 || fds[0].Revents&unix.POLLIN == 0 || !o.read() {
			return
		}
	}
}

func (o *output) String() string {
	switch {
	case len(o.kept) == 0:
		return ""
	case o.cut:
		return fmt.Sprintf("; the end of its output: %q", o.kept)
	}
	return fmt.Sprintf("; its output: %q", o.kept)
}

func failure(field, path, how string, out *output) error {
	return fmt.Errorf("%s: cannot complete %s: it %s%s", field, path, how, out)
}
