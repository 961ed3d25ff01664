package setup

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// maxProcessors is the highest number of processors that a Linux kernel can be
// built for (x86-64, MAXSMP).
const maxProcessors = 8192

// freeProcessors lets the program run on all processors of its cpuset, whatever
// tongs and who started it are restricted to, as runc does.
func freeProcessors(e *Env) error {
	a := e.Spec.Process.ExecCPUAffinity
	if e.Joined == nil || a == nil || a.Initial == "" && a.Final == "" {
		e.B.For("", "cannot reset the processor affinity")
		e.B.SchedSetaffinity(bytes.Repeat([]byte{0xff}, maxProcessors/8))
		return nil
	}
	field, list := "process.execCPUAffinity.final", a.Final
	if list == "" {
		field, list = "process.execCPUAffinity.initial", a.Initial
	}
	mask, err := Processors(list)
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	e.B.For(field, "cannot set the processor affinity")
	e.B.SchedSetaffinity(mask)
	return nil
}

// Processors is the mask of a list of processors.
func Processors(list string) ([]byte, error) { return bitMask(list, maxProcessors) }

// bitMask is a list as cpuset(7) has it ("0-3,7") as bits from the lowest on, in
// which spaces around an element and empty elements are allowed.
func bitMask(list string, size uint64) ([]byte, error) {
	mask := make([]byte, size/8)
	for part := range strings.SplitSeq(list, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err1 != nil || err2 != nil || from > to || to >= size {
			return nil, fmt.Errorf("%q is not a number or range below %d", part, size)
		}
		for i := from; i <= to; i++ {
			mask[i/8] |= 1 << (i % 8)
		}
	}
	return mask, nil
}
