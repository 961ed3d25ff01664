package container

import (
	"os"
	"runtime/debug"
	"strconv"

	"golang.org/x/sys/unix"
)

// calmMonitor lets the Go runtime's monitor thread sleep longer. By itself it
// wakes every 20 µs in the first milliseconds of a process, looking for
// goroutines that run too long; there is one here, and each time the thread
// takes the CPU from it or from the container's process. With a timer slack of
// 2 ms (prctl(2), PR_SET_TIMERSLACK) it wakes forty times less often.
//
// The monitor is the first thread that the runtime makes. If the number is not
// that of a thread of ours, or the slack cannot be set (it needs
// CAP_SYS_NICE), nothing is changed.
func calmMonitor() {
	tid := os.Getpid() + 1
	if unix.Tgkill(os.Getpid(), tid, 0) != nil {
		return
	}
	fd, err := unix.Open("/proc/"+strconv.Itoa(tid)+"/timerslack_ns", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	_, _ = unix.Write(fd, []byte("2000000")) // it is slower without, and nothing else
}

// largeConfig is a size of config.json, in bytes, below which the heap stays too
// small to be collected.
const largeConfig = 64 << 10

// calmCollector lets the heap grow to 64 MiB before it is collected: a command
// ends soon, and with a thousand mounts it would spend half of its time on that.
// It stops the world twice, so a usual container is better off without.
func calmCollector() {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(64 << 20)
}
