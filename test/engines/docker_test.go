package engines

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// docker is a daemon with directories of its own, its containerd, its client and
// an image.
type docker struct {
	client
	h      *linuxtest.Host
	socket string
	tar    string
}

// startDocker starts the daemon with the configuration of docs/engines. It has no
// network, for which it would change the machine's firewall.
func startDocker(t *testing.T, h *linuxtest.Host, c *containerd, name string, flags ...string) *docker {
	t.Helper()
	dir := directory(t, h, name)
	d := &docker{h: h, socket: "unix://" + dir + "/d.sock", tar: archive(t, h, dir)}
	d.client = client{t: t, argv: []string{"docker", "--config", dir, "--host", d.socket}, env: []string{"DOCKER_BUILDKIT=0"}}
	argv := []string{"dockerd", "--config-file", snippet(t, h, "daemon.json"), "--containerd", c.socket, "--bridge", "none", "--iptables=false",
		"--ip6tables=false", "--data-root", dir + "/data", "--exec-root", dir + "/exec", "--pidfile", dir + "/pid", "--host", d.socket,
		"--storage-driver", "vfs", "--shutdown-timeout", "5"}
	if systemd() {
		argv = append(argv, "--exec-opt", "native.cgroupdriver=systemd")
	} else {
		argv = append(argv, "--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", "/"+h.ID("docker"))
	}
	ready := func() bool {
		return exec.Command(debian("docker"), "--host", d.socket, "version").Run() == nil
	}
	stop := daemon(t, ready, dir, append(argv, flags...)...)
	t.Cleanup(func() {
		for id := range strings.FieldsSeq(d.must("ps", "--all", "--quiet")) {
			d.must("rm", "--force", "--volumes", id)
		}
		stop()
		mounts, _ := filepath.Glob(dir + "/exec/netns/*") // which is fine
		for _, m := range mounts {                        // the daemon leaves that of the host's network
			unix.Unmount(m, unix.MNT_DETACH)
		}
		os.RemoveAll(dir)
	})
	d.must("import", d.tar, "image")
	return d
}

// run runs a container of the image.
func (d *docker) run(status int, flags []string, args ...string) string {
	d.t.Helper()
	all := append([]string{"run", "--network", "none"}, flags...)
	return d.want(status, append(append(all, "image"), args...)...)
}

// sh is run of a script, to its end.
func (d *docker) sh(script string, flags ...string) string {
	d.t.Helper()
	return d.run(0, append([]string{"--rm"}, flags...), "/bin/sh", "-c", script)
}

func TestDocker(t *testing.T) {
	h := linuxtest.One(t)
	privateRun(t, h)
	c := startContainerd(t, h, withoutCRI)
	t.Cleanup(func() { c.end() })
	t.Cleanup(func() { h.RemoveCgroups(h.ID("docker")) }) // which engines leave
	d := startDocker(t, h, c, "docker")
	if t.Failed() {
		return
	}
	if out := d.must("info", "--format", "{{.DefaultRuntime}}"); strings.TrimSpace(out) != "tongs" {
		t.Errorf("the default runtime is %s", out)
	}
	h.Sub(t, "run", func(t *testing.T, _ *linuxtest.Host) { d.in(t).options() })
	h.Sub(t, "errors", func(t *testing.T, _ *linuxtest.Host) { d.in(t).errors() })
	h.Sub(t, "privileged", func(t *testing.T, _ *linuxtest.Host) { d.in(t).privileged() })
	h.Sub(t, "life", func(t *testing.T, _ *linuxtest.Host) { d.in(t).life() })
	h.Sub(t, "policies", func(t *testing.T, _ *linuxtest.Host) { d.in(t).policies() })
	h.Sub(t, "terminal", func(t *testing.T, h *linuxtest.Host) { d.in(t).terminal(h) })
	h.Sub(t, "build", func(t *testing.T, _ *linuxtest.Host) { d.in(t).build() })
	if systemd() {
		h.Sub(t, "systemd", func(t *testing.T, _ *linuxtest.Host) { d.in(t).withSystemd() })
	}
}

