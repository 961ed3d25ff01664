package cgroup

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func policy(t *testing.T, rules ...specs.LinuxDeviceCgroup) devicePolicy {
	t.Helper()
	p, err := newDevicePolicy(&specs.LinuxResources{Devices: rules})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// allows is the meaning of a policy, from the kernel's devices.c.
func (p devicePolicy) allows(d device, a access) bool {
	for _, e := range p.except {
		if e.covers(d) && (p.allow && e.access&a != 0 || !p.allow && a&^e.access == 0) {
			return !p.allow
		}
	}
	return p.allow
}

// run executes a device program on one request.
func run(t *testing.T, code []byte, d device, a access) bool {
	t.Helper()
	kind := uint32(bpfChar)
	if d.kind == 'b' {
		kind = bpfBlock
	}
	context := map[int16]uint32{0: uint32(a)<<16 | kind, 4: uint32(d.major), 8: uint32(d.minor)}
	var reg [16]uint64
	for pc := 0; pc < len(code); pc += bpfInsSize {
		ins := code[pc : pc+bpfInsSize]
		dst, src := ins[1]&15, ins[1]>>4
		off := int16(binary.NativeEndian.Uint16(ins[2:]))
		imm := binary.NativeEndian.Uint32(ins[4:])
		switch ins[0] {
		case bpfLoad32:
			reg[dst] = uint64(context[off])
		case bpfMovImm:
			reg[dst] = uint64(imm)
		case bpfMovReg:
			reg[dst] = uint64(uint32(reg[src]))
		case bpfAnd:
			reg[dst] = uint64(uint32(reg[dst]) & imm)
		case bpfShift:
			reg[dst] = uint64(uint32(reg[dst]) >> imm)
		case bpfXor:
			reg[dst] = uint64(uint32(reg[dst]) ^ imm)
		case bpfOr:
			reg[dst] = uint64(uint32(reg[dst] | reg[src]))
		case bpfAdd64:
			reg[dst] += uint64(int32(imm))
		case bpfOr64:
			reg[dst] |= reg[src]
		case bpfShift64:
			reg[dst] >>= imm
		case bpfExit:
			return reg[0] == 1
		default:
			t.Fatalf("unknown instruction %#x at %d", ins[0], pc/bpfInsSize)
		}
	}
	t.Fatal("the program has no end")
	return false
}

func TestDeviceProgramMatchesPolicy(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		t.Skip("the test's machine reads little endian instructions only")
	}
	dev := func(allow bool, kind string, major, minor int64, access string) specs.LinuxDeviceCgroup {
		return specs.LinuxDeviceCgroup{Allow: allow, Type: kind, Major: &major, Minor: &minor, Access: access}
	}
	all := func(allow bool) specs.LinuxDeviceCgroup { return specs.LinuxDeviceCgroup{Allow: allow, Access: "rwm"} }
	for name, rules := range map[string][]specs.LinuxDeviceCgroup{
		"no rule":                 nil,
		"default configuration":   {all(false)},
		"privileged":              {all(true)},
		"one disk to read":        {all(false), dev(true, "b", 8, 0, "r")},
		"all disks of a major":    {all(false), dev(true, "b", 8, -1, "rw")},
		"minor of every major":    {all(false), dev(true, "b", -1, 7, "w")},
		"privileged but one":      {all(true), dev(false, "b", 8, 0, "w")},
		"taken back in part":      {dev(true, "b", 8, 0, "rwm"), dev(false, "b", 8, 0, "wm")},
		"taken back wholly":       {dev(true, "b", 8, 0, "rwm"), dev(false, "b", 8, 0, "rwm")},
		"forgotten by the second": {dev(true, "b", 8, 0, "rwm"), all(false)},
		"everything of one type":  {dev(true, "b", -1, -1, "rwm")},
		"everything of each type": {dev(true, "c", -1, -1, "rw"), dev(true, "b", -1, -1, "rwm"), dev(true, "b", 8, 0, "r")},
		"nothing at all":          {all(true), dev(false, "b", -1, -1, "m"), dev(false, "c", -1, -1, "m")},
		"largest numbers":         {dev(true, "b", 1<<32-1, 1<<32-1, "r")},
	} {
		p := policy(t, rules...)
		code := p.program()
		if os.Getuid() == 0 {
			// The verifier refuses what may answer other than 0 or 1.
			prog, err := loadDeviceProgram(code)
			if err != nil {
				t.Fatalf("%s: the kernel refuses the program: %v", name, err)
			}
			unix.Close(prog)
		}
		for _, kind := range []byte{'b', 'c'} {
			for _, major := range []int64{0, 1, 5, 8, 9, 136, 1<<32 - 1} {
				for _, minor := range []int64{0, 1, 2, 3, 7, 9, 200, 1<<32 - 1} {
					for a := access(1); a <= accessAll; a++ {
						d := device{kind, major, minor}
						if got, want := run(t, code, d, a), p.allows(d, a); got != want {
							t.Fatalf("%s: program says %v for %v %v, policy says %v", name, got, d, a, want)
						}
					}
				}
			}
		}
	}
}

func TestDevicePolicyMeaning(t *testing.T) {
	null, disk := device{'c', 1, 3}, device{'b', 8, 0}
	p := policy(t, specs.LinuxDeviceCgroup{Allow: false, Access: "rwm"})
	for _, c := range []struct {
		d    device
		a    access
		want bool
	}{{null, accessAll, true}, {disk, accessMknod, true}, {disk, accessRead, false}, {device{'c', 136, 77}, accessRead | accessWrite, true}, {device{'b', 1, 3}, accessRead, false}} {
		if got := p.allows(c.d, c.a); got != c.want {
			t.Errorf("default: %v %v is %v", c.d, c.a, got)
		}
	}
	p = policy(t, specs.LinuxDeviceCgroup{Allow: true}, specs.LinuxDeviceCgroup{Type: "b", Major: ptr(int64(8)), Minor: ptr(int64(0)), Access: "w"})
	if p.allows(disk, accessRead|accessWrite) || !p.allows(disk, accessRead) {
		t.Error("a denied write is not denied together with a read")
	}
}

func TestDevicePolicyErrors(t *testing.T) {
	for want, rules := range map[string][]specs.LinuxDeviceCgroup{
		`linux.resources.devices[0].type: unknown device type "x"`: {{Type: "x", Access: "r"}},
		`linux.resources.devices[1].access: "rq" `:                 {{Access: "rwm"}, {Type: "c", Access: "rq"}},
		`linux.resources.devices[0].major: -2 `:                    {{Type: "c", Major: ptr(int64(-2)), Access: "r"}},
		`linux.resources.devices[0].minor: 4294967296 `:            {{Type: "c", Minor: ptr(int64(1 << 32)), Access: "r"}},
		`linux.resources.devices[1]: cannot make a hole for b 8:0 (r) in the earlier rule for b 8:* (mrw)`: {
			{Allow: true, Type: "b", Major: ptr(int64(8)), Access: "rwm"}, {Type: "b", Major: ptr(int64(8)), Minor: ptr(int64(0)), Access: "r"}},
	} {
		_, err := newDevicePolicy(&specs.LinuxResources{Devices: rules})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got error %v, want %q…", err, want)
		}
	}
}
