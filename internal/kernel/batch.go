package kernel

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Batch is a list of calls that are executed together, in order.
type Batch struct {
	Calls []Call
	// Meanwhile, if set, is run by the kernel while another process executes
	// the calls; its error fails the batch. Only the last call may wait for what it
	// does: the calls of a large batch are executed in parts, and it comes with the last.
	Meanwhile func() error

	// Late allows the kernel to return from Run before others have executed the
	// calls, if nothing has to be done Meanwhile. The next Run that is not Late ends
	// with what is left of this one, or the next but one that is; it tells the error.
	// Calls may use the results of these. Until then the batch must stay as it is.
	// None of the calls uses the line to tongs.
	Late bool

	// Hoard leaves out all that closes a descriptor: for a process that has few
	// and closes all in the end, by one call.
	Hoard bool

	omitted bool  // the call that was to be added last
	aside   error // of Meanwhile
	// Expect is how many calls there will be, roughly: it saves copying.
	Expect int

	checks  []func() error
	purpose *Purpose // of the calls that follow

	// Slabs: a container takes some hundred calls, and allocating each part
	// of them alone would cost more than executing them.
	purposes []Purpose
	mems     []Mem
	bytes    []byte
	answers  *answers

	// What many calls are given alike.
	empty *Mem // ""
	how   *Mem // struct open_how
}

// answers is what stays when a batch is filled again.
type answers struct {
	results []result
	stats   []Stat
}

func (b *Batch) stored() *answers {
	if b.answers == nil {
		b.answers = &answers{}
	}
	return b.answers
}

// After returns an empty batch for calls that come after those of b, of which there
// will be so many, roughly. It stores their answers behind those of b.
func (b *Batch) After(expect int) *Batch {
	return &Batch{Expect: expect, Hoard: b.Hoard, answers: b.stored()}
}

// slab returns the next of a list that is allocated in pieces, of which the first
// has room for n and each for twice as many as the one before.
func slab[T any](s *[]T, n int) *T {
	if len(*s) == cap(*s) {
		*s = make([]T, 0, max(n, 2*cap(*s)))
	}
	*s = (*s)[:len(*s)+1]
	return &(*s)[len(*s)-1]
}

// Reset empties a batch that has been run, to be filled again. Handles of the
// old calls stay valid.
func (b *Batch) Reset() {
	b.Calls, b.checks, b.Meanwhile, b.aside, b.Late = b.Calls[:0], b.checks[:0], nil, nil, false
	// What calls were given is not needed any more; what they answered is.
	b.mems, b.bytes, b.purposes = b.mems[:0], b.bytes[:0], b.purposes[:0]
	if p := b.purpose; p != nil {
		b.ForPath(p.Field, p.want, p.path)
	}
}

// For says which configuration field the following calls serve and what they
// are to achieve ("cannot attach mount"), for errors and the recorder.
func (b *Batch) For(field, want string) *Batch {
	return b.ForPath(field, want, "")
}

// ForPath is For with a path, or another name, behind what is wanted. It costs
// less than to put them together.
func (b *Batch) ForPath(field, want, path string) *Batch {
	b.purpose = slab(&b.purposes, max(b.Expect/2, 4))
	*b.purpose = Purpose{field, want, path}
	return b
}

// Check registers a function that judges results once the batch has run.
// Checks run in the order in which they were registered; the first error
// fails the batch.
func (b *Batch) Check(f func() error) { b.checks = append(b.checks, f) }

// Empty reports whether there is nothing to run.
func (b *Batch) Empty() bool { return len(b.Calls) == 0 && len(b.checks) == 0 && b.Meanwhile == nil }

// Overlap runs what is to be done while the calls are executed, once. For
// kernels, when others execute the calls; Finish does it at the latest.
func (b *Batch) Overlap() {
	if f := b.Meanwhile; f != nil {
		b.Meanwhile = nil
		b.aside = f()
	}
}

