// Package kernel is the narrow waist between the code that sets a container
// up and whoever executes the system calls for it. A caller puts Calls into a
// Batch through typed functions (OpenTree, MoveMount, …) and hands the batch
// to a Kernel. Three kernels exist: kernel/stub executes a batch inside the
// container's namespaces, kernel/host in the calling process, kernel/record
// writes it down as text.
//
// What it deliberately does not do:
//   - It does not decide: no path policy, no order, no fall-back lives here.
//   - It does not hide the kernel: names, flags and errors are those of the
//     manual pages.
//   - A Handle never becomes an integer outside the kernel that made it.
package kernel

import (
	"golang.org/x/sys/unix"
)

// Kernel executes batches. Run returns when every call of the batch has been
// executed, or at the first call that failed without having been allowed to;
// that failure is a *CallError. Calls behind a failed one may or may not have
// been executed. Checks of the batch (Batch.Check) run last, in order. A batch
// that may be Late can end with a later one.
type Kernel interface {
	Run(b *Batch) error
}

// Call is one system call, as data.
type Call struct {
	Name   string // name in the manual pages
	Nr     uintptr
	Args   [6]Arg
	Result Handle // the result; a descriptor if Opens is set
	*Purpose

	Allowed      []unix.Errno // these errors are expected
	AllowAny     bool         // any error is expected
	Opens        bool         // a success is a new descriptor
	ExitPositive bool         // a positive result ends the caller (parent's side of a clone)
	ZeroFatal    bool         // a result of zero ends the caller (end of file on its line)
	NoReturn     bool         // success does not return (execve, exit_group)
	Skip         int          // how many of the next calls only a child executes that the call makes (Vfork)
	Together     int          // how many of the next calls share memory with it, so that a kernel must not part them

	story *story // what its failure follows from
}

// Purpose is what calls are for.
type Purpose struct {
	Field string // configuration field that the call serves
	want  string
	path  string // behind it, if there is one
}

// Want is what was wanted, in the user's words: "cannot …".
func (p *Purpose) Want() string {
	if p.path == "" {
		return p.want
	}
	return p.want + " " + p.path
}

// Tolerates reports whether the error e is one that the call expects.
func (c *Call) Tolerates(e unix.Errno) bool {
	if c.AllowAny {
		return true
	}
	for _, a := range c.Allowed {
		if a == e {
			return true
		}
	}
	return false
}

// ArgKind says what an Arg is.
type ArgKind uint8

// Kinds of arguments.
const (
	Int    ArgKind = iota // a plain number
	Ref                   // the result of an earlier call, or a descriptor
	Memory                // a pointer to bytes
)

// Arg is one argument of a Call. Which of the fields counts, Kind tells.
type Arg struct {
	N   uint64
	H   Handle
	Mem *Mem
}

// Kind is Memory or Ref if there is memory or a handle, and otherwise Int.
func (a *Arg) Kind() ArgKind {
	switch {
	case a.Mem != nil:
		return Memory
	case a.H.r != nil:
		return Ref
	}
	return Int
}

// Mem is memory that a call reads or writes. The executing kernel copies
// Bytes to where the call can see them and, if Out is set, back afterwards.
type Mem struct {
	Bytes []byte
	Refs  []Pointer           // pointers inside of Bytes
	Out   bool                // the call writes here
	Sized bool                // the call's result says how many bytes it wrote
	Text  bool                // a NUL-terminated string
	Both  bool                // several calls of a batch have it in one place: what one writes another reads
	Note  func([]byte) string // how it is printed, if not as text or size
	place int                 // where the executing kernel put it
}

// Pointer is a pointer inside of a Mem: the address of To is stored at Off.
type Pointer struct {
	Off int
	To  *Mem
}

// Handle is the result of a call, in the table of the kernel that executed
// it: a descriptor, a process id. It can be used as an argument of a later
// call, also in the same batch. The zero Handle is invalid.
type Handle struct{ r *result }

type result struct {
	n     int64
	done  bool
	tree  bool   // a tree, so says the label
	index int32  // call's index in its batch while not done
	batch *Batch // batch while not done
	label string
}

// NewHandle returns a handle on a descriptor that the kernel already has:
// inherited ones of the stub, open ones of the host. Only kernels and those
// who start them call this.
func NewHandle(n int64, label string) Handle {
	return Handle{&result{n: n, done: true, label: label}}
}

// CWD is AT_FDCWD as a handle: the current directory of the executing process.
func CWD() Handle { return Handle{&cwd} }

// cwd never changes: nobody resolves it.
var cwd = result{n: unix.AT_FDCWD, done: true, label: "cwd"}

// NoFD is the descriptor -1, where a call takes "none".
func NoFD() Handle { return NewHandle(-1, "-1") }

// Valid reports whether the handle was made by a call or NewHandle.
func (h Handle) Valid() bool { return h.r != nil }

// Label says what the handle is, for texts.
func (h Handle) Label() string {
	if h.r == nil {
		return "invalid"
	}
	if h.r.tree {
		return "tree " + h.r.label
	}
	return h.r.label
}

// As gives the handle the label of another, of which it is a copy.
func (h Handle) As(other Handle) Handle {
	h.r.label, h.r.tree = other.r.label, other.r.tree
	return h
}

// Number returns the result's number for the kernel that executes a call; ok
// is false while the call that makes it has not run, and index then is that
// call's place in batch b. For kernels only.
func (h Handle) Number(b *Batch) (n int64, index int, ok bool) {
	if h.r == nil {
		return -1, 0, true
	}
	if !h.r.done && h.r.batch == b {
		return 0, int(h.r.index), false
	}
	return h.r.n, 0, true
}

// Resolve stores the result. For kernels only.
func (h Handle) Resolve(n int64) { h.r.n, h.r.done, h.r.batch = n, true, nil }

// Errno returns the error of an executed call that was allowed to fail, 0 if
// it succeeded. It is meaningful after the batch has run.
func (h Handle) Errno() unix.Errno {
	if h.r == nil || !h.r.done {
		return unix.EBADF
	}
	if h.r.n < 0 && h.r.n > -4096 {
		return unix.Errno(-h.r.n)
	}
	return 0
}

// Count returns the result of an executed call that yields a number of bytes,
// bounded to [0, limit]: the number comes from a process that the container
// may have reached and is never trusted.
func (h Handle) Count(limit int) int {
	if h.r == nil || !h.r.done || h.r.n < 0 {
		return 0
	}
	return int(min(h.r.n, int64(limit)))
}

// At and Place keep where a kernel put the memory. For kernels only.
func (m *Mem) At(place int) { m.place = place }

// Place is where At said.
func (m *Mem) Place() int { return m.place }
