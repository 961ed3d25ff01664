package engines

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// Programs of the module in the directory cri.
const (
	containerd2 = "github.com/containerd/containerd/v2/cmd/"
	criTools    = "sigs.k8s.io/cri-tools/cmd/"
)

// buildCRI builds programs into a directory.
func buildCRI(t *testing.T, dir string, packages ...string) {
	t.Helper()
	args := []string{"build", "-trimpath", "-ldflags", "-s -w", "-tags", "no_btrfs,no_zfs,no_devmapper,no_tracing", "-o", dir + "/"}
	cmd := exec.Command("go", append(args, packages...)...)
	cmd.Dir = "cri"
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build %q: %v\n%s", packages, err, out)
	}
}

// fetchCRI gets the modules that all of these programs are built from: they are
// built where there is no network.
func fetchCRI(t *testing.T) {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-test", containerd2+"containerd", containerd2+"containerd-shim-runc-v2", criTools+"crictl", criTools+"critest")
	cmd.Dir = "cri"
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot get modules: %v\n%s", err, out)
	}
}

// cri is a containerd as Kubernetes uses it, and crictl.
type cri struct {
	client
	h   *linuxtest.Host
	dir string
	ctr *client
}

// Namespace modes of the interface: the pod's, the container's, the host's.
const (
	podWide = iota
	own
	node
)

// pause is the image of all containers, also of the one that holds a pod.
const pause = "localhost/pause:test"

// startCRI starts a containerd with a file of docs/engines and what comes after it:
// the test's own paths. Its networks are made in a network namespace of its own.
func startCRI(t *testing.T, h *linuxtest.Host, program, file, settings string) *cri {
	t.Helper()
	dir := directory(t, h, "cri")
	config := snippet(t, h, file)
	data, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("config.toml", string(data)+strings.ReplaceAll(settings, "DIR", dir))
	write("crictl.yaml", "")
	network := directory(t, h, "cri/cni")
	write("cni/net.conflist", fmt.Sprintf(`{"cniVersion": "0.4.0", "name": "net", "plugins": [
		{"type": "ptp", "ipam": {"type": "host-local", "subnet": "10.77.0.0/24", "dataDir": %q}},
		{"type": "portmap", "capabilities": {"portMappings": true}}]}`, network+"/ipam"))
	socket := dir + "/c.sock"
	c := &cri{h: h, dir: dir, ctr: &client{t: t, argv: []string{"ctr", "--address", socket, "--namespace", "k8s.io"}}}
	c.client = client{t: t, argv: []string{dir + "/bin/crictl", "--timeout", "30s", "--runtime-endpoint", c.endpoint(), "--image-endpoint", c.endpoint()}}
	c.env = []string{"CRI_CONFIG_FILE=" + dir + "/crictl.yaml"}
	buildCRI(t, dir+"/bin", criTools+"crictl")
	ready := func() bool {
		_, status := c.do("info")
		return status == 0
	}
	stop := daemon(t, ready, dir, program, "--config", dir+"/config.toml", "--root", dir+"/root", "--state", dir+"/state", "--address", socket)
	t.Cleanup(func() {
		stop()
		os.RemoveAll(dir)
	})
	ociArchive(t, dir+"/oci.tar", archive(t, h, dir), pause, "/bin/sleep", "100000")
	c.ctr.must("images", "import", "--snapshotter", "native", dir+"/oci.tar")
	return c
}

func (c *cri) endpoint() string { return "unix://" + c.dir + "/c.sock" }

// ownNetwork gives the calling thread, and all that it starts, a network namespace.
func ownNetwork(t *testing.T) {
	t.Helper()
	fetchCRI(t)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	// Plugins remember networks there.
	const memory = "/var/lib/cni"
	if err := os.MkdirAll(memory, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", memory, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(memory, unix.MNT_DETACH) })
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("cannot raise the loopback: %v: %s", err, out)
	}
}

