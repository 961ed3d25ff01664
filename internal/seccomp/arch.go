package seccomp

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const (
	x86_64 = specs.ArchX86_64
	x32    = specs.ArchX32
)

// x32Bit marks the numbers of x32, which shares its token with x86-64.
const x32Bit = 1 << 30

// arch is an architecture of the table.
type arch struct {
	name   specs.Arch
	column int    // in the table
	token  uint32 // AUDIT_ARCH_… as seccomp_data has it
	first  uint32 // what is added to the numbers of the table
	wide   bool   // arguments have 64 bits; otherwise the upper halves are not looked at
	shared bool   // socketcall and ipc stand for many calls
}

// known lists the architectures in the order of the table's columns.
func known() [7]arch {
	return [7]arch{
		{name: x86_64, column: 0, token: unix.AUDIT_ARCH_X86_64, wide: true},
		{name: specs.ArchX86, column: 1, token: unix.AUDIT_ARCH_I386, shared: true},
		{name: x32, column: 2, token: unix.AUDIT_ARCH_X86_64, first: x32Bit},
		{name: specs.ArchAARCH64, column: 3, token: unix.AUDIT_ARCH_AARCH64, wide: true},
		{name: specs.ArchARM, column: 4, token: unix.AUDIT_ARCH_ARM},
		{name: specs.ArchRISCV64, column: 5, token: unix.AUDIT_ARCH_RISCV64, wide: true},
		{name: specs.ArchLOONGARCH64, column: 6, token: unix.AUDIT_ARCH_LOONGARCH64, wide: true},
	}
}

const (
	columns = 7
	absent  = 0xffff
	// tableSize bounds the numbers in the table.
	tableSize = 1024
	// armPrivate is the place of ARM's private calls in the table, and
	// armPrivateFirst their first number.
	armPrivate      = 1000
	armPrivateFirst = 0x0f0000
)

// cell is the place of a system call among those of an architecture, -1 if
// that does not have it.
func (a *arch) cell(row int) int {
	at := 2 * (row*columns + a.column)
	n := int(cells[at]) | int(cells[at+1])<<8
	if n == absent {
		return -1
	}
	return n
}

// number is the number of a system call by its place.
func (a *arch) number(cell int) uint32 {
	if cell >= armPrivate {
		return armPrivateFirst + uint32(cell-armPrivate)
	}
	return a.first + uint32(cell)
}

// native is the architecture of the programs that Go makes for goarch.
func native(goarch string) specs.Arch {
	switch goarch {
	case "amd64":
		return x86_64
	case "arm64":
		return specs.ArchAARCH64
	case "riscv64":
		return specs.ArchRISCV64
	case "loong64":
		return specs.ArchLOONGARCH64
	}
	return ""
}

// architectures lists those of the profile, each once: the native one is
// always there, and is the first.
func architectures(s *specs.LinuxSeccomp, native specs.Arch) ([]arch, error) {
	all := known()
	list := make([]arch, 0, len(all))
	var seen [columns]bool
	add := func(name specs.Arch) bool {
		for _, a := range all {
			if a.name == name {
				if !seen[a.column] {
					list = append(list, a)
				}
				seen[a.column] = true
				return true
			}
		}
		return false
	}
	if !add(native) {
		return nil, fmt.Errorf("linux.seccomp: not supported on this machine")
	}
	for i, name := range s.Architectures {
		if !add(name) {
			return nil, fmt.Errorf("linux.seccomp.architectures[%d]: there is no table of the system calls of %s", i, name)
		}
		if name == x32 && !add(x86_64) {
			return nil, fmt.Errorf("linux.seccomp.architectures[%d]: %s without %s", i, x32, x86_64)
		}
	}
	return list, nil
}
