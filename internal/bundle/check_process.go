package bundle

import (
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// noID is (uid_t)-1, which means "leave as it is" to setresuid(2) and
// chown(2): as a user it would keep root (threat: wrapped ids).
const noID = 1<<32 - 1

func checkProcess(c *checker, p *specs.Process) {
	checkConsoleSize(c, p.ConsoleSize)
	checkUser(c, &p.User)
	checkArgs(c, p.Args)
	checkEnv(c, p.Env)
	checkCwd(c, p.Cwd)
	checkRlimits(c, p.Rlimits)
	checkNUL(c, "process.apparmorProfile", p.ApparmorProfile)
	checkNUL(c, "process.selinuxLabel", p.SelinuxLabel)
	// proc(5): the range of oom_score_adj.
	if v := p.OOMScoreAdj; v != nil && (*v < -1000 || *v > 1000) {
		c.Addf("process.oomScoreAdj", "%d is outside -1000 to 1000", *v)
	}
	checkScheduler(c, p.Scheduler)
	checkIOPriority(c, p.IOPriority)
	if a := p.ExecCPUAffinity; a != nil {
		checkList(c, "process.execCPUAffinity.initial", a.Initial, maxCPU)
		checkList(c, "process.execCPUAffinity.final", a.Final, maxCPU)
	}
}

// checkConsoleSize: struct winsize of TIOCSWINSZ has 16 bits for each; runc
// wraps a larger number around.
func checkConsoleSize(c *checker, box *specs.Box) {
	if box == nil {
		return
	}
	if box.Height > 65535 {
		c.Addf("process.consoleSize.height", "%d is more than 65535", box.Height)
	}
	if box.Width > 65535 {
		c.Addf("process.consoleSize.width", "%d is more than 65535", box.Width)
	}
}

func checkUser(c *checker, user *specs.User) {
	const text = "4294967295 is not an id; the kernel takes it for \"unchanged\""
	if user.UID == noID {
		c.Addf("process.user.uid", text)
	}
	if user.GID == noID {
		c.Addf("process.user.gid", text)
	}
	for i, gid := range user.AdditionalGids {
		if gid == noID {
			c.Addf(at("process.user.additionalGids", i), text)
		}
	}
	// umask(2) drops further bits in silence; a decimal 777 has some of them.
	if user.Umask != nil && *user.Umask > 0o777 {
		c.Addf("process.user.umask", "%d is more than 511 (octal 777); JSON numbers are decimal", *user.Umask)
	}
}

func checkArgs(c *checker, args []string) {
	switch {
	case len(args) == 0:
		c.Addf("process.args", "required")
	case args[0] == "":
		c.Addf("process.args[0]", "the name of the program is empty")
	}
	checkEachNUL(c, args, "process.args")
}

func checkEnv(c *checker, env []string) {
	for i, entry := range env {
		switch name, _, found := strings.Cut(entry, "="); {
		case !found:
			c.Addf(at("process.env", i), "%s has no \"=\"", quote(entry))
		case name == "":
			c.Addf(at("process.env", i), "%s has no name before \"=\"", quote(entry))
		case strings.IndexByte(entry, 0) >= 0:
			checkNUL(c, at("process.env", i), entry)
		}
	}
}

func checkCwd(c *checker, cwd string) {
	switch {
	case cwd == "":
		c.Addf("process.cwd", "required")
	case cwd[0] != '/':
		c.Addf("process.cwd", "%s is not an absolute path", quote(cwd))
	default:
		checkNUL(c, "process.cwd", cwd)
	}
}

func checkRlimits(c *checker, rlimits []specs.POSIXRlimit) {
	for i, r := range rlimits {
		switch {
		case r.Type == "":
			c.Addf(at("process.rlimits", i, "type"), "required")
		case !isRlimit(r.Type):
			c.Addf(at("process.rlimits", i, "type"), "unknown rlimit %s", quote(r.Type))
		default:
			for j := range i {
				if rlimits[j].Type == r.Type { // a MUST of config § POSIX process
					c.Addf(at("process.rlimits", i, "type"), "%s is given twice, first in rlimits[%d]", r.Type, j)
					break
				}
			}
		}
		if r.Soft > r.Hard { // prlimit(2): EINVAL
			c.Addf(at("process.rlimits", i, "soft"), "%d is above the hard limit %d", r.Soft, r.Hard)
		}
	}
}

// isRlimit knows the names of getrlimit(2).
func isRlimit(name string) bool {
	switch name {
	case "RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_DATA",
		"RLIMIT_FSIZE", "RLIMIT_LOCKS", "RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE",
		"RLIMIT_NICE", "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_RSS",
		"RLIMIT_RTPRIO", "RLIMIT_RTTIME", "RLIMIT_SIGPENDING", "RLIMIT_STACK":
		return true
	}
	return false
}

// checkIOPriority: ioprio_set(2).
func checkIOPriority(c *checker, p *specs.LinuxIOPriority) {
	if p == nil {
		return
	}
	switch p.Class {
	case specs.IOPRIO_CLASS_RT, specs.IOPRIO_CLASS_BE, specs.IOPRIO_CLASS_IDLE:
	case "":
		c.Addf("process.ioPriority.class", "required")
	default:
		c.Addf("process.ioPriority.class", "unknown class %s", quote(string(p.Class)))
	}
	if p.Priority < 0 || p.Priority > 7 {
		c.Addf("process.ioPriority.priority", "%d is outside 0 to 7", p.Priority)
	}
}
