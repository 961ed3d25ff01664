package setup

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// big is a golden file's worth of everything at once.
const big = `
-- config --
{
	"hostname": "h", "domainname": "d",
	"hooks": {"createRuntime": [{"path": "/h/r"}], "createContainer": [{"path": "/h/c"}], "startContainer": [{"path": "/h/s", "timeout": 1}]},
	"root": {"path": "rootfs", "readonly": true},
	"mounts+": [
		{"destination": "/proc", "type": "proc", "source": "proc"},
		{"destination": "/data/new", "source": "/srv/data", "options": ["rbind", "ro", "rnosuid", "rshared"]},
		{"destination": "/etc/hosts", "type": "bind", "source": "/srv/hosts"},
		{"destination": "/l/x", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "size=1m", "noswap"]},
		{"destination": "/again", "type": "bind", "source": "/bundle/rootfs/l"},
		{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}
	],
	"process": {
		"args": ["sh"], "env": ["PATH=/bin"], "cwd": "/srv/w", "terminal": true, "consoleSize": {"height": 1, "width": 2},
		"user": {"uid": 5, "gid": 6, "additionalGids": [7]}, "noNewPrivileges": true, "oomScoreAdj": 1,
		"capabilities": {"bounding": ["CAP_KILL"], "ambient": ["CAP_KILL"], "inheritable": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
		"rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1, "soft": 1}],
		"scheduler": {"policy": "SCHED_BATCH"}, "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 0}
	},
	"linux": {
		"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "uts", "path": "/run/uts"}, {"type": "ipc"}, {"type": "network"}],
		"personality": {"domain": "LINUX32"}, "memoryPolicy": {"mode": "MPOL_LOCAL"}, "sysctl": {"kernel.shmmax": "1"}, "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}, "rootfsPropagation": "rshared",
		"devices": [{"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200}, {"path": "/dev/x", "type": "b", "major": 1, "minor": 1, "uid": 1}],
		"maskedPaths": ["/proc/a", "/proc/b", "/f", "/g", "/ro/in"], "readonlyPaths": ["/proc/sys", "/ro"]
	}
}
-- options --
park
v1 cpu,cpuacct /sys/fs/cgroup/cpu,cpuacct/c1 cpu,cpuacct cpu,cpuacct
-- answers --
file host:/srv/hosts reg
file host:/run/uts reg fs=nsfs
ioctl /run/uts 0x04000000
file /etc/hosts reg
file /data missing
file /l lnk /real
file /f reg
file /g reg
file /srv missing
file /dev/pts/ptmx chr 5:2 fs=devpts
`

func faultFiles(t *testing.T) map[string]*sections {
	t.Helper()
	streams := "-- answers --\nfile stdio:0 chr 1:3\nfile stdio:1 fifo uid=7\nfile /dev/null chr 1:3\n"
	return map[string]*sections{"default": parseSections(goldenFile(t, "default")), "big": parseSections(big), "streams": parseSections(streams),
		"restore": parseSections(goldenFile(t, "restore")), "restore into a user namespace": parseSections(goldenFile(t, "restore_user_namespace"))}
}

// explained reports whether the kernel is asked for its reasons before a failure
// ends the set-up: calls that do only that, or nothing, are executed behind it.
func explained(name string) bool { return name == "fsconfig" || name == "fsmount" }

// continues lists the calls whose failure does not end the set-up, each with
// the reason.
func continues(c *kernel.Call) string {
	where := c.Want()
	switch {
	case strings.HasPrefix(where, "cannot look up /") && strings.HasSuffix(c.Field, ".destination"):
		return "the mount point is looked up again, part by part"
	case c.Args[0].Kind() == kernel.Ref && c.Args[0].H.Errno() == unix.ENOENT:
		return "there is no descriptor: it could not be opened, which was judged"
	case c.Name == "read" && strings.HasPrefix(c.Args[0].H.Label(), "fs "):
		return "the kernel has no more to say about a file system"
	case c.Name == "readlinkat":
		return "the file is no link, or the link is judged to be empty"
	case c.Field == "process.env":
		return "HOME is / then"
	case c.Field == "process.args[0]" && c.Name != "execve":
		return "it is not there; the next of PATH is taken"
	case where == "cannot look at the host's /proc":
		return "there is no /dev/core then, or this is taken for the first user namespace"
	case strings.HasPrefix(c.Field, "hooks.") && c.Name == "write" && c.AllowAny:
		return "the status says it as well"
	case c.NoReturn || where == "cannot execute /bin/sh" || where == "cannot execute /bin/true":
		return "there is nobody left to be told"
	}
	return ""
}

