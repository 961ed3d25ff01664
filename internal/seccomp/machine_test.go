package seccomp

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// call is struct seccomp_data of seccomp(2).
type call struct {
	number, arch uint32
	args         [6]uint64
}

func (d *call) word(offset uint32) (uint32, bool) {
	switch {
	case offset == 0:
		return d.number, true
	case offset == 4:
		return d.arch, true
	case offset >= 16 && offset < 64 && offset%4 == 0:
		return uint32(d.args[(offset-16)/8] >> (8 * (offset % 8))), true
	}
	return 0, false
}

// execute is a machine for what programs of seccomp(2) may consist of. It
// counts the instructions that it executes.
func execute(program []unix.SockFilter, d *call) (action uint32, steps int, err error) {
	var a uint32
	var store [16]uint32
	for pc := 0; pc < len(program); pc++ {
		steps++
		in := &program[pc]
		yes := false
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			w, ok := d.word(in.K)
			if !ok {
				return 0, steps, fmt.Errorf("load of offset %d", in.K)
			}
			a = w
			continue
		case unix.BPF_LD | unix.BPF_MEM:
			a = store[in.K]
			continue
		case unix.BPF_ST:
			store[in.K] = a
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= in.K
			continue
		case unix.BPF_RET | unix.BPF_K:
			return in.K, steps, nil
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
			continue
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			yes = a == in.K
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			yes = a > in.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			yes = a >= in.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			yes = a&in.K != 0
		default:
			return 0, steps, fmt.Errorf("instruction %d: unknown code %#x", pc, in.Code)
		}
		if yes {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
	return 0, steps, errors.New("the program has no end")
}

// valid says what the kernel's checker would have against a program: the
// codes of seccomp_check_filter, and jumps and loads within bounds
// (bpf_check_classic).
func valid(program []unix.SockFilter) error {
	if len(program) == 0 || len(program) > maxInstructions {
		return fmt.Errorf("%d instructions", len(program))
	}
	for pc, in := range program {
		left := uint32(len(program) - pc - 1)
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			if in.K >= 64 || in.K%4 != 0 {
				return fmt.Errorf("instruction %d: load of offset %d", pc, in.K)
			}
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, unix.BPF_RET | unix.BPF_K:
		case unix.BPF_JMP | unix.BPF_JA:
			if in.K >= left {
				return fmt.Errorf("instruction %d: jump beyond the end", pc)
			}
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			if uint32(in.Jt) >= left || uint32(in.Jf) >= left {
				return fmt.Errorf("instruction %d: jump beyond the end", pc)
			}
		default:
			return fmt.Errorf("instruction %d: code %#x", pc, in.Code)
		}
	}
	if program[len(program)-1].Code != unix.BPF_RET|unix.BPF_K {
		return errors.New("the last instruction does not return")
	}
	return nil
}
