package container

import (
	"os"
	"runtime"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// netNamespace is a new network namespace for a container. The kernel takes half
// a millisecond to make one, a tenth of a whole run: a thread of its own does it,
// on another processor, while the container gets its state, its cgroup and its
// process, which is then given the namespace.
type netNamespace struct{ made chan int }

// makeNetNamespace begins to make the network namespace that a configuration asks
// for. It returns nil if the container's process has to make it: one that belongs
// to the container's user namespace only it can make, and on a machine with one
// processor nothing would be won.
func makeNetNamespace(spec *specs.Spec) *netNamespace {
	if spec.Linux == nil || os.Geteuid() != 0 || runtime.NumCPU() == 1 {
		return nil
	}
	wanted := false
	for _, n := range spec.Linux.Namespaces {
		switch n.Type {
		case specs.UserNamespace:
			return nil
		case specs.NetworkNamespace:
			wanted = n.Path == ""
		}
	}
	if !wanted {
		return nil
	}
	n := &netNamespace{made: make(chan int, 1)}
	here, err := processor()
	go func() {
		runtime.LockOSThread() // for ever, so that the thread ends with this function
		if err == nil {
			avoid(here)
		}
		n.made <- unshareNet()
	}()
	return n
}

// unshareNet moves the calling thread into a new network namespace, whose
// loopback device it brings up, and returns a descriptor of that, or -1: the
// container's process, which then tries itself, gets the error. The first thread
// of a process cannot end before the others, and would keep the namespace.
func unshareNet() int {
	if unix.Gettid() == os.Getpid() || unix.Unshare(unix.CLONE_NEWNET) != nil {
		return -1
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	defer unix.Close(socket)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return -1
	}
	lo.SetUint16(unix.IFF_UP)
	if unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, lo) != nil {
		return -1
	}
	fd, err := unix.IoctlRetInt(socket, unix.SIOCGSKNS) // 4.10; close-on-exec
	if err != nil {
		return -1
	}
	return fd
}

// ready reports whether nothing is being made any more.
func (n *netNamespace) ready() bool { return n == nil || len(n.made) > 0 }

// give waits until the namespace is made and gives it away by send, which gets -1
// if it could not be made or is given away already.
func (n *netNamespace) give(send func(fd int) error) error {
	fd := <-n.made
	n.made <- -1
	err := send(fd)
	if fd >= 0 {
		unix.Close(fd)
	}
	return err
}

// close frees what was not given away.
func (n *netNamespace) close() {
	if n != nil {
		_ = n.give(func(int) error { return nil })
	}
}