// in is the same daemon for a subtest.
func (d *docker) in(t *testing.T) *docker {
	o := *d
	o.t = t
	return &o
}

func (d *docker) options() {
	t := d.t
	contains(t, "output", d.run(7, []string{"--rm"}, "/bin/sh", "-c", "echo hello; echo there >&2; exit 7"), "hello", "there")
	contains(t, "init", d.sh("cat /proc/1/cmdline; true", "--init"), "docker-init")
	contains(t, "read-only root, tmpfs", d.sh("touch /x; touch /scratch/x && ls /scratch", "--read-only", "--tmpfs", "/scratch:size=1m"), "/x: Read-only file system", "x\n")
	contains(t, "volumes", d.sh("touch /data/x; touch /mnt/x; ls /data /mnt/passwd", "--volume", "data:/data", "--volume", "/etc:/mnt:ro"), "/mnt/x: Read-only file system", "/mnt/passwd", "x\n")
	contains(t, "kept volume", d.sh("ls /data", "--volume", "data:/data"), "x\n")
	contains(t, "default seccomp", d.sh("grep Seccomp: /proc/self/status; grep NoNewPrivs /proc/self/status", "--security-opt", "no-new-privileges"), "Seccomp:\t2", "NoNewPrivs:\t1")
	contains(t, "no seccomp", d.sh("grep Seccomp: /proc/self/status", "--security-opt", "seccomp=unconfined"), "Seccomp:\t0")
	contains(t, "user", d.sh("id -u; id -g; id -G; pwd; echo $A; hostname", "--user", "1000:1001", "--group-add", "7", "--workdir", "/tmp", "--env", "A=b", "--hostname", "name"), "1000\n1001\n1001 7\n/tmp\nb\nname\n")
	contains(t, "capabilities", d.sh("grep CapEff /proc/self/status", "--cap-drop", "ALL", "--cap-add", "KILL"), "0000000000000020")
	contains(t, "device, sysctl, shm", d.sh("echo x >/dev/fuse1; cat /proc/sys/net/ipv4/ip_forward; grep -c ' /dev/shm ' /proc/mounts",
		"--device", "/dev/null:/dev/fuse1", "--sysctl", "net.ipv4.ip_forward=1", "--shm-size", "1m"), "1\n1\n")
	contains(t, "the host's namespaces", d.sh("test $$ -gt 1 && echo pid", "--pid", "host", "--ipc", "host", "--uts", "host"), "pid")
	contains(t, "the host's network", d.must("run", "--rm", "--network", "host", "image", "/bin/cat", "/proc/net/dev"), "lo:")
	files, quota := "memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us", "50000\n"
	if d.h.V2 {
		files, quota = "memory.max pids.max cpu.max", "50000 100000\n"
	}
	contains(t, "limits", d.sh("cd /sys/fs/cgroup; cat "+files, "--memory", "32m", "--pids-limit", "20", "--cpus", "0.5"), "33554432\n20\n"+quota)
}

// withSystemd is what only a machine with systemd, AppArmor and all controllers of
// cgroup v2 can show, in few containers: the virtual machine is slow.
func (d *docker) withSystemd() {
	contains(d.t, "limits, AppArmor", d.sh("cat /proc/self/attr/current; cd /sys/fs/cgroup; cat memory.max pids.max cpu.max",
		"--memory", "32m", "--pids-limit", "20", "--cpus", "0.5"), "docker-default (enforce)", "33554432\n20\n50000 100000\n")
	d.privileged()
	d.run(0, []string{"--detach", "--name", "unit"}, "/bin/sleep", "1000")
	d.must("pause", "unit")
	d.must("unpause", "unit")
	d.must("update", "--memory", "64m", "--memory-swap", "64m", "unit")
	contains(d.t, "update", d.must("exec", "unit", "/bin/cat", "/sys/fs/cgroup/memory.max"), "67108864\n")
	d.must("rm", "--force", "unit")
}

