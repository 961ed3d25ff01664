package engines

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// podman is the client with directories of its own and an image.
type podman struct {
	client
	unlimited bool // its containers have no cgroups
}

func newPodman(t *testing.T, h *linuxtest.Host) *podman {
	t.Helper()
	privateRun(t, h)
	dir := directory(t, h, "podman")
	manager := "cgroupfs"
	if systemd() {
		manager = "systemd"
	}
	p := &podman{client: client{t: t, argv: []string{"podman", "--root", dir + "/root", "--runroot", dir + "/run", "--tmpdir", dir + "/tmp",
		"--cgroup-manager", manager, "--storage-driver", "vfs", "--events-backend", "file"}}}
	p.env = []string{"CONTAINERS_CONF=" + containersConf(t, h)}
	const locks = "/dev/shm/libpod_lock" // which podman makes and leaves
	_, missing := os.Stat(locks)
	p.must("import", archive(t, h, dir), "image")
	t.Cleanup(func() {
		p.must("rm", "--all", "--force", "--time", "0")
		os.RemoveAll(dir)
		if missing != nil {
			os.Remove(locks)
		}
	})
	return p
}

// containersConf is the configuration of docs/engines with limits that a process
// without CAP_SYS_RESOURCE may set.
func containersConf(t *testing.T, h *linuxtest.Host) string {
	t.Helper()
	file := snippet(t, h, "containers.conf")
	data, err := os.ReadFile(file)
	if err == nil {
		data = append(data, "\n[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1000:1000\"]\n"...)
		err = os.WriteFile(file, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// run runs a container of the image.
func (p *podman) run(flags []string, args ...string) (string, int) {
	p.t.Helper()
	all := append([]string{"run", "--network", "none"}, flags...)
	return p.do(append(append(all, "image"), args...)...)
}

func (p *podman) expect(what string, flags []string, script string, status int, wanted ...string) {
	p.t.Helper()
	out, got := p.run(append([]string{"--rm"}, flags...), "/bin/sh", "-c", script)
	if got != status {
		p.t.Errorf("%s: status %d, want %d: %s", what, got, status, out)
	}
	for _, w := range wanted {
		if !strings.Contains(out, w) {
			p.t.Errorf("%s: got %q, want %q", what, out, w)
		}
	}
}

func TestPodman(t *testing.T) {
	h := linuxtest.One(t)
	p := newPodman(t, h)
	contains(t, "runtime", p.must("info", "--format", "{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Version}}"), "tongs tongs version ")
	h.Sub(t, "run", func(t *testing.T, h *linuxtest.Host) { p.in(t).options(h) })
	h.Sub(t, "life", func(t *testing.T, _ *linuxtest.Host) { p.in(t).life() })
	h.Sub(t, "volumes", func(t *testing.T, h *linuxtest.Host) { p.in(t).volumes(h) })
	h.Sub(t, "cgroups", func(t *testing.T, _ *linuxtest.Host) { p.in(t).cgroups() })
	h.Sub(t, "secrets", func(t *testing.T, h *linuxtest.Host) { p.in(t).secrets(h) })
	h.Sub(t, "pods", func(t *testing.T, _ *linuxtest.Host) { p.in(t).pods() })
	h.Sub(t, "kube play", func(t *testing.T, h *linuxtest.Host) { p.in(t).kubePlay(h) })
	h.Sub(t, "generate systemd", func(t *testing.T, _ *linuxtest.Host) { p.in(t).generateSystemd() })
	if systemd() {
		h.Sub(t, "systemd", func(t *testing.T, h *linuxtest.Host) { p.in(t).withSystemd(h) })
	}
}

func (p *podman) options(h *linuxtest.Host) {
	t := p.t
	p.expect("output", nil, "echo hello; echo there >&2; exit 7", 7, "hello", "there")
	p.expect("user", []string{"--user", "1000:1001"}, "id -u; id -g", 0, "1000\n1001")
	p.expect("read-only root, volume, tmpfs", []string{"--read-only", "--volume", "/etc:/mnt:ro", "--tmpfs", "/scratch"},
		"touch /x; touch /mnt/x; touch /scratch/x && ls /mnt/passwd", 0, "/x: Read-only file system", "/mnt/x: Read-only file system", "/mnt/passwd")
	p.expect("user namespace", []string{"--uidmap", "0:100000:5000", "--gidmap", "0:100000:5000"}, "cat /proc/self/uid_map", 0, "100000")
	limits := "cat memory/memory.limit_in_bytes pids/pids.max"
	if h.V2 {
		limits = "cat memory.max pids.max"
	}
	p.expect("limits", []string{"--memory", "32m", "--pids-limit", "20"}, "cd /sys/fs/cgroup; "+limits, 0, "33554432\n20")
	p.expect("seccomp", nil, "grep Seccomp: /proc/self/status", 0, "2")
	p.expect("init", []string{"--env", "A=b", "--workdir", "/dev", "--hostname", "name"}, "echo $A; pwd; hostname", 0, "b\n/dev\nname")
	if out, status := p.run([]string{"--rm"}, "/nowhere"); status != 127 {
		t.Errorf("a missing program: status %d, want 127: %s", status, out)
	}
	if out, status := p.run([]string{"--rm"}, "/etc/passwd"); status != 126 {
		t.Errorf("a file that is no program: status %d, want 126: %s", status, out)
	}
}

// withSystemd is the same as for Docker.
func (p *podman) withSystemd(h *linuxtest.Host) {
	p.expect("limits, scope", []string{"--memory", "32m", "--pids-limit", "20", "--cgroupns", "host"},
		"grep -c libpod-.*scope /proc/self/cgroup; cd /sys/fs/cgroup/machine.slice/libpod-*.scope && cat memory.max pids.max", 0, "1\n33554432\n20")
	p.split()
	p.machine(h)
	p.unit(h)
}

// in is the same client for a subtest.
func (p *podman) in(t *testing.T) *podman {
	o := *p
	o.t = t
	return &o
}

// life leads one container through what a user can do with it.
func (p *podman) life() {
	t := p.t
	if out, status := p.run([]string{"--detach", "--name", "life"}, "/bin/sleep", "1000"); status != 0 {
		t.Fatalf("run --detach: status %d: %s", status, out)
	}
	status := func() string {
		return strings.TrimSpace(p.must("inspect", "--format", "{{.State.Status}}", "life"))
	}
	check := func(when, want string) {
		t.Helper()
		if got := status(); got != want {
			t.Errorf("after %s: %s, want %s", when, got, want)
		}
	}
	check("run", "running")
	if out, status := p.do("exec", "life", "/bin/sh", "-c", "echo inside; exit 3"); status != 3 || !strings.Contains(out, "inside") {
		t.Errorf("exec: status %d: %s", status, out)
	}
	if out := p.must("top", "life"); !strings.Contains(out, "sleep 1000") {
		t.Errorf("top: %s", out)
	}
	if !p.unlimited {
		p.must("pause", "life")
		check("pause", "paused")
		p.must("unpause", "life")
		check("unpause", "running")
	}
	p.must("stop", "--time", "1", "life")
	check("stop", "exited")
	p.must("start", "life")
	check("start", "running")
	p.must("kill", "life")
	if !linuxtest.Until(func() bool { return status() == "exited" }) {
		t.Errorf("after kill: %s", status())
	}
	p.must("rm", "life")
}

// volumes have their owners changed on disk, or mapped in the mount.
func (p *podman) volumes(h *linuxtest.Host) {
	mapped := []string{"--uidmap", "0:100000:5000", "--gidmap", "0:100000:5000"}
	owner := func(file string) uint32 {
		var st unix.Stat_t
		if err := unix.Stat(file, &st); err != nil {
			p.t.Error(err)
		}
		return st.Uid
	}
	changed, idmap := directory(p.t, h, "changed"), directory(p.t, h, "idmap")
	const script = "touch /data/x && stat -c %u /data /data/x"
	p.expect(":U", append(mapped, "--volume", changed+":/data:U"), script, 0, "0\n0\n")
	if got := owner(changed + "/x"); got != 100000 {
		p.t.Errorf(":U: the file belongs to %d", got)
	}
	p.expect(":idmap", append(mapped, "--volume", idmap+":/data:idmap"), script, 0, "0\n0\n")
	if got := owner(idmap + "/x"); got != 0 {
		p.t.Errorf(":idmap: the file belongs to %d", got)
	}
}

func (p *podman) cgroups() {
	p.expect("--cgroups=enabled", []string{"--cgroups", "enabled", "--cgroupns", "host"}, "cat /proc/self/cgroup", 0, "/libpod-")
	p.expect("--cgroups=disabled", []string{"--cgroups", "disabled", "--cgroupns", "host"}, "grep -c libpod- /proc/self/cgroup; ls /sys/fs/cgroup | wc -l", 0, "0\n0\n")
	if out, status := p.run([]string{"--rm", "--cgroups", "disabled", "--memory", "32m"}, "/bin/true"); status == 0 {
		p.t.Errorf("a limit without a cgroup: %s", out)
	}
	p.expect("--cgroups=no-conmon", []string{"--cgroups", "no-conmon", "--cgroupns", "host"}, "cat /proc/self/cgroup", 0, "/libpod-")
}

func (p *podman) secrets(h *linuxtest.Host) {
	file := h.Dir + "/secret"
	if err := os.WriteFile(file, []byte("kept\n"), 0o600); err != nil {
		p.t.Fatal(err)
	}
	p.must("secret", "create", "it", file)
	p.expect("secret", []string{"--secret", "it", "--secret", "it,type=env,target=IT"}, "cat /run/secrets/it; echo =$IT", 0, "kept\n=kept\n")
}

// pods share namespaces with a container that does nothing.
func (p *podman) pods() {
	t := p.t
	p.must("pod", "create", "--name", "pod", "--network", "none", "--hostname", "together", "--share", "net,ipc,uts,pid")
	p.must("run", "--detach", "--pod", "pod", "--name", "first", "image", "/bin/sleep", "1000")
	contains(t, "pod", p.must("run", "--rm", "--pod", "pod", "image", "/bin/sh", "-c", "hostname; ps"), "together\n", "sleep 1000", "catatonit")
	contains(t, "pod top", p.must("pod", "top", "pod"), "sleep 1000")
	p.must("pod", "pause", "pod")
	contains(t, "pod ps", p.must("pod", "ps"), "Paused")
	p.must("pod", "unpause", "pod")
	p.must("pod", "stop", "--time", "0", "pod")
	p.must("pod", "rm", "pod")
	p.must("pod", "create", "--name", "alone", "--infra=false")
	contains(t, "pod without infra", p.must("run", "--rm", "--pod", "alone", "--network", "none", "image", "/bin/echo", "inside"), "inside\n")
	p.must("pod", "rm", "alone")
}

func (p *podman) kubePlay(h *linuxtest.Host) {
	const pod = `apiVersion: v1
kind: Pod
metadata:
  name: played
spec:
  containers:
    - name: it
      image: localhost/image:latest
      imagePullPolicy: Never
      command: ["/bin/sh", "-c", "echo $GREETING; touch /x; exec sleep 1000"]
      env:
        - name: GREETING
          value: hello
      securityContext:
        readOnlyRootFilesystem: true
        runAsUser: 1000
`
	file := h.Dir + "/pod.yaml"
	if err := os.WriteFile(file, []byte(pod), 0o644); err != nil {
		p.t.Fatal(err)
	}
	p.must("kube", "play", "--network", "none", file)
	said := func() bool { return strings.Contains(p.must("logs", "played-it"), "Read-only file system") }
	if !linuxtest.Until(said) {
		p.t.Errorf("the logs are %q", p.must("logs", "played-it"))
	}
	contains(p.t, "user", p.must("exec", "played-it", "/bin/id", "-u"), "1000\n")
	p.must("kube", "down", file)
}

func (p *podman) generateSystemd() {
	p.must("create", "--name", "unit", "--network", "none", "image", "/bin/sleep", "1000")
	contains(p.t, "unit", p.must("generate", "systemd", "--name", "--new", "unit"), "ExecStart=", "--name unit", "[Install]")
	p.must("rm", "unit")
}
