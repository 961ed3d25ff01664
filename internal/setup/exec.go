package setup

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/rootfs"
)

// The lists of exec: a process joins a running container. They are made of the
// same steps as a new container's, so that a field works in both.

// ExecHostOrder runs in tongs, before the process exists.
func ExecHostOrder() []Step {
	return []Step{
		{"labels", nil, lookForLabels},
		{"standard streams", nil, lookAtStdio},
	}
}

// ExecOrder runs in the process, which is in the container's cgroup. Up to the
// fork no process of the container sees it; whatever is of the host's is closed
// by then (CVE-2016-9962).
func ExecOrder() []Step {
	return []Step{
		{"out of memory score", []string{"process.oomScoreAdj"}, setOOMScore},
		{"hide", nil, hide},
		{"compile the filter", []string{"linux.seccomp"}, prepareSeccomp},
		{"labels of the process", []string{"process.apparmorProfile", "process.selinuxLabel"}, setLabels}, // nothing of the host's goes inside
		{"container's namespaces", nil, joinContainer},                                                    // all at once, by the pidfd of its first process
		{"keyring", nil, joinKeyring},
		{"root", nil, openOwnRoot},
		{"look up working directory", nil, lookUpCwd},
		{"look up passwd", nil, lookUpPasswd},
		{"ask", nil, (*Env).Sync},
		{"read passwd", nil, readPasswd},
		{"working directory", []string{"process.cwd"}, openCwd},
		{"null for standard streams", nil, replaceNull},
		{"console", []string{"process.terminal", "process.consoleSize"}, openConsole},
		{"close what is the host's", nil, closeHost},
		{"fork into namespaces", nil, fork}, // seen by the container from here on
		{"session", nil, newSession},
		{"controlling terminal", nil, controlTerminal},

		{"environment", []string{"process.env"}, setEnvironment},
		{"sockets", nil, nameSockets},
		{"umask", []string{"process.user.umask"}, setUmask},
		{"streams' owner", nil, ownStreams},
		{"execution domain", []string{"linux.personality"}, setPersonality},
		{"memory policy", []string{"linux.memoryPolicy"}, setMemoryPolicy},
		{"scheduler", []string{"process.scheduler"}, setScheduler},
		{"I/O priority", []string{"process.ioPriority"}, setIOPriority},
		{"limits", []string{"process.rlimits"}, setRlimits},
		{"bounding set", []string{"process.capabilities"}, dropBounding},
		{"enter directory", nil, enterCwd},
		{"user", []string{"process.user.uid", "process.user.gid", "process.user.additionalGids"}, setUser},
		{"capabilities", nil, setCapabilities},
		{"check directory", nil, checkCwd},
		{"no new privileges", []string{"process.noNewPrivileges"}, setNoNewPrivileges},
		{"processors", []string{"process.execCPUAffinity"}, freeProcessors},
		{"look up program", []string{"process.args"}, lookUpProgram},
		{"ask", nil, (*Env).Sync},
		{"program", nil, chooseProgram},
		{"home directory", nil, setHome},
	}
}

// KeepContainer registers the handles of Joined as inherited by the process.
func (e *Env) KeepContainer() {
	e.keep(&e.Joined.Process)
	if e.Joined.Root.Valid() {
		e.keep(&e.Joined.Root)
	}
}

// joinContainer joins the namespaces of the container's first process
// (setns(2) with a pidfd, 5.8): all of them or none, without a path of /proc
// that could be another process's by now.
func joinContainer(e *Env) error {
	c := e.Joined
	if c.Namespaces&unix.CLONE_NEWUSER != 0 && !e.limited() {
		// There it may be forbidden to leave them (user_namespaces(7)).
		e.B.For("process.user.additionalGids", "cannot leave the host's groups")
		e.B.Setgroups(nil)
	}
	if c.Namespaces != 0 {
		e.B.For("", "cannot join the container's namespaces")
		e.B.Setns(c.Process, c.Namespaces)
	}
	e.B.Close(c.Process)
	if c.Namespaces&unix.CLONE_NEWUSER != 0 {
		e.B.For("process.user.gid", "cannot become group 0 of the user namespace")
		e.B.Setresgid(0)
		e.B.For("process.user.uid", "cannot become user 0 of the user namespace")
		e.B.Setresuid(0)
	}
	return nil
}

// openOwnRoot opens the root directory that came with the mount namespace, or
// takes that of the container's first process.
func openOwnRoot(e *Env) error {
	if c := e.Joined; c.Root.Valid() {
		e.B.For("root.path", "cannot enter the container's root directory")
		e.B.Fchdir(c.Root).ChrootCwd().Chdir("/")
		e.B.Close(c.Root)
	}
	e.B.For("root.path", "cannot open the container's root directory")
	dir := e.B.Openat2(kernel.CWD(), "/", unix.O_PATH|unix.O_DIRECTORY, 0, 0)
	e.Root = &rootfs.Root{K: e.K, Dir: dir}
	return nil
}

// closeHost closes all that is left open, but for what the process goes on
// with: its streams, the line, the shared memory and, in the container's own
// root, the working directory.
func closeHost(e *Env) error {
	e.B.Close(e.Root.Dir)
	return nil
}

// nameSockets tells the process of the sockets that a service manager has passed
// (sd_listen_fds(3)), and that it is meant: by its number in the container, which
// is not known before.
func nameSockets(e *Env) error {
	if e.ListenFDs == 0 {
		return nil
	}
	e.B.For("", "cannot ask for the process's own number")
	pid := e.B.Getpid()
	e.B.Check(func() error {
		e.environ = slices.DeleteFunc(e.environ, func(v string) bool {
			return strings.HasPrefix(v, "LISTEN_FDS=") || strings.HasPrefix(v, "LISTEN_PID=")
		})
		e.environ = append(e.environ, "LISTEN_FDS="+strconv.Itoa(e.ListenFDs), "LISTEN_PID="+strconv.Itoa(pid.Count(1<<31)))
		return nil
	})
	return nil
}
