// Command intruder runs in a container whose PID namespace others join. It goes
// through all processes again and again, keeps what it could open of those
// that are not its own (their program, root, working directory, descriptors),
// traces them, reaches into their memory, and tries to write to each program
// that it saw. When it is told to end by a line on standard input, it prints
// what it got, one line each, and "end". Its first argument is a path of the
// host's that its own root does not have. Further words: "signal" sends them
// signals as well, "child" does all that in a user namespace of its own.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	runtime.LockOSThread() // a tracer is a thread
	if i := slices.Index(os.Args, "child"); i > 0 {
		inUserNamespace(slices.Delete(os.Args, i, i+1))
		return
	}
	done := make(chan bool)
	go func() {
		var line [1]byte
		os.Stdin.Read(line[:]) // whatever it says
		close(done)
	}()
	in := &intruder{self: strconv.Itoa(os.Getpid()), got: map[string]bool{}, signals: slices.Contains(os.Args, "signal")}
	fmt.Println("ready")
	for {
		select {
		case <-done:
			in.writeAll()
			for line := range in.got {
				fmt.Println(line)
			}
			fmt.Println("seen", in.seen)
			fmt.Println("end")
			return
		default:
			in.look()
		}
	}
}

// inUserNamespace goes on in a new one, in which it has all capabilities.
func inUserNamespace(args []string) {
	cmd := exec.Command("/proc/self/exe", args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{Size: 1}}, GidMappings: []syscall.SysProcIDMap{{Size: 1}}}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "intruder:", err)
		os.Exit(1)
	}
}

type intruder struct {
	self    string
	got     map[string]bool
	kept    []int // descriptors of programs
	seen    int   // processes
	signals bool
}

func (in *intruder) look() {
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is fine
	for _, dir := range dirs {
		if pid := filepath.Base(dir); pid == in.self || pid == "1" {
			continue
		}
		in.seen++
		in.program(dir + "/exe")
		in.memory(dir + "/mem")
		pid, _ := strconv.Atoi(filepath.Base(dir))
		in.trace(pid)
		if in.signals {
			// Who stops for good is waited for by tongs, for a minute.
			list := []unix.Signal{unix.SIGSTOP, unix.SIGCONT, unix.SIGTERM, unix.SIGSYS, unix.Signal(64), unix.SIGKILL}
			for _, s := range list[:2+in.seen%len(list[1:])] {
				_ = unix.Kill(pid, s) // may be gone
			}
			continue
		}
		for _, name := range []string{"/root", "/cwd"} {
			in.directory(dir + name)
		}
		fds, err := os.ReadDir(dir + "/fd")
		if err != nil {
			continue
		}
		for _, fd := range fds {
			in.directory(dir + "/fd/" + fd.Name())
		}
	}
}

// program keeps a program that is a sealed file of memory, or that is not one of
// this container's.
func (in *intruder) program(path string) {
	target, err := os.Readlink(path)
	if err != nil {
		return
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	in.write(path)
	if len(in.kept) >= 200 || filepath.Dir(target) == "/bin" {
		unix.Close(fd)
		return
	}
	in.got["program "+target] = true
	in.kept = append(in.kept, fd)
}

// shared is where the stub has the memory that tongs writes its calls to.
const shared = 0x100000000

// memory reaches into the memory of a process, the stub's if it can.
func (in *intruder) memory(path string) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	word := make([]byte, 8)
	if n, _ := unix.Pread(fd, word, shared); n == len(word) {
		in.got["read memory of the stub"] = true
	}
}

// trace traces a process for a moment.
func (in *intruder) trace(pid int) {
	if unix.PtraceSeize(pid) != nil || unix.PtraceInterrupt(pid) != nil {
		return
	}
	var ws unix.WaitStatus
	if _, err := unix.Wait4(pid, &ws, unix.WALL, nil); err != nil || !ws.Stopped() {
		return
	}
	word := make([]byte, 8)
	if n, _ := unix.PtracePeekData(pid, shared, word); n == len(word) {
		in.got["traced the stub"] = true
	}
	_ = unix.PtraceDetach(pid) // killed meanwhile
}

// write opens a program for writing and writes to it.
func (in *intruder) write(path string) {
	target, err := os.Readlink(path)
	if err != nil || filepath.Dir(target) == "/bin" {
		return
	}
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if _, err := unix.Pwrite(fd, []byte("intruder"), 0); err == nil {
		in.got["wrote "+target] = true
	}
	if err := unix.Ftruncate(fd, 0); err == nil {
		in.got["truncated "+target] = true
	}
}

func (in *intruder) writeAll() {
	for _, fd := range in.kept {
		in.write("/proc/self/fd/" + strconv.Itoa(fd))
	}
}

// directory looks for the host's files below what another process has open.
func (in *intruder) directory(path string) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if _, err := os.Stat(path + os.Args[1]); err == nil {
		in.got["root of the host"] = true
	}
	for _, name := range []string{"config.json", "state.json", "exec.fifo", "cgroup.procs"} {
		if _, err := os.Stat(path + "/" + name); err == nil {
			in.got["directory of the host with "+name] = true
		}
	}
}
