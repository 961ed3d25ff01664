package container

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// processor is the number of the processor that the calling thread runs on.
func processor() (int, error) {
	var cpu uint32
	_, _, errno := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(cpu), nil
}

// avoid moves the calling thread away from a processor if it may run on others:
// the kernel wakes a thread beside the one that wakes it rather than on a virtual
// processor that is idle, which takes longer.
func avoid(cpu int) {
	var may unix.CPUSet
	if unix.SchedGetaffinity(0, &may) == nil && may.Count() > 1 {
		may.Clear(cpu)
		_ = unix.SchedSetaffinity(0, &may) // slower otherwise, nothing else
	}
}

// stay keeps the calling thread, and the process pid unless that is 0, on the
// processor that the thread runs on, until the function that it returns is called.
// Processes that the thread starts inherit that. tongs and the container's process
// take turns: on one processor, each finds its data in the cache and wakes the
// other without an interrupt, which is worth a twentieth of a run, on a busy
// machine a tenth. The process frees itself before it executes anything of the
// container's (setup.CreateOrder).
func stay(pid int) (leave func()) {
	here, _, leave := hold()
	if pid != 0 && here.Count() > 0 {
		_ = unix.SchedSetaffinity(pid, &here) // slower otherwise, nothing else
	}
	return leave
}

// part keeps the calling thread on the processor that it runs on, and the process
// pid on others, until the function that it returns is called: while each has more
// to do than to wait for the other.
func part(pid int) (leave func()) {
	here, others, leave := hold()
	for i := range others {
		others[i] &^= here[i]
	}
	if others.Count() > 0 {
		_ = unix.SchedSetaffinity(pid, &others) // slower otherwise, nothing else
	}
	return leave
}

// hold keeps the calling thread on the processor that it runs on, until leave is
// called, and returns that processor and all that the thread may run on; none if it
// cannot.
func hold() (here, all unix.CPUSet, leave func()) {
	cpu, err := processor()
	if err != nil || unix.SchedGetaffinity(0, &all) != nil {
		return unix.CPUSet{}, unix.CPUSet{}, func() {}
	}
	here.Set(cpu)
	if unix.SchedSetaffinity(0, &here) != nil {
		return unix.CPUSet{}, unix.CPUSet{}, func() {}
	}
	before := all
	return here, all, func() { _ = unix.SchedSetaffinity(0, &before) }
}
