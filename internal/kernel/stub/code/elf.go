package code

import "encoding/binary"

// Machines that the loop is written for (elf(5), e_machine).
const (
	MachineAMD64 = 62
	MachineARM64 = 183
)

// Image wraps machine code into a static executable with one segment that is
// readable and executable (elf(5)), and a stack that is not executable.
func Image(machine uint16, loop []byte) []byte {
	const (
		address = 0x400000
		header  = 64
		program = 56
		entry   = header + 2*program
	)
	e := make([]byte, entry, entry+len(loop))
	le := binary.LittleEndian
	copy(e, "\x7fELF\x02\x01\x01") // 64 bits, little endian, version 1
	le.PutUint16(e[16:], 2)        // ET_EXEC
	le.PutUint16(e[18:], machine)
	le.PutUint32(e[20:], 1)
	le.PutUint64(e[24:], address+entry)
	le.PutUint64(e[32:], header)
	le.PutUint16(e[52:], header)
	le.PutUint16(e[54:], program)
	le.PutUint16(e[56:], 2)
	load := e[header:]
	le.PutUint32(load, 1)     // PT_LOAD
	le.PutUint32(load[4:], 5) // PF_R|PF_X
	le.PutUint64(load[16:], address)
	le.PutUint64(load[24:], address)
	le.PutUint64(load[32:], uint64(entry+len(loop)))
	le.PutUint64(load[40:], uint64(entry+len(loop)))
	le.PutUint64(load[48:], 0x10000) // alignment: the largest page of arm64
	stack := e[header+program:]
	le.PutUint32(stack, 0x6474e551) // PT_GNU_STACK
	le.PutUint32(stack[4:], 6)      // PF_R|PF_W
	return append(e, loop...)
}
