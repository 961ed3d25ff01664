package setup

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// candidate is a file that args[0] may mean.
type candidate struct {
	path   string
	stat   *kernel.Stat
	access kernel.Handle
}

// lookUpProgram asks, with the user's rights, for what process.args[0] may
// mean: itself if it has a slash, otherwise each directory of PATH
// (runtime-spec 1.3, config § Process; execvp(3)).
func lookUpProgram(e *Env) error {
	name := e.Spec.Process.Args[0]
	paths := []string{name}
	if !strings.Contains(name, "/") {
		paths = nil
		search, _ := lookUpEnv(e.environ, "PATH")
		for dir := range strings.SplitSeq(search, ":") {
			if dir == "" {
				dir = "."
			}
			paths = append(paths, strings.TrimSuffix(dir, "/")+"/"+name)
		}
	}
	for _, p := range paths {
		e.B.For("process.args[0]", "cannot look up "+p)
		c := &candidate{path: p, stat: e.B.StatPath(p)}
		e.B.Allow()
		e.B.Faccessat2(kernel.CWD(), p, 1, unix.AT_EACCESS)
		c.access = e.B.Allow().Last()
		e.search = append(e.search, c)
	}
	return nil
}

// chooseProgram takes the first that can be executed. That none can be is an
// error of `create`, in words that callers look for: Docker and Podman take
// "executable file not found", "no such file or directory" and "permission
// denied" as exit status 127, 127 and 126.
func chooseProgram(e *Env) error {
	name := e.Spec.Process.Args[0]
	var denied error
	for _, c := range e.search {
		switch {
		case c.stat.Errno() != 0:
			if !strings.Contains(name, "/") {
				continue
			}
			return fmt.Errorf("process.args[0]: exec: %q: stat %s: %s", name, c.path, c.stat.Errno().Error())
		case c.stat.Type() == unix.S_IFDIR:
			denied = fmt.Errorf("process.args[0]: exec: %q: is a directory", name)
		case c.access.Errno() != 0:
			denied = fmt.Errorf("process.args[0]: exec: %q: %s", name, c.access.Errno().Error())
		default:
			e.program = c.path
			return nil
		}
	}
	if denied != nil {
		return denied
	}
	return fmt.Errorf("process.args[0]: exec: %q: executable file not found in $PATH", name)
}

// report tells tongs, in create, that the container is ready.
func report(e *Env) error {
	if e.Park {
		e.B.For("", "cannot report")
		e.B.Write(e.Line, "\x00")
	}
	return nil
}

// waitFifo blocks until `start` writes its byte.
func waitFifo(e *Env) error {
	if e.Park {
		e.B.For("", "cannot wait for start")
		e.B.Read(e.Fifo, 1)
	}
	return nil
}

// closeAll closes what the set-up has opened, and marks the rest of what the
// program is not to have: the shared memory, the line, exec.fifo. They are in
// use until the program is executed (CVE-2024-21626).
func closeAll(e *Env) error {
	used := e.FirstOwn + 2
	if e.Park {
		used++
	}
	if len(e.hooks().StartContainer) > 0 {
		used += 3 // Report, Output, StartInput
	}
	e.B.For("", "cannot close descriptors")
	e.B.CloseRange(used, 0)
	e.B.CloseRange(e.FirstOwn, unix.CLOSE_RANGE_CLOEXEC)
	return nil
}

// execute replaces the stub by the program. If the kernel refuses (a file
// that is no program, too many arguments) there may be nobody to tell: it
// is said on standard error, as other runtimes do.
func execute(e *Env) error {
	e.B.For("process.args[0]", "cannot execute "+e.program)
	e.B.Execve(e.program, e.Spec.Process.Args, e.environ)
	e.B.Allow()
	if e.Park {
		e.B.Write(kernel.NewHandle(2, "stderr"), "tongs: cannot execute "+e.program+": the kernel refused it as a program\n")
		e.B.Allow()
	}
	e.B.ExitGroup(127)
	return nil
}
