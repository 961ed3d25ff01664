package cgroup

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// The device program of cgroup v2, type BPF_PROG_TYPE_CGROUP_DEVICE (4.15). It
// is asked about each open and mknod with struct bpf_cgroup_dev_ctx {u32
// access_type, major, minor}, access in the upper and type in the lower half
// of the first word, and answers 1 (allow) or 0.
//
// Loading it is the dearest call on a container's way. The kernel's verifier walks
// every way through a program, so a conditional jump takes it as long as eight
// instructions of arithmetic do (3.3 µs and 0.4 µs, Linux 6.18). Hence there is not
// a jump here: for each exception the program makes a word that is 0 if the
// exception matches, and ors into the result whether it is.

// Instruction codes, from linux/bpf.h and linux/bpf_common.h. Those of 32 bits
// clear the upper half of the register.
const (
	bpfLoad32  = 0x61 // BPF_LDX|BPF_MEM|BPF_W
	bpfMovImm  = 0xb4 // BPF_ALU|BPF_MOV|BPF_K
	bpfMovReg  = 0xbc // BPF_ALU|BPF_MOV|BPF_X
	bpfAnd     = 0x54 // BPF_ALU|BPF_AND|BPF_K
	bpfShift   = 0x74 // BPF_ALU|BPF_RSH|BPF_K
	bpfXor     = 0xa4 // BPF_ALU|BPF_XOR|BPF_K
	bpfOr      = 0x4c // BPF_ALU|BPF_OR|BPF_X
	bpfAdd64   = 0x07 // BPF_ALU64|BPF_ADD|BPF_K
	bpfOr64    = 0x4f // BPF_ALU64|BPF_OR|BPF_X
	bpfShift64 = 0x77 // BPF_ALU64|BPF_RSH|BPF_K
	bpfExit    = 0x95 // BPF_JMP|BPF_EXIT

	bpfBlock, bpfChar = 1, 2 // BPF_DEVCG_DEV_*
)

// bpfInsSize is the size of struct bpf_insn.
const bpfInsSize = 8

// Registers of the program. The kernel gives the request in regContext and takes
// the answer from regResult.
const (
	regResult  = iota // the highest bit: an exception matches
	regContext        // struct bpf_cgroup_dev_ctx
	regKind
	regAccess
	regMajor
	regMinor
	regOther   // 0 if type and access are those of the exception
	regOutside // 0 if the major is, too
	regWord    // 0 if all is
)

// assembler collects instructions.
type assembler []byte

// add appends an instruction. What it does not need is 0.
func (s *assembler) add(code, dst, src byte, off int16, imm uint32) {
	regs := src<<4 | dst
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		// Big endian: the two are bit fields, whose order follows the bytes'.
		regs = dst<<4 | src
	}
	*s = append(*s, code, regs)
	*s = binary.NativeEndian.AppendUint16(*s, uint16(off))
	*s = binary.NativeEndian.AppendUint32(*s, imm)
}

// imm and reg append an instruction with a number or a second register.
func (s *assembler) imm(code, dst byte, n uint32) { s.add(code, dst, 0, 0, n) }
func (s *assembler) reg(code, dst, src byte)      { s.add(code, dst, src, 0, 0) }

// program compiles the policy. The order of exceptions has no meaning: one
// that matches decides against the default.
func (p devicePolicy) program() []byte {
	s := make(assembler, 0, 80*bpfInsSize)
	s.imm(bpfMovImm, regResult, 0)
	if len(p.except) > 0 {
		s.add(bpfLoad32, regKind, regContext, 0, 0)
		s.reg(bpfMovReg, regAccess, regKind)
		s.imm(bpfAnd, regKind, 0xffff)
		s.imm(bpfShift, regAccess, 16)
		s.add(bpfLoad32, regMajor, regContext, 4, 0)
		s.add(bpfLoad32, regMinor, regContext, 8, 0)
	}
	// What an exception has in common with the one before is there already.
	list := slices.SortedFunc(slices.Values(p.except), func(a, b exception) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.access, b.access), cmp.Compare(a.major, b.major))
	})
	for i, e := range list {
		first := i == 0 || list[i-1].kind != e.kind || list[i-1].access != e.access
		if first {
			s.kind(e.kind)
			s.access(e.access, p.allow)
		}
		if first || list[i-1].major != e.major {
			s.compare(regOutside, regOther, regMajor, e.major)
		}
		s.compare(regWord, regOutside, regMinor, e.minor)
		s.imm(bpfAdd64, regWord, less1) // sets the highest bit of 0 only
		s.reg(bpfOr64, regResult, regWord)
	}
	s.imm(bpfShift64, regResult, 63)
	s.imm(bpfXor, regResult, bit(p.allow))
	s.add(bpfExit, 0, 0, 0, 0)
	return s
}

// less1 is -1 as the number of an instruction, which extends its sign.
const less1 = 0xffff_ffff

// kind begins regOther.
func (s *assembler) kind(letter byte) {
	number := uint32(bpfChar)
	if letter == 'b' {
		number = bpfBlock
	}
	s.reg(bpfMovReg, regOther, regKind)
	s.imm(bpfXor, regOther, number)
}

// access ors into regOther that an exception which allows does not cover the whole
// request, or that one which denies does not touch it (match_exception and
// match_exception_partial in the kernel's devices.c).
func (s *assembler) access(a access, denies bool) {
	if !denies && a == accessAll {
		return
	}
	s.reg(bpfMovReg, regWord, regAccess)
	if denies {
		s.imm(bpfAnd, regWord, uint32(a))
		s.imm(bpfAdd64, regWord, less1)
		s.imm(bpfShift64, regWord, 63)
	} else {
		s.imm(bpfAnd, regWord, uint32(accessAll&^a))
	}
	s.reg(bpfOr, regOther, regWord)
}

// compare makes dst 0 if base is and the number has the value that is wanted.
func (s *assembler) compare(dst, base, number byte, want int64) {
	if want == anyNumber {
		s.reg(bpfMovReg, dst, base)
		return
	}
	s.reg(bpfMovReg, dst, number)
	s.imm(bpfXor, dst, uint32(want))
	s.reg(bpfOr, dst, base)
}

func bit(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}
