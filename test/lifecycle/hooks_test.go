package lifecycle

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

// A hook of the tests is a script of the host that appends a line to a log for
// each call: its name, what it was told and where it is.
const hookScript = `#!/bin/sh
state=$(cat)
fds=$(ls /proc/self/fd | tr '\n' ' ')
line() { printf '%%s|' "$@"; echo; }
line "$1" "$state" "$(readlink /proc/self/ns/mnt)" "$(readlink /proc/self/ns/net)" "$$" "$(pwd)" "$(env | sort | tr '\n' ' ')" "$fds" "$(umask)" "$(cut -d' ' -f5 /proc/$$/stat)" "$(grep Cpus_allowed_list /proc/self/status)" >> %s
`

// call is a line of the log.
type call struct {
	name                         string
	state                        specs.State
	mnt, net, pid, cwd, env, fds string
	umask, group, cpus           string
}

// hookLog is a script and its log, which containers reach as well: the log's
// directory is on the host, and /log in them.
type hookLog struct {
	t      *testing.T
	script string
	log    string
	dir    string
}

func newHookLog(t *testing.T, h *linuxtest.Host) *hookLog {
	t.Helper()
	dir := filepath.Join(h.Dir, "hooks")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	l := &hookLog{t: t, script: filepath.Join(dir, "hook"), log: filepath.Join(dir, "log"), dir: dir}
	for name, log := range map[string]string{l.script: l.log, l.script + "-inside": "/log/log"} {
		if err := os.WriteFile(name, fmt.Appendf(nil, hookScript, log), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// hook is one that writes to the log.
func (l *hookLog) hook(name string) specs.Hook {
	return specs.Hook{Path: l.script, Args: []string{"hook", name}, Env: []string{"PATH=/usr/bin:/bin", "HOOK=" + name}}
}

func (l *hookLog) inside(name string) specs.Hook {
	h := l.hook(name)
	h.Path = "/log/hook-inside"
	return h
}

// all has a hook of each kind, and two of one.
func (l *hookLog) all(s *specs.Spec) {
	linuxtest.Mount("/log", "bind", l.dir, "bind", "rw")(s)
	s.Hooks = &specs.Hooks{
		//lint:ignore SA1019 configurations of older specifications use it
		Prestart:        []specs.Hook{l.hook("prestart")},
		CreateRuntime:   []specs.Hook{l.hook("createRuntime"), l.hook("createRuntime2")},
		CreateContainer: []specs.Hook{l.hook("createContainer")},
		StartContainer:  []specs.Hook{l.inside("startContainer"), l.inside("startContainer2")},
		Poststart:       []specs.Hook{l.hook("poststart")},
		Poststop:        []specs.Hook{l.hook("poststop")},
	}
}

// calls are those since the last time.
func (l *hookLog) calls() []call {
	l.t.Helper()
	data, err := os.ReadFile(l.log)
	if err != nil && !os.IsNotExist(err) {
		l.t.Fatal(err)
	}
	os.Remove(l.log)
	var list []call
	for line := range strings.Lines(string(data)) {
		f := strings.Split(line, "|")
		if len(f) != 12 {
			l.t.Fatalf("the log has the line %q", line)
		}
		c := call{name: f[0], mnt: f[2], net: f[3], pid: f[4], cwd: f[5], env: f[6], fds: f[7], umask: f[8], group: f[9], cpus: f[10]}
		if err := json.Unmarshal([]byte(f[1]), &c.state); err != nil {
			l.t.Fatalf("%s: the state is %q: %v", c.name, f[1], err)
		}
		list = append(list, c)
	}
	return list
}

func namesOf(list []call) (s []string) {
	for _, c := range list {
		s = append(s, c.name)
	}
	return s
}

func (l *hookLog) want(names ...string) []call {
	l.t.Helper()
	got := l.calls()
	if !slices.Equal(namesOf(got), names) {
		l.t.Errorf("hooks that have run: %q, want %q", namesOf(got), names)
	}
	return got
}

// Each hook runs at its time, in its namespaces, and is told what it should be.
func TestHooks(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		for _, program := range []string{"tongs", "runc"} {
			h.Sub(t, program, func(t *testing.T, h *linuxtest.Host) {
				if program == "runc" {
					h = h.With("runc")
				}
				testHooks(t, h, program == "runc")
			})
		}
	})
}

func testHooks(t *testing.T, h *linuxtest.Host, runc bool) {
	l := &hookLog{}
	if _, err := os.Stat(filepath.Join(h.Dir, "hooks")); err == nil {
		l.t, l.dir = t, filepath.Join(h.Dir, "hooks")
		l.script, l.log = l.dir+"/hook", l.dir+"/log"
	} else {
		l = newHookLog(t, h)
	}
	id := h.ID("a")
	bundle := h.Bundle(forever, l.all, func(s *specs.Spec) { s.Annotations = map[string]string{"a.b": "c\"d"} })
	h.Must("create", "--bundle", bundle, id)
	when := [][]string{{"prestart", "createRuntime", "createRuntime2", "createContainer"}, {"startContainer", "startContainer2", "poststart"}}
	if runc { // 1.1 runs poststart too early
		when = [][]string{{"prestart", "createRuntime", "createRuntime2", "createContainer", "poststart"}, {"startContainer", "startContainer2"}}
	}
	created := l.want(when[0]...)
	st, _ := h.State(id)
	h.Must("start", id)
	started := l.want(when[1]...)
	containerMnt, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", st.PID))
	containerNet, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", st.PID))
	hostMnt, _ := os.Readlink("/proc/thread-self/ns/mnt")
	hostNet, _ := os.Readlink("/proc/thread-self/ns/net")
	h.Must("kill", id, "KILL")
	h.WaitFor(id, "stopped")
	h.Must("delete", id)
	stopped := l.want("poststop")
	if t.Failed() {
		return
	}
	cpus, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range slices.Concat(created, started, stopped) {
		status, pid := specs.StateCreating, st.PID
		switch kind := strings.TrimRight(c.name, "2"); kind {
		case "createContainer":
			pid = 1
		case "startContainer":
			status, pid = specs.StateCreated, 1
		case "poststart":
			status = specs.StateRunning
		case "poststop":
			status, pid = specs.StateStopped, 0
		}
		inside := strings.Contains(c.name, "Container")
		mnt, net := hostMnt, hostNet
		if inside {
			mnt, net = containerMnt, containerNet
		}
		if runc && (c.name == "poststart" || c.state.Status == specs.StateCreated) {
			status, pid = c.state.Status, c.state.Pid // runc 1.1 runs poststart in create's words
		}
		if c.state.Status != status || c.state.Pid != pid || c.state.ID != id || c.state.Bundle != bundle || c.state.Annotations["a.b"] != "c\"d" || c.state.Version == "" {
			t.Errorf("%s is told %+v, want status %s and pid %d", c.name, c.state, status, pid)
		}
		if c.mnt != mnt || c.net != net {
			t.Errorf("%s runs in %s and %s, want %s and %s", c.name, c.mnt, c.net, mnt, net)
		}
		if want := "HOOK=" + c.name + " PATH=/usr/bin:/bin PWD=" + c.cwd + " "; c.env != want && !strings.HasPrefix(c.env, want) && !strings.Contains(c.env, "SHLVL") {
			t.Errorf("%s has the environment %q, want %q", c.name, c.env, want)
		}
		if runc {
			continue
		}
		if c.fds != "0 1 2 3 " { // of ls, which opens the directory
			t.Errorf("%s has the descriptors %q", c.name, c.fds)
		}
		cwd := bundle
		if inside {
			cwd = "/"
		}
		if c.cwd != cwd || c.umask != "0022" {
			t.Errorf("%s has the directory %q and umask %s, want %q and 0022", c.name, c.cwd, c.umask, cwd)
		}
		if !strings.HasSuffix(c.cpus, "\t"+strings.TrimSpace(string(cpus))) {
			t.Errorf("%s runs on %q", c.name, c.cpus)
		}
	}
}

// The same in one command, in a user namespace and without a PID namespace.
func TestHooksOfRun(t *testing.T) {
	h := linuxtest.One(t)
	l := newHookLog(t, h)
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	want := strings.Fields("prestart createRuntime createRuntime2 createContainer startContainer startContainer2 poststart poststop")
	for name, edit := range map[string]linuxtest.Edit{
		"plain": func(*specs.Spec) {},
		"user namespace": func(s *specs.Spec) {
			linuxtest.Namespace(specs.UserNamespace, "")(s)
			s.Linux.UIDMappings, s.Linux.GIDMappings = ids, ids
		},
		"no PID namespace": linuxtest.WithoutNamespace(specs.PIDNamespace),
		"time namespace":   linuxtest.Namespace(specs.TimeNamespace, ""),
		"a user": func(s *specs.Spec) {
			s.Process.User, s.Process.Capabilities = specs.User{UID: 1000, GID: 1000}, nil
		},
		"few processes": func(s *specs.Spec) {
			limit := int64(5)
			s.Linux.Resources.Pids = &specs.LinuxPids{Limit: &limit}
		},
	} {
		os.WriteFile(l.log, nil, 0o666)
		os.Chmod(l.log, 0o666)
		bundle := h.Bundle(linuxtest.Shell("sleep 0.2; echo done"), l.all, edit)
		if err := os.Mkdir(filepath.Join(bundle, "rootfs", "log"), 0o755); err != nil {
			t.Fatal(err)
		}
		r := h.Run("run", "--bundle", bundle, h.ID("a"))
		if r.Status != 0 || r.Stdout != "done\n" || r.Stderr != "" {
			t.Errorf("%s: %+v", name, r)
		}
		if got := namesOf(l.calls()); !slices.Equal(got, want) {
			t.Errorf("%s: hooks that have run: %q, want %q", name, got, want)
		}
		os.WriteFile(l.log, nil, 0o666)
		os.Chmod(l.log, 0o666)
		h.Must("run", "--detach", "--bundle", bundle, h.ID("b"))
		h.Must("delete", "--force", h.ID("b"))
		if got := namesOf(l.calls()); !slices.Equal(got, want) {
			t.Errorf("%s, detached: hooks that have run: %q, want %q", name, got, want)
		}
	}
}

// kinds gives the list of hooks of each kind, to be changed.
func kinds(s *specs.Hooks) map[string]*[]specs.Hook {
	//lint:ignore SA1019 configurations of older specifications use it
	return map[string]*[]specs.Hook{"prestart": &s.Prestart, "createRuntime": &s.CreateRuntime, "createContainer": &s.CreateContainer,
		"startContainer": &s.StartContainer, "poststart": &s.Poststart, "poststop": &s.Poststop}
}

// A hook that fails ends the container, at each stage, and the error says which
// it was and what it has written.
func TestHookFails(t *testing.T) {
	h := linuxtest.One(t)
	l := newHookLog(t, h)
	second, some := 1, 3
	bad := map[string]struct {
		hook specs.Hook
		text string
	}{
		"status":   {specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", "echo out; echo err >&2; exit 3"}}, `exited with status 3; its output: \"out\\nerr\\n\"`},
		"signal":   {specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", "kill -9 $$"}}, "was killed by SIGKILL"},
		"missing":  {specs.Hook{Path: "/no/such/hook"}, "cannot execute /no/such/hook"},
		"much":     {specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x; echo last; exit 1"}, Env: []string{"PATH=/bin:/usr/bin"}}, `xxxxlast\\n`},
		"flood":    {specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", "while :; do echo flood; done"}, Timeout: &some}, `flood\\n`},
		"too late": {specs.Hook{Path: "/bin/sleep", Args: []string{"sleep", "100"}, Timeout: &second}, "took longer than 1 s"},
	}
	for kind := range kinds(new(specs.Hooks)) {
		for how, b := range bad {
			if how == "much" && kind == "startContainer" {
				continue // there is no tr in the container
			}
			h.Sub(t, kind+" "+how, func(t *testing.T, h *linuxtest.Host) {
				failing := func(s *specs.Spec) {
					l.all(s)
					list := kinds(s.Hooks)[kind]
					*list = append([]specs.Hook{b.hook}, (*list)...)
				}
				os.Remove(l.log)
				l.t = t
				checkHookFails(t, h, l, kind, b.text, h.Bundle(forever, failing))
			})
		}
	}
}

func checkHookFails(t *testing.T, h *linuxtest.Host, l *hookLog, kind, text, bundle string) {
	t.Helper()
	complains := func(r *linuxtest.Result, status int) {
		t.Helper()
		if r.Status != status || !strings.Contains(r.Stderr, "hooks."+kind+"[0]: ") || !strings.Contains(r.Stderr, text) {
			t.Errorf("status %d (want %d), stderr %.600q (want %q)", r.Status, status, r.Stderr, text)
		}
		if len(r.Stderr) > 20000 {
			t.Errorf("the error has %d bytes", len(r.Stderr))
		}
	}
	id := h.ID("a")
	begin := time.Now()
	defer func() {
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("took %v", took)
		}
	}()
	r := h.Run("create", "--bundle", bundle, id)
	switch kind {
	case "prestart", "createRuntime", "createContainer":
		complains(r, 1)
		if _, ok := h.State(id); ok {
			t.Error("a container is left")
		}
		if got := namesOf(l.calls()); got[len(got)-1] != "poststop" || slices.Contains(got, kind) || slices.Contains(got, "startContainer") {
			t.Errorf("hooks that have run: %q", got)
		}
		complains(h.Run("run", "--bundle", bundle, id), 1)
		return
	case "startContainer", "poststart":
		complains(h.Run("start", id), 1)
		if st := h.WaitFor(id, "stopped"); st.PID != 0 {
			t.Errorf("state: %+v", st)
		}
		h.Must("delete", id)
		if got := namesOf(l.calls()); got[len(got)-1] != "poststop" || slices.Contains(got, kind) {
			t.Errorf("hooks that have run: %q", got)
		}
		complains(h.Run("run", "--bundle", bundle, id), 1)
		complains(h.Run("run", "--detach", "--bundle", bundle, id), 1)
	case "poststop":
		r = h.Run("delete", "--force", id)
		complains(r, 0)
		if !strings.Contains(r.Stderr, "level=warning") || strings.Contains(r.Stderr, "level=error") {
			t.Errorf("delete says %q", r.Stderr)
		}
		if got := namesOf(l.calls()); got[len(got)-1] != "poststop" {
			t.Errorf("hooks that have run: %q", got)
		}
	}
	if _, ok := h.State(id); ok {
		t.Error("a container is left")
	}
}

// A hook whose time is over takes what it has started with it.
func TestHookTimeoutKillsGroup(t *testing.T) {
	h := linuxtest.One(t)
	second := 1
	hook := specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000"}, Env: []string{"PATH=/bin:/usr/bin"}, Timeout: &second}
	for kind := range kinds(new(specs.Hooks)) {
		h.Run("run", "--bundle", h.Bundle(linuxtest.WithoutNamespace(specs.PIDNamespace), func(s *specs.Spec) {
			linuxtest.Args("/bin/true")(s)
			s.Hooks = new(specs.Hooks)
			*kinds(s.Hooks)[kind] = []specs.Hook{hook}
		}), h.ID("a"))
		h.CheckCleanButKeys()
	}
}

// More hooks than fit into one round of calls, and more output than a pipe holds.
func TestManyHooks(t *testing.T) {
	h := linuxtest.One(t)
	count := specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", `echo >> "$0"; head -c 1000 /dev/zero`, filepath.Join(h.Dir, "count")}, Env: []string{"PATH=/bin:/usr/bin"}}
	const n = 300
	h.Must("run", "--bundle", h.Bundle(linuxtest.Args("/bin/true"), func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{CreateContainer: slices.Repeat([]specs.Hook{count}, n)}
	}), h.ID("a"))
	if data, err := os.ReadFile(filepath.Join(h.Dir, "count")); err != nil || len(data) != n {
		t.Errorf("%d hooks have run, want %d (%v)", len(data), n, err)
	}
}

// What hooks mount in the container's namespace, at the path of its root, the
// container sees; and they see what it has.
func TestHooksSeeRoot(t *testing.T) {
	h := linuxtest.One(t)
	bundle := h.Bundle(linuxtest.Args("/bin/cat", "/mnt/file", "/dev/shm/x"), func(s *specs.Spec) {
		script := `cd rootfs || cd "$1"; mount -t tmpfs none mnt && echo from the hook > mnt/file && echo in shm > dev/shm/x`
		s.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-ec", script, "sh", "ROOT"},
			Env: []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin"}}}}
	})
	root := filepath.Join(bundle, "rootfs")
	if err := os.Mkdir(filepath.Join(root, "mnt"), 0o755); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), []byte(strings.Replace(string(data), `"ROOT"`, `"`+root+`"`, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, o := range []*linuxtest.Host{h, h.With("runc")} {
		if r := o.Must("run", "--bundle", bundle, o.ID("a")); r.Stdout != "from the hook\nin shm\n" {
			t.Errorf("the container sees %q", r.Stdout)
		}
	}
	if list, err := os.ReadDir(filepath.Join(root, "mnt")); err != nil || len(list) != 0 {
		t.Errorf("in the root on the host: %v, %v", list, err)
	}
}

// The hooks are those that the container was created with, whatever becomes of
// the bundle.
func TestHooksOfLostBundle(t *testing.T) {
	h := linuxtest.One(t)
	l := newHookLog(t, h)
	bundle := h.Bundle(forever, l.all)
	h.Must("create", "--bundle", bundle, h.ID("a"))
	l.calls()
	h.WriteConfig(bundle, linuxtest.Spec(forever))
	h.Must("start", h.ID("a"))
	l.want("startContainer", "startContainer2", "poststart")
	h.Must("kill", h.ID("a"), "KILL")
	h.WaitFor(h.ID("a"), "stopped")
	l.calls()
	if err := os.RemoveAll(bundle); err != nil {
		t.Fatal(err)
	}
	if r := h.Must("delete", h.ID("a")); r.Stderr != "" {
		t.Errorf("stderr %q", r.Stderr)
	}
	l.want("poststop")
}

// While the hooks of create run, the container is being created.
func TestStateDuringHooks(t *testing.T) {
	h := linuxtest.One(t)
	argv := h.Argv("state", h.ID("a"))
	log := filepath.Join(h.Dir, "states")
	ask := func(s *specs.Spec) {
		hook := specs.Hook{Path: argv[0], Args: argv}
		exec := strings.Join(h.Argv("exec", h.ID("a"), "/bin/true"), " ")
		hook.Path, hook.Args = "/bin/sh", []string{"sh", "-c", strings.Join(argv, " ") + " | grep status >> " + log + "; " + exec + " 2>> " + log + ".exec || true"}
		hook.Env = []string{"PATH=/usr/bin:/bin"}
		s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{hook}, CreateContainer: []specs.Hook{}, Poststart: []specs.Hook{hook}}
	}
	h.Must("create", "--bundle", h.Bundle(forever, ask), h.ID("a"))
	h.Must("start", h.ID("a"))
	h.Must("delete", "--force", h.ID("a"))
	data, err := os.ReadFile(log)
	if got := strings.Join(strings.Fields(string(data)), " "); err != nil || got != `"status": "creating", "status": "running",` {
		t.Errorf("hooks are told %q: %v", got, err)
	}
	data, err = os.ReadFile(log + ".exec")
	if err != nil || strings.Count(string(data), "\n") != 1 || !strings.Contains(string(data), "cannot exec in a container that is being created") {
		t.Errorf("exec meanwhile: %q: %v", data, err)
	}
}

// A hook of startContainer has the rights and limits of the program, and no more.
func TestStartContainerHookRights(t *testing.T) {
	h := linuxtest.One(t)
	l := newHookLog(t, h)
	const look = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:|Umask)' /proc/self/status; cat /proc/self/limits /proc/self/cgroup /proc/self/oom_score_adj /proc/self/uid_map; ls -l /proc/self/ns | sed 's/.*-> //'; pwd"
	score := 500
	for name, edit := range map[string]linuxtest.Edit{
		"root": func(*specs.Spec) {},
		"user": func(s *specs.Spec) {
			s.Process.User = specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{7}}
			s.Process.NoNewPrivileges = false
		},
	} {
		common := func(s *specs.Spec) {
			linuxtest.Mount("/log", "bind", l.dir, "bind", "rw")(s)
			s.Process.Cwd = "/dev/shm"
			s.Process.OOMScoreAdj = &score
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchAARCH64},
				Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno}}}
			s.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/busybox", Args: []string{"sh", "-c", "{ " + look + "; mkdir /log/dir; } > /log/" + name + " 2>&1; exit 0"}, Env: []string{"PATH=/bin"}}}}
		}
		r := h.Must("run", "--bundle", h.Bundle(linuxtest.Shell("{ "+look+"; mkdir /log/dir; } 2>&1; exit 0"), common, edit), h.ID(name))
		got, err := os.ReadFile(filepath.Join(l.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(r.Stdout, "Seccomp:\t2\n") || !strings.Contains(r.Stdout, "can't create directory") {
			t.Errorf("%s: the program says %s", name, r.Stdout)
		}
		if string(got) != r.Stdout {
			t.Errorf("%s: the hook differs from the program:\n%s\nprogram:\n%s", name, got, r.Stdout)
		}
	}
}