func (d *docker) errors() {
	contains(d.t, "missing program", d.run(127, []string{"--rm"}, "/nowhere"), "OCI runtime create failed", "/nowhere: no such file or directory")
	contains(d.t, "no program", d.run(126, []string{"--rm"}, "/etc/passwd"), "permission denied")
	contains(d.t, "mount", d.run(125, []string{"--rm", "--volume", "/etc/passwd:/tmp"}, "/bin/true"), "Are you trying to mount a directory onto a file")
}

// privileged means all capabilities, of which a sandbox may not have all.
func (d *docker) privileged() {
	if has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_RESOURCE, 0, 0, 0); err != nil || has == 0 {
		contains(d.t, "privileged", d.run(125, []string{"--rm", "--privileged"}, "/bin/true"), "process.capabilities: cannot set the capabilities")
		return
	}
	contains(d.t, "privileged", d.sh("mount -t tmpfs none /tmp && echo mounted; grep Seccomp: /proc/self/status; test -e /dev/kmsg && echo devices", "--privileged"), "mounted", "Seccomp:\t0", "devices")
}

func (d *docker) state(name string) string {
	return strings.TrimSpace(d.must("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", name))
}

// life leads one container through what a user can do with it.
func (d *docker) life() {
	t := d.t
	check := func(when, want string) {
		t.Helper()
		if got := d.state("life"); got != want {
			t.Errorf("after %s: %s, want %s", when, got, want)
		}
	}
	d.run(0, []string{"--detach", "--name", "life"}, "/bin/sh", "-c", `trap "echo term; exit 5" TERM; echo started; while true; do sleep 0.1; done`)
	check("run", "running 0")
	contains(t, "exec", d.want(3, "exec", "life", "/bin/sh", "-c", "echo inside; exit 3"), "inside")
	contains(t, "exec with options", d.must("exec", "--tty", "--workdir", "/tmp", "--env", "A=b", "--user", "1000", "life", "/bin/sh", "-c", "tty; pwd; echo $A; id -u"), "/dev/pts/", "/tmp\r\nb\r\n1000")
	contains(t, "top", d.must("top", "life"), "trap")
	contains(t, "stats", d.must("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "life"), "life ")
	d.must("update", "--memory", "64m", "--memory-swap", "64m", "--pids-limit", "50", "life")
	limits := "cat memory/memory.limit_in_bytes pids/pids.max"
	if d.h.V2 {
		limits = "cat memory.max pids.max"
	}
	contains(t, "update", d.must("exec", "life", "/bin/sh", "-c", "cd /sys/fs/cgroup; "+limits), "67108864\n50")
	d.must("pause", "life")
	check("pause", "paused 0")
	d.must("unpause", "life")
	check("unpause", "running 0")
	d.must("restart", "--time", "5", "life")
	check("restart", "running 0")
	started := func(n int) bool { return strings.Count(d.must("logs", "life"), "started") == n }
	if !linuxtest.Until(func() bool { return started(2) }) { // and its trap is set
		t.Errorf("restart: the logs are %q", d.must("logs", "life"))
	}
	d.must("stop", "--time", "5", "life")
	check("stop", "exited 5")
	contains(t, "logs", d.must("logs", "life"), "started\nterm\nstarted\nterm")
	d.must("start", "life")
	d.must("kill", "--signal", "KILL", "life")
	contains(t, "wait", d.must("wait", "life"), "137")
	d.must("rm", "life")
}

// policies are what the daemon does by itself.
func (d *docker) policies() {
	t := d.t
	d.run(0, []string{"--detach", "--name", "well", "--health-cmd", "test -e /ok", "--health-interval", "200ms", "--health-retries", "1"}, "/bin/sh", "-c", "touch /ok; sleep 1000")
	health := func() string { return d.must("inspect", "--format", "{{.State.Health.Status}}", "well") }
	if !linuxtest.Until(func() bool { return strings.Contains(health(), "healthy") && !strings.Contains(health(), "unhealthy") }) {
		t.Errorf("the health is %s", health())
	}
	d.must("exec", "well", "/bin/rm", "/ok")
	if !linuxtest.Until(func() bool { return strings.Contains(health(), "unhealthy") }) {
		t.Errorf("then it is %s", health())
	}
	d.must("rm", "--force", "well")
	d.run(0, []string{"--detach", "--name", "again", "--restart", "on-failure:2"}, "/bin/sh", "-c", "echo once; exit 1")
	restarts := func() string {
		return d.must("inspect", "--format", "{{.RestartCount}} {{.State.Status}}", "again")
	}
	if !linuxtest.Until(func() bool { return strings.TrimSpace(restarts()) == "2 exited" }) {
		t.Errorf("restarted: %s", restarts())
	}
	if out := d.must("logs", "again"); out != "once\nonce\nonce\n" {
		t.Errorf("the logs are %q", out)
	}
}

// terminal is an interactive shell, attached to from a terminal.
func (d *docker) terminal(h *linuxtest.Host) {
	t := d.t
	if out, status := d.feed("typed\n", "run", "--rm", "--interactive", "--network", "none", "image", "/bin/cat"); status != 0 || out != "typed\n" {
		t.Errorf("cat: status %d: %q", status, out)
	}
	d.run(0, []string{"--detach", "--interactive", "--tty", "--name", "shell"}, "/bin/sh")
	master, side := h.Terminal()
	argv := append(d.argv[1:len(d.argv):len(d.argv)], "attach", "shell")
	cmd := exec.Command(debian("docker"), argv...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = side, side, side
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	side.Close()
	if _, err := master.WriteString("echo $((20+3)) $(tty)\nexit 4\n"); err != nil {
		t.Error(err)
	}
	var screen strings.Builder
	buffer := make([]byte, 4096)
	for n, err := master.Read(buffer); err == nil; n, err = master.Read(buffer) { // EIO at the end
		screen.Write(buffer[:n])
	}
	cmd.Wait()
	if status := cmd.ProcessState.ExitCode(); status != 4 {
		t.Errorf("attach: status %d", status)
	}
	contains(t, "attach", screen.String(), "23 /dev/pts/0")
}

func (d *docker) build() {
	dir := directory(d.t, d.h, "context")
	const file = "FROM image\nRUN echo built >/built && id -u\nUSER 1000\nRUN test $(id -u) = 1000\nCMD [\"/bin/cat\", \"/built\"]\n"
	if err := os.WriteFile(dir+"/Dockerfile", []byte(file), 0o644); err != nil {
		d.t.Fatal(err)
	}
	d.must("build", "--network", "none", "--tag", "made", dir)
	contains(d.t, "what was built", d.must("run", "--rm", "--network", "none", "made"), "built\n")
}

// TestDockerRemapped has the daemon map all containers' ids.
func TestDockerRemapped(t *testing.T) {
	h := linuxtest.One(t)
	privateRun(t, h)
	c := startContainerd(t, h, withoutCRI)
	t.Cleanup(func() { c.end() })
	t.Cleanup(func() { h.RemoveCgroups(h.ID("docker")) }) // which engines leave
	subordinate(t, h, "nobody:200000:65536\nnogroup:200000:65536\n")
	d := startDocker(t, h, c, "docker", "--userns-remap", "nobody:nogroup")
	if t.Failed() {
		return
	}
	contains(t, "map", d.sh("cat /proc/self/uid_map; id -u; touch /new /data/x /t/x && stat -c %u /new /data/x /t/x", "--volume", "data:/data", "--tmpfs", "/t"), " 200000 ", "0\n0\n0\n0\n")
	contains(t, "terminal", d.sh("tty; stat -c %u:%t /dev/console", "--tty"), "/dev/pts/0\r\n0:")
	contains(t, "exception", d.sh("cat /proc/self/uid_map", "--userns", "host"), "4294967295")
}

// subordinate gives the test's mount namespace files of subordinate ids.
func subordinate(t *testing.T, h *linuxtest.Host, text string) {
	t.Helper()
	file := filepath.Join(h.Dir, "subordinate")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/etc/subuid", "/etc/subgid"} {
		if err := unix.Mount(file, path, "", unix.MS_BIND, ""); err != nil {
			t.Fatalf("cannot mount on %s: %v", path, err)
		}
		t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
	}
}
