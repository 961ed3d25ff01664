// Package code holds the stub's machine code: a loop that executes the system
// calls which tongs writes into shared memory. It is written in Go's
// assembler, one file an architecture, and is never called: its bytes are
// taken out of the program's own text and wrapped into an executable.
//
// The loop, in words:
//
//	map the descriptor whose number is argc, shared, at Base; exit if that fails
//	start: r = Base
//	exit:  exit_group; where a seccomp filter refuses it, an undefined instruction
//	next:  if r.number == 0: exit        (a record that was not filled never runs)
//	       load the six arguments; where flag k is set, argument k is the
//	       address of an earlier result: load the result instead
//	       r.result = system call r.number-1
//	       negative: exit, unless FlagAllow
//	       zero:     exit if FlagZeroFatal
//	       positive: exit if FlagExitPositive, else leave out as many of the
//	                 next records as the flags say
//	       if FlagJump: go to start
//	       r = next record; go to next
//
// What it deliberately does not do: it has no protocol (waiting and reporting
// are read and write calls in records), no memory of its own, no second
// thread, no way to be told anything but through the records.
package code

// Layout of the shared memory. The assembler files repeat Base, Size and the
// record's offsets as numbers; a test compares the loop with a model of it.
const (
	Base       = 0x100000000 // address of the mapping in the stub
	Size       = 0x1000000   // its size in bytes; untouched pages cost nothing
	RecordSize = 72          // number, six arguments, flags, result: 8 bytes each
	ArgsOff    = 8
	FlagsOff   = 56
	ResultOff  = 64
)

// Flags of a record. Bits 0 to 5: argument k is the address of a result.
const (
	FlagAllow        = 1 << 6 // an error does not end the stub
	FlagZeroFatal    = 1 << 7 // a result of zero ends the stub
	FlagExitPositive = 1 << 8 // a positive result ends the stub
	FlagJump         = 1 << 9 // continue with the first record

	// SkipShift is where the number of records is that a positive result leaves
	// out: those that only the child of a fork executes.
	SkipShift = 16
)

// ExitStatus is the stub's exit status when the loop ends by itself.
const ExitStatus = 125

// bounds returns the addresses of the loop's first byte and of the first byte
// behind it.
func bounds() (start, end *byte)
