package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/bundle"
	"tongs/internal/container"
)

// exitExec is the status of an exec that fails itself, which tells that from
// the program's own 1 (runc#3073).
const exitExec = 255

// execOptions are the flags that make a process.
type execOptions struct {
	process, cwd, user, label, apparmor string
	env, groups, caps, cgroups          []string
	terminal, noNewPrivs, ignorePaused  bool
}

func execCommand() command {
	return command{
		name:  "exec",
		args:  "ID [COMMAND [ARG...]]",
		short: "run another process in a running container",
		about: "The process is that of config.json with another command and what the flags say,\nor what --process has. The exit status is the program's, 128 plus the signal\nthat ended it, or 255 if it could not be run.\n\nexample: tongs exec -t web1 sh\n",
		flags: func(fs *flagSet, o *options) {
			x := &o.exec
			fs.stringVar(&x.process, "process", "p", "", "read the process from this JSON `FILE`")
			fs.stringVar(&x.cwd, "cwd", "", "", "working `DIR` in the container")
			fs.listVar(&x.env, "env", "e", "set the variable `NAME=VALUE`")
			fs.boolVar(&x.terminal, "tty", "t", "allocate a terminal")
			fs.stringVar(&x.user, "user", "u", "", "run as `UID[:GID]`")
			fs.listVar(&x.groups, "additional-gids", "g", "add the group `GID`")
			fs.boolVar(&o.detach, "detach", "d", "return when the process has started")
			fs.stringVar(&o.pidFile, "pid-file", "", "", "write the process id to `FILE`")
			fs.stringVar(&o.consoleSocket, "console-socket", "", "", "send the terminal's master to this AF_UNIX `PATH`")
			fs.stringVar(&o.pidfdSocket, "pidfd-socket", "", "", "send a pidfd of the process to this AF_UNIX `PATH`")
			fs.stringVar(&x.label, "process-label", "", "", "SELinux `LABEL` of the process")
			fs.stringVar(&x.apparmor, "apparmor", "", "", "AppArmor `PROFILE` of the process")
			fs.boolVar(&x.noNewPrivs, "no-new-privs", "", "forbid to gain privileges")
			fs.listVar(&x.caps, "cap", "c", "add the capability `CAP`")
			fs.intVar(&o.preserveFDs, "preserve-fds", 0, "pass `N` descriptors from 3 on to the process")
			fs.listVar(&x.cgroups, "cgroup", "", "run in `[CTRL[,...]:]PATH` below its cgroup")
			fs.boolVar(&x.ignorePaused, "ignore-paused", "", "exec also in a paused container")
		},
		min: 1, max: 1 << 20,
		run: runExec,
	}
}

func runExec(a *app, o *options, args []string) (int, error) {
	code, err := a.exec(o, args[0], args[1:])
	if err != nil {
		return exitExec, fmt.Errorf("exec failed: %w", err)
	}
	return code, nil
}

func (a *app) exec(o *options, id string, args []string) (int, error) {
	s, err := a.store()
	if err != nil {
		return 0, err
	}
	defer s.Close()
	return container.Exec(s, container.ExecOptions{
		ID:            id,
		Process:       func(p *specs.Process) (*specs.Process, error) { return a.execProcess(&o.exec, p, args) },
		PidFile:       o.pidFile,
		ConsoleSocket: o.consoleSocket,
		PidfdSocket:   o.pidfdSocket,
		Cgroups:       o.exec.cgroups,
		PreserveFDs:   o.preserveFDs,
		ListenFDs:     listenFDs(),
		Detach:        o.detach,
		IgnorePaused:  o.exec.ignorePaused,
		Warn:          a.log.warn,
	})
}

// execProcess is the process of --process, or that of config.json with what the
// flags change in it.
func (a *app) execProcess(x *execOptions, p *specs.Process, args []string) (*specs.Process, error) {
	if x.process != "" {
		data, err := readInput("--process", x.process)
		if err != nil {
			return nil, err
		}
		p, warnings, err := bundle.DecodeProcess(data)
		if err != nil {
			return nil, fmt.Errorf("--process: %w", err)
		}
		for _, w := range warnings {
			a.log.warn(w)
		}
		return p, nil
	}
	if len(args) == 0 {
		return nil, errors.New("process args cannot be empty") // runc's phrase
	}
	p.Args, p.Terminal = args, x.terminal
	if x.cwd != "" {
		p.Cwd = x.cwd
	}
	if x.label != "" {
		p.SelinuxLabel = x.label
	}
	if x.apparmor != "" {
		p.ApparmorProfile = x.apparmor
	}
	p.NoNewPrivileges = p.NoNewPrivileges || x.noNewPrivs
	p.Env = append(p.Env[:len(p.Env):len(p.Env)], x.env...)
	p.Capabilities = addCapabilities(p.Capabilities, x.caps)
	return p, x.setUser(&p.User)
}

// addCapabilities gives the process further capabilities. They are not
// inheritable (CVE-2022-24769); ambient ones must be, so without inheritable
// ones there are none (as runc).
func addCapabilities(have *specs.LinuxCapabilities, names []string) *specs.LinuxCapabilities {
	if len(names) == 0 {
		return have
	}
	var c specs.LinuxCapabilities
	if have != nil {
		c = *have
	}
	add := func(list []string) []string { return append(list[:len(list):len(list)], names...) }
	c.Bounding, c.Effective, c.Permitted = add(c.Bounding), add(c.Effective), add(c.Permitted)
	if len(c.Inheritable) > 0 {
		c.Ambient = add(c.Ambient)
	}
	return &c
}

// setUser reads --user and --additional-gids. Only numbers: a name would be
// looked up in the image's files (CVE-2016-3697).
func (x *execOptions) setUser(u *specs.User) error {
	if x.user != "" {
		uid, gid, hasGroup := strings.Cut(x.user, ":")
		n, err := id(uid)
		if err != nil {
			return fmt.Errorf("--user: parsing %s as int for uid failed: %w", uid, err) // runc's phrase
		}
		u.UID = n
		if hasGroup {
			if n, err = id(gid); err != nil {
				return fmt.Errorf("--user: parsing %s as int for gid failed: %w", gid, err)
			}
			u.GID = n
		}
	}
	for _, g := range x.groups {
		n, err := id(g)
		if err != nil {
			return fmt.Errorf("--additional-gids: %w", err)
		}
		u.AdditionalGids = append(u.AdditionalGids[:len(u.AdditionalGids):len(u.AdditionalGids)], n)
	}
	return nil
}

func id(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not an id", text)
	}
	return uint32(n), nil
}
