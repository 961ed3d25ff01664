package kernel

import (
	"strings"

	"golang.org/x/sys/unix"
)

// CallError is a system call that failed: the field of the configuration it
// served, what was wanted, the call and the kernel's answer.
type CallError struct {
	Field string
	Want  string
	Call  string // as strace prints it
	Name  string // the call's name
	Errno unix.Errno
	Hint  string // what the reader can do, or the kernel's own words
}

// Error reads: field: want: call: text (NAME): hint.
func (e *CallError) Error() string {
	var s strings.Builder
	for _, part := range []string{e.Field, e.Want, e.Call} {
		if part != "" {
			s.WriteString(part)
			s.WriteString(": ")
		}
	}
	s.WriteString(e.Errno.Error())
	if n := unix.ErrnoName(e.Errno); n != "" {
		s.WriteString(" (" + n + ")")
	}
	if e.Hint != "" {
		s.WriteString(": " + e.Hint)
	}
	return s.String()
}

// Is lets errors.Is find the errno.
func (e *CallError) Is(target error) bool {
	n, ok := target.(unix.Errno)
	return ok && n == e.Errno
}

// Failed makes the error of call c of a batch. For kernels only.
func Failed(c *Call, e unix.Errno) *CallError {
	if c.story != nil {
		if err := c.story.failed(); err != nil {
			return err
		}
	}
	return callError(c, e)
}

func callError(c *Call, e unix.Errno) *CallError {
	return &CallError{Field: c.Field, Want: c.Want(), Call: c.String(), Name: c.Name, Errno: e}
}

// LostError is a process that executed calls and is gone.
type LostError struct {
	Field string // the call that it was at, if known
	Want  string
	Call  string
	How   string // "was killed by signal 9", "did not answer within 60s"
}

func (e *LostError) Error() string {
	var s strings.Builder
	for _, part := range []string{e.Field, e.Want, e.Call} {
		if part != "" {
			s.WriteString(part)
			s.WriteString(": ")
		}
	}
	s.WriteString("the container's process " + e.How)
	return s.String()
}
