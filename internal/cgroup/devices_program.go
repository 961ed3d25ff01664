package cgroup

import "encoding/binary"

// The device program of cgroup v2, type BPF_PROG_TYPE_CGROUP_DEVICE (4.15). It
// is asked about each open and mknod with struct bpf_cgroup_dev_ctx {u32
// access_type, major, minor}, access in the upper and type in the lower half
// of the first word, and answers 1 (allow) or 0.
//
// Loading it is the dearest call on a container's way and takes about 3 µs for
// each instruction (the verifier, the JIT), so compares that exceptions have in
// common are made once.

// Instruction codes, from linux/bpf.h and linux/bpf_common.h. Only the lower
// 32 bits of registers are used, as device numbers are unsigned.
const (
	bpfLoad32  = 0x61 // BPF_LDX|BPF_MEM|BPF_W
	bpfMovImm  = 0xb4 // BPF_ALU|BPF_MOV|BPF_K
	bpfMovReg  = 0xbc // BPF_ALU|BPF_MOV|BPF_X
	bpfAnd     = 0x54 // BPF_ALU|BPF_AND|BPF_K
	bpfShift   = 0x74 // BPF_ALU|BPF_RSH|BPF_K
	bpfNotSame = 0x56 // BPF_JMP32|BPF_JNE|BPF_K, 5.1
	bpfSame    = 0x16 // BPF_JMP32|BPF_JEQ|BPF_K
	bpfJump    = 0x05 // BPF_JMP|BPF_JA
	bpfExit    = 0x95 // BPF_JMP|BPF_EXIT

	bpfBlock, bpfChar = 1, 2 // BPF_DEVCG_DEV_*
)

// bpfInsSize is the size of struct bpf_insn.
const bpfInsSize = 8

// Registers of the program besides r0 (result) and r1 (context).
const (
	regKind = iota + 2
	regAccess
	regMajor
	regMinor
)

// assembler collects instructions, and the jumps that wait for their target.
type assembler struct {
	code []byte
	hits []int // jumps to the answer "an exception matches"
}

// add appends an instruction and returns its index.
func (s *assembler) add(code, dst, src byte, off int16, imm uint32) int {
	regs := src<<4 | dst
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		// Big endian: the two are bit fields, whose order follows the bytes'.
		regs = dst<<4 | src
	}
	s.code = append(s.code, code, regs)
	s.code = binary.NativeEndian.AppendUint16(s.code, uint16(off))
	s.code = binary.NativeEndian.AppendUint32(s.code, imm)
	return s.len() - 1
}

func (s *assembler) len() int { return len(s.code) / bpfInsSize }

// hit appends a jump (conditional or not) to the answer.
func (s *assembler) hit(code, reg byte, imm uint32) {
	s.hits = append(s.hits, s.add(code, reg, 0, 0, imm))
}

// land makes a jump go to the next instruction that is added.
func (s *assembler) land(jump int) {
	// An offset counts from the instruction after the jump.
	binary.NativeEndian.PutUint16(s.code[jump*bpfInsSize+2:], uint16(s.len()-jump-1))
}

