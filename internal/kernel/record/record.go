// Package record is the kernel that executes nothing: it writes batches down
// as text, as strace would print them, with labels in place of descriptors.
// Tests compare that text with golden files; faults can be injected at any
// call.
//
// What it deliberately does not do: it does not model a file system. A call
// succeeds unless the test's Answer or Fail says otherwise.
package record

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// Kernel records what it is given.
type Kernel struct {
	// Answer, if set, gives the result of a call: a number or a negative
	// errno; ok false leaves the call to the default. It may fill memory.
	Answer func(c *kernel.Call) (n int64, ok bool)
	// Fail makes the call with this number, counted from 1 over all batches,
	// fail with Errno.
	Fail  int
	Errno unix.Errno

	Text  strings.Builder // what was recorded
	Count int             // calls so far
	next  int64           // next descriptor
}

// Run records the batch (kernel.Kernel).
func (k *Kernel) Run(b *kernel.Batch) error {
	for i := range b.Calls {
		c := &b.Calls[i]
		if !kernel.Known(c.Name) {
			return fmt.Errorf("call %s has no argument format", c.Name)
		}
		k.Count++
		n := k.answer(c)
		k.write(c, n)
		if n < 0 {
			if e := unix.Errno(-n); !c.Tolerates(e) {
				return kernel.Failed(c, e)
			}
		}
		c.Result.Resolve(n)
	}
	return b.Finish()
}

func (k *Kernel) answer(c *kernel.Call) int64 {
	if k.Count == k.Fail {
		return -int64(k.Errno)
	}
	if k.Answer != nil {
		if n, ok := k.Answer(c); ok {
			return n
		}
	}
	if c.Opens {
		k.next++
		return k.next + 9
	}
	return 0
}

func (k *Kernel) write(c *kernel.Call, n int64) {
	if c.Field != "" {
		k.Text.WriteString(c.Field + ": ")
	}
	k.Text.WriteString(c.String())
	switch {
	case n < 0:
		k.Text.WriteString(" = -1 " + unix.ErrnoName(unix.Errno(-n)))
	case c.Opens:
		k.Text.WriteString(" = <" + c.Result.Label() + ">")
	case n != 0:
		fmt.Fprintf(&k.Text, " = %d", n)
	}
	k.Text.WriteByte('\n')
}