// Finish runs the checks. For kernels, after the last call.
func (b *Batch) Finish() error {
	b.Overlap()
	if b.aside != nil {
		return b.aside
	}
	for _, f := range b.checks {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

func (b *Batch) add(name string, nr uintptr, args ...Arg) *Call {
	b.omitted = false
	i := len(b.Calls)
	if i == cap(b.Calls) {
		b.Calls = slices.Grow(b.Calls, max(b.Expect, 8))
	}
	if b.purpose == nil {
		b.For("", "")
	}
	r := slab(&b.stored().results, max(b.Expect, 8))
	*r = result{index: int32(i), batch: b, n: -int64(unix.ECANCELED), label: name}
	b.Calls = b.Calls[:i+1]
	c := &b.Calls[i]
	*c = Call{Name: name, Nr: nr, Result: Handle{r}, Purpose: b.purpose}
	copy(c.Args[:], args)
	return c
}

// open adds a call whose success is a new descriptor, with a label for texts.
func (b *Batch) open(label, name string, nr uintptr, args ...Arg) Handle {
	c := b.add(name, nr, args...)
	c.Opens = true
	c.Result.r.label = label
	return c.Result
}

// Allow marks the last call: these errors are expected, without any: all.
func (b *Batch) Allow(errs ...unix.Errno) *Batch {
	if b.omitted {
		return b
	}
	c := &b.Calls[len(b.Calls)-1]
	c.Allowed = append(c.Allowed, errs...)
	c.AllowAny = len(errs) == 0
	return b
}

// Last returns the result of the call that was added last.
func (b *Batch) Last() Handle { return b.Calls[len(b.Calls)-1].Result }

// Raw adds a call that has no typed function. For tests of kernels.
func (b *Batch) Raw(name string, nr uintptr, args ...Arg) *Call { return b.add(name, nr, args...) }

func num[T ~int | ~uint | ~int64 | ~uint64 | ~uint32 | ~int32 | ~uintptr](n T) Arg {
	return Arg{N: uint64(n)}
}

// ref is -1 for a handle that is not valid.
func ref(h Handle) Arg {
	if !h.Valid() {
		return num(-1)
	}
	return Arg{H: h}
}

func (b *Batch) mem(m Mem) Arg {
	p := slab(&b.mems, max(b.Expect, 8))
	*p = m
	return Arg{Mem: p}
}

// text is a NUL-terminated string.
func (b *Batch) text(s string) Arg {
	if s == "" {
		if b.empty == nil {
			b.empty = &Mem{Bytes: []byte{0}, Text: true}
		}
		return Arg{Mem: b.empty}
	}
	n := len(s) + 1
	if len(b.bytes)+n > cap(b.bytes) {
		b.bytes = make([]byte, 0, max(16*b.Expect, 256, n))
	}
	at := len(b.bytes)
	b.bytes = append(append(b.bytes, s...), 0)
	return b.mem(Mem{Bytes: b.bytes[at : at+n : at+n], Text: true})
}

func (b *Batch) in(bytes []byte, note func([]byte) string) Arg {
	return b.mem(Mem{Bytes: bytes, Note: note})
}

func (b *Batch) out(bytes []byte) Arg { return b.mem(Mem{Bytes: bytes, Out: true}) }

// fill is memory of which the call's result says how much was written.
func (b *Batch) fill(bytes []byte) Arg { return b.mem(Mem{Bytes: bytes, Out: true, Sized: true}) }

// N is a plain number as an argument, T a string, R a handle: for Raw.
func N(n uint64) Arg { return num(n) }

// T is a NUL-terminated string as an argument, for Raw.
func T(s string) Arg { return new(Batch).text(s) }

// R is an earlier result as an argument, for Raw.
func R(h Handle) Arg { return ref(h) }

// Out is a buffer that the call writes, as an argument, for Raw.
func Out(b []byte) Arg { return new(Batch).out(b) }

// vector is an array of pointers to strings, ended by a null pointer, as
// execve(2) takes it.
func (b *Batch) vector(list []string) Arg {
	m := Mem{Bytes: make([]byte, 8*(len(list)+1)), Refs: make([]Pointer, len(list))}
	for i, s := range list {
		m.Refs[i] = Pointer{8 * i, b.text(s).Mem}
	}
	return b.mem(m)
}