// file writes an object for crictl.
func (c *cri) file(name string, o object) string {
	c.t.Helper()
	data, err := json.Marshal(o)
	if err != nil {
		c.t.Fatal(err)
	}
	path := filepath.Join(c.dir, name+".json")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// pod starts a pod with namespaces and gives its name and its file.
func (c *cri) pod(name string, namespaces object) (id, file string) {
	c.t.Helper()
	config := object{"metadata": object{"name": name, "namespace": "default", "uid": name}, "hostname": name, "log_directory": c.dir + "/logs",
		"linux": object{"cgroup_parent": "/" + c.h.ID("cri"), "security_context": object{"namespace_options": namespaces}}}
	if namespaces["network"] == node {
		delete(config, "hostname") // it is the host's
	}
	file = c.file(name, config)
	return c.made("runp", "--runtime", "tongs", file), file
}

// made runs a command that gives the name of what it has made.
func (c *cri) made(args ...string) string {
	c.t.Helper()
	out := c.must(args...)
	if c.t.Failed() {
		c.t.FailNow()
	}
	return strings.TrimSpace(out)
}

// container starts a container in a pod.
func (c *cri) container(name, pod, podFile, script string, more, linux object) string {
	c.t.Helper()
	o := object{"metadata": object{"name": name}, "image": object{"image": pause}, "command": []string{"/bin/sh", "-c", script}, "log_path": name + ".log", "linux": linux}
	for key, value := range more {
		o[key] = value
	}
	id := c.made("create", pod, c.file(name, o), podFile)
	c.must("start", id)
	return id
}

// TestCRI is containerd 1.6 with configuration version 2.
func TestCRI(t *testing.T) {
	h := linuxtest.One(t)
	privateRun(t, h)
	ownNetwork(t)
	t.Cleanup(func() { h.RemoveCgroups(h.ID("cri")) })
	c := startCRI(t, h, "containerd", "containerd-v2.toml", `
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "`+pause+`"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "DIR/cni"
`)
	if !t.Failed() {
		c.life()
	}
}

// TestCRI2 is containerd 2 with configuration version 3. It asks tongs for its
// features before it makes pods with user namespaces.
func TestCRI2(t *testing.T) {
	h := linuxtest.One(t)
	privateRun(t, h)
	ownNetwork(t)
	t.Cleanup(func() { h.RemoveCgroups(h.ID("cri")) })
	bin := directory(t, h, "cri/bin")
	buildCRI(t, bin, containerd2+"containerd", containerd2+"containerd-shim-runc-v2")
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	c := startCRI(t, h, bin+"/containerd", "containerd-v3.toml", `
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "native"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "`+pause+`"
`+criNetwork)
	if !t.Failed() {
		c.handlers()
		c.life()
		c.userNamespace()
	}
}

// criNetwork is what containerd 2 has to know of this machine to start pods.
const criNetwork = `[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "DIR/cni"
`

// life leads a pod with a container through what a kubelet does with it.
func (c *cri) life() {
	t := c.t
	pod, file := c.pod("life", object{"network": podWide, "pid": own})
	id := c.container("first", pod, file, "echo started; exec sleep 1000", nil, object{"resources": object{"memory_limit_in_bytes": 32 << 20},
		"security_context": object{"run_as_user": object{"value": 1000}, "readonly_rootfs": true, "no_new_privs": true, "seccomp": object{"profile_type": 0},
			"capabilities": object{"drop_capabilities": []string{"ALL"}}, "masked_paths": []string{"/proc/version"}}})
	contains(t, "ps", c.must("ps", "--output", "json"), "CONTAINER_RUNNING", "first")
	contains(t, "exec", c.must("exec", "--sync", id, "/bin/sh", "-c",
		"id -u; hostname; grep -E 'Seccomp:|NoNewPrivs|CapEff' /proc/self/status; touch /x || true; cat /proc/net/dev; wc -c </proc/version"),
		"1000\nlife\n", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "Read-only file system", "eth0", "\n0\n")
	if out, status := c.do("exec", "--sync", id, "/bin/sh", "-c", "exit 3"); status == 0 || !strings.Contains(out, "3") {
		t.Errorf("exec of what fails: status %d: %s", status, out)
	}
	if out, status := c.feed("typed\n", "exec", "--interactive", id, "/bin/cat"); status != 0 || !strings.Contains(out, "typed") {
		t.Errorf("exec with streams: status %d: %s", status, out)
	}
	contains(t, "logs", c.must("logs", id), "started")
	contains(t, "stats", c.must("stats", "--output", "json", id), "first")
	c.must("update", "--memory", "67108864", id)
	limit := "memory/memory.limit_in_bytes"
	if c.h.V2 {
		limit = "memory.max"
	}
	contains(t, "update", c.must("exec", "--sync", id, "/bin/cat", "/sys/fs/cgroup/"+limit), "67108864")
	other := c.container("second", pod, file, "test $(hostname) = life && cat /proc/net/dev; exit 5", nil, object{})
	if !linuxtest.Until(func() bool { return strings.Contains(c.must("inspect", other), `"exitCode": 5`) }) {
		t.Errorf("the second container: %s", c.must("inspect", other))
	}
	contains(t, "the second's logs", c.must("logs", other), "eth0")
	c.must("stop", "--timeout", "1", id)
	c.must("rm", id)
	c.end(pod)
	// A pod with the host's namespaces.
	pod, file = c.pod("host", object{"network": node, "pid": node, "ipc": node})
	id = c.container("hosted", pod, file, "exec sleep 1000", nil, object{"security_context": object{"namespace_options": object{"network": node, "pid": node, "ipc": node}}})
	contains(t, "the host's namespaces", c.must("exec", "--sync", id, "/bin/sh", "-c", "readlink /proc/self/ns/net; test $$ -gt 1 && echo many"), linuxtest.HostNamespace(t, "net"), "many")
	c.end(pod)
}

func (c *cri) end(pod string) {
	c.t.Helper()
	c.must("stopp", pod)
	c.must("rmp", pod)
}

// handlers are what the engine has found out about tongs.
func (c *cri) handlers() {
	var info struct {
		RuntimeHandlers []struct {
			Name     string
			Features map[string]bool
		}
	}
	if err := json.Unmarshal([]byte(c.must("info")), &info); err != nil {
		c.t.Fatal(err)
	}
	for _, h := range info.RuntimeHandlers {
		if h.Name == "tongs" && h.Features["user_namespaces"] && h.Features["recursive_read_only_mounts"] {
			return
		}
	}
	c.t.Errorf("the engine does not know what tongs can: %+v", info.RuntimeHandlers)
}

// userNamespace is a pod with ids of its own, and a mount that is read-only with
// all that is mounted below.
func (c *cri) userNamespace() {
	t := c.t
	tree := directory(t, c.h, "cri/tree/sub")
	if err := unix.Mount("tmpfs", tree, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(tree, unix.MNT_DETACH)
	ids := []object{{"host_id": 300000, "container_id": 0, "length": 65536}}
	namespaces := object{"network": podWide, "pid": own, "userns_options": object{"mode": podWide, "uids": ids, "gids": ids}}
	pod, file := c.pod("mapped", namespaces)
	id := c.container("inside", pod, file, "exec sleep 1000", object{"mounts": []object{{"container_path": "/ro", "host_path": filepath.Dir(tree), "readonly": true, "recursive_read_only": true}}},
		object{"security_context": object{"namespace_options": namespaces}})
	contains(t, "mapped", c.must("exec", "--sync", id, "/bin/sh", "-c", "cat /proc/self/uid_map; touch /x && stat -c %u /x; touch /ro/x; touch /ro/sub/x; true"),
		" 300000 ", "\n0\n", "/ro/x: Read-only file system", "/ro/sub/x: Read-only file system")
	c.end(pod)
}