// program compiles the policy. The order of exceptions has no meaning: one
// that matches decides against the default.
func (p devicePolicy) program() []byte {
	s := &assembler{code: make([]byte, 0, 64*bpfInsSize)}
	s.add(bpfLoad32, regKind, 1, 0, 0)
	s.add(bpfMovReg, regAccess, regKind, 0, 0)
	s.add(bpfAnd, regKind, 0, 0, 0xffff)
	s.add(bpfShift, regAccess, 0, 0, 16)
	s.add(bpfLoad32, regMajor, 1, 4, 0)
	s.add(bpfLoad32, regMinor, 1, 8, 0)

	left, both := p.bothKinds()
	if both == accessAll && !p.allow {
		p.allow, left, both = true, nil, 0 // everything is allowed; what followed could not be reached
	}
	if both != 0 {
		s.access(!p.allow, both, func() { s.hit(bpfJump, 0, 0) })
	}
	for _, kind := range [...]struct {
		letter byte
		number uint32
	}{{'b', bpfBlock}, {'c', bpfChar}} {
		if !contains(left, func(e exception) bool { return e.kind == kind.letter }) {
			continue
		}
		other := s.add(bpfNotSame, regKind, 0, 0, kind.number)
		for a := access(1); a <= accessAll; a++ {
			same := func(e exception) bool { return e.kind == kind.letter && e.access == a }
			if contains(left, same) {
				s.access(!p.allow, a, func() { s.numbers(left, same) })
			}
		}
		s.land(other)
	}
	s.add(bpfMovImm, 0, 0, 0, bit(p.allow))
	s.add(bpfExit, 0, 0, 0, 0)
	for _, jump := range s.hits {
		s.land(jump)
	}
	if len(s.hits) > 0 { // the verifier refuses code that nothing reaches
		s.add(bpfMovImm, 0, 0, 0, bit(!p.allow))
		s.add(bpfExit, 0, 0, 0, 0)
	}
	return s.code
}

// bothKinds takes out the pair of exceptions for all block and all character
// devices, which needs no compare of the type, if they have the same access.
func (p devicePolicy) bothKinds() ([]exception, access) {
	var b, c access
	for _, e := range p.except {
		if e.device == (device{'b', anyNumber, anyNumber}) {
			b = e.access
		} else if e.device == (device{'c', anyNumber, anyNumber}) {
			c = e.access
		}
	}
	if b != c || b == 0 {
		return p.except, 0
	}
	var left []exception
	for _, e := range p.except {
		if e.major != anyNumber || e.minor != anyNumber {
			left = append(left, e)
		}
	}
	return left, b
}

// access puts the compare of the access before the rest of an exception. One
// that allows must cover the whole request; one that denies needs to touch it
// only (match_exception and match_exception_partial in the kernel's devices.c).
func (s *assembler) access(allow bool, a access, rest func()) {
	var other int
	switch {
	case allow && a == accessAll:
		rest()
		return
	case allow:
		s.add(bpfMovReg, 0, regAccess, 0, 0)
		s.add(bpfAnd, 0, 0, 0, uint32(accessAll&^a))
		other = s.add(bpfNotSame, 0, 0, 0, 0)
	default:
		s.add(bpfMovReg, 0, regAccess, 0, 0)
		s.add(bpfAnd, 0, 0, 0, uint32(a))
		other = s.add(bpfSame, 0, 0, 0, 0)
	}
	rest()
	s.land(other)
}

// numbers compares major and minor of some exceptions: each major once.
func (s *assembler) numbers(all []exception, want func(exception) bool) {
	for i, e := range all {
		if !want(e) {
			continue
		}
		switch {
		case e.major == anyNumber && e.minor == anyNumber:
			s.hit(bpfJump, 0, 0)
			return // what follows could not be reached
		case e.major == anyNumber:
			s.hit(bpfSame, regMinor, uint32(e.minor))
			continue
		case contains(all[:i], func(o exception) bool { return want(o) && o.major == e.major }):
			continue // done with the first of this major
		}
		ofMajor := func(o exception) bool { return want(o) && o.major == e.major }
		if contains(all, func(o exception) bool { return ofMajor(o) && o.minor == anyNumber }) {
			s.hit(bpfSame, regMajor, uint32(e.major))
			continue
		}
		other := s.add(bpfNotSame, regMajor, 0, 0, uint32(e.major))
		for _, o := range all[i:] {
			if ofMajor(o) {
				s.hit(bpfSame, regMinor, uint32(o.minor))
			}
		}
		s.land(other)
	}
}

func contains(all []exception, want func(exception) bool) bool {
	for _, e := range all {
		if want(e) {
			return true
		}
	}
	return false
}

func bit(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}