// Each call of a set-up fails in turn: the error is that call's, and nothing
// behind it is executed.
func TestFault(t *testing.T) {
	for name, file := range faultFiles(t) {
		t.Run(name, func(t *testing.T) {
			all, err := runFile(file)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d calls", len(all.calls))
			for n := 1; n <= len(all.calls); n++ {
				p, err := newPlan(file)
				if err != nil {
					t.Fatal(err)
				}
				p.kernel.Fail, p.kernel.Errno = n, unix.EIO
				err = p.run()
				checkFault(t, p, n, err)
			}
		})
	}
}

func checkFault(t *testing.T, p *plan, n int, err error) {
	t.Helper()
	c := &p.calls[n-1]
	why := continues(c)
	if err == nil {
		if why == "" {
			t.Errorf("call %d (%s: %s: %s): its failure was not noticed", n, c.Field, c.Want(), c)
		}
		return
	}
	var call *kernel.CallError
	switch {
	case errors.As(err, &call):
		if call.Errno != unix.EIO || call.Field != c.Field || call.Name != c.Name || call.Want != c.Want() {
			t.Errorf("call %d (%s: %s: %s): got the error %v", n, c.Field, c.Want(), c, err)
		}
		if p.kernel.Count != n && !explained(c.Name) {
			t.Errorf("call %d (%s): %d calls were executed behind it", n, c, p.kernel.Count-n)
		}
	case why == "" && !strings.HasPrefix(err.Error(), c.Field+":"):
		t.Errorf("call %d (%s: %s: %s): got the error %v", n, c.Field, c.Want(), c, err)
	}
	if (!c.AllowAny || explained(c.Name)) && !errors.As(err, &call) {
		t.Errorf("call %d (%s): not the call's error: %v", n, c, err)
	}
}

// Whatever fails, its reader learns what was wanted; and what serves a field
// names it.
func TestCallsExplained(t *testing.T) {
	for name, file := range faultFiles(t) {
		p, err := runFile(file)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i := range p.calls {
			c := &p.calls[i]
			if !strings.HasPrefix(c.Want(), "cannot ") && !(c.Name == "close" && c.Field == "") {
				t.Errorf("%s: call %d (%s) does not say what is wanted: %q", name, i+1, c, c.Want())
			}
			if c.Field == "" && !slices.Contains(fieldless(), c.Want()) {
				t.Errorf("%s: call %d (%s: %s) has no field", name, i+1, c.Want(), c)
			}
			if c.Field != "" && !known(c.Field) {
				t.Errorf("%s: call %d (%s) serves the field %q, which no row of the orders has", name, i+1, c, c.Field)
			}
		}
	}
}

// fieldless lists what is done whatever the configuration says.
func fieldless() []string {
	return []string{"", "cannot look at the standard streams", "cannot look at the host's /proc", "cannot hide the container's process", "cannot make a new session",
		"cannot join a new session keyring (--no-new-keyring leaves it out)", "cannot clear the umask",
		"cannot make the link /dev/fd", "cannot make the link /dev/stdin", "cannot make the link /dev/stdout", "cannot make the link /dev/stderr",
		"cannot make the link /dev/core", "cannot make the link /dev/ptmx", "cannot open /dev/null of the container",
		"cannot make a mount namespace for criu", "cannot make a file system for criu's mounts on /run/tongs", "cannot set the umask", "cannot execute /usr/sbin/criu",
		"cannot report", "cannot reset the processor affinity", "cannot wait for start", "cannot close descriptors"}
}

// known reports whether a row of the orders serves the field, or it is one
// that no row has to itself.
func known(path string) bool {
	if i := strings.IndexByte(path, '['); i >= 0 {
		path = path[:i]
	}
	if path == "process.user" {
		return true // its parts are served by several rows
	}
	if strings.HasPrefix(path, "--") {
		return true // an option of the command line
	}
	for _, order := range [][]Step{HostOrder(), TreeOrder(), CreateOrder(), TailOrder()} {
		for _, s := range order {
			for _, f := range s.Fields {
				if f == path || strings.HasPrefix(path, f+".") {
					return true
				}
			}
		}
	}
	return false
}
