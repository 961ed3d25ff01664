package cgroup

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Raw bpf(2), which golang.org/x/sys does not wrap. The attribute structs are
// prefixes of union bpf_attr; the kernel takes the rest as zero. Addresses in
// them are integers, so the memory behind is pinned until the call is over.

// loadDeviceProgram returns the descriptor of the program.
func loadDeviceProgram(code []byte) (int, error) {
	license := []byte("Apache-2.0\x00")
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&code[0])
	pin.Pin(&license[0])
	attr := struct {
		kind, count    uint32
		code, license  uint64
		level, logSize uint32
		log            uint64
		version, flags uint32
	}{
		kind: unix.BPF_PROG_TYPE_CGROUP_DEVICE, count: uint32(len(code) / bpfInsSize),
		code: uint64(uintptr(unsafe.Pointer(&code[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0]))),
	}
	return bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
}

// attachProgram adds a program to those of the cgroup. ALLOW_MULTI lets
// programs of parents and of nested containers stand beside it: all must say
// yes.
func attachProgram(dir, prog int) error {
	attr := struct{ target, prog, kind, flags uint32 }{
		uint32(dir), uint32(prog), unix.BPF_CGROUP_DEVICE, unix.BPF_F_ALLOW_MULTI,
	}
	_, err := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return err
}

// detachProgram removes the program with this id from the cgroup.
func detachProgram(dir int, id uint32) error {
	find := struct{ id, next, flags uint32 }{id: id}
	prog, err := bpf(unix.BPF_PROG_GET_FD_BY_ID, unsafe.Pointer(&find), unsafe.Sizeof(find))
	if err != nil {
		return err
	}
	defer unix.Close(prog)
	attr := struct{ target, prog, kind, flags uint32 }{uint32(dir), uint32(prog), unix.BPF_CGROUP_DEVICE, 0}
	_, err = bpf(unix.BPF_PROG_DETACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return err
}

// devicePrograms returns the ids of the device programs of the cgroup itself.
func devicePrograms(dir int) ([]uint32, error) {
	ids := make([]uint32, 64) // the kernel's limit (BPF_CGROUP_MAX_PROGS)
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&ids[0])
	// The whole struct: kernels from 6.17 write the last field whatever size
	// is given.
	attr := struct {
		target, kind, query, flags uint32
		ids                        uint64
		count, pad                 uint32
		progFlags, links, linkFlag uint64
		revision                   uint64
	}{target: uint32(dir), kind: unix.BPF_CGROUP_DEVICE, ids: uint64(uintptr(unsafe.Pointer(&ids[0]))), count: uint32(len(ids))}
	if _, err := bpf(unix.BPF_PROG_QUERY, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return nil, err
	}
	return ids[:min(int(attr.count), len(ids))], nil
}

// bpf makes the call. EAGAIN is a signal during verification, such as those of
// Go's scheduler; each attempt starts anew, so there is a limit.
func bpf(command int, attr unsafe.Pointer, size uintptr) (int, error) {
	for try := 0; ; try++ {
		n, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(command), uintptr(attr), size)
		switch {
		case errno == 0:
			return int(n), nil
		case (errno == unix.EAGAIN || errno == unix.EINTR) && try < 30:
		default:
			return -1, os.NewSyscallError("bpf", errno)
		}
	}
}
