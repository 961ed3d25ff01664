package checkpoint

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// A holder is a process that keeps namespaces for containers that are given them
// by path.
type holder struct {
	t   *testing.T
	pid int
}

func newHolder(t *testing.T, clone, unshare uintptr) holder {
	t.Helper()
	// It reaps what dies in its PID namespace: CRIU needs the numbers again.
	cmd := exec.Command("/bin/sh", "-c", "sleep 600 & echo; wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: clone, Unshareflags: unshare, Setpgid: true}
	if clone&syscall.CLONE_NEWUSER != 0 {
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100000, Size: 1000}}
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = ids, ids
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); cmd.Wait() })
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return holder{t, cmd.Process.Pid}
}

func (o holder) path(file string) string { return "/proc/" + itoa(o.pid) + "/ns/" + file }

// has checks that a container's namespace is the holder's.
func (o holder) has(b *box, file string) {
	o.t.Helper()
	got, err := os.Readlink("/proc/" + itoa(b.h.WaitFor(b.id, "running").PID) + "/ns/" + strings.TrimSuffix(file, "_for_children"))
	if want, _ := os.Readlink(o.path(file)); got != want {
		o.t.Errorf("it is in %s, not in %s: %v", got, want, err)
	}
}

// Namespaces that are given by path are those of the restored container as well,
// whatever is in them.
func TestNamespacesByPath(t *testing.T) {
	types := map[string]specs.LinuxNamespaceType{"net": specs.NetworkNamespace, "ipc": specs.IPCNamespace, "uts": specs.UTSNamespace, "pid": specs.PIDNamespace,
		"time_for_children": specs.TimeNamespace}
	h := linuxtest.One(t)
	for _, files := range [][]string{{"net"}, {"pid"}, {"net", "ipc", "uts"}, {"net", "pid"}, {"time_for_children"}} {
		h.Sub(t, strings.Join(files, " "), func(t *testing.T, h *linuxtest.Host) {
			o := newHolder(t, syscall.CLONE_NEWNET|syscall.CLONE_NEWIPC|syscall.CLONE_NEWUTS|syscall.CLONE_NEWPID, unix.CLONE_NEWTIME)
			edits := []linuxtest.Edit{func(s *specs.Spec) { s.Hostname = "" }}
			for _, file := range files {
				edits = append(edits, linuxtest.Namespace(types[file], o.path(file)))
			}
			b := newBox(t, h, edits...)
			b.run()
			h.Adopt(h.WaitFor(b.id, "running").PID) // CRIU needs its number again
			n := b.passes(20)
			b.checkpoint()
			b.forget()
			b.restore()
			h.Adopt(h.WaitFor(b.id, "running").PID)
			b.passes(n)
			b.works()
			for _, file := range files {
				o.has(b, file)
			}
			b.ends()
		})
	}
}

// A container that could not be restored is not saved.
func TestNamespacesRefused(t *testing.T) {
	h := linuxtest.One(t)
	for file, c := range map[string]struct {
		kind specs.LinuxNamespaceType
		flag uintptr
	}{"mnt": {specs.MountNamespace, unix.CLONE_NEWNS}, "user": {specs.UserNamespace, unix.CLONE_NEWUSER}, "cgroup": {specs.CgroupNamespace, unix.CLONE_NEWCGROUP}} {
		h.Sub(t, file, func(t *testing.T, h *linuxtest.Host) {
			o := newHolder(t, c.flag, 0)
			b := newBox(t, h)
			if file == "user" {
				b = newUserBox(t, h)
			}
			h.WriteConfig(b.bundle, linuxtest.Spec(linuxtest.Shell(counter), writable, linuxtest.Namespace(c.kind, o.path(file))))
			b.run()
			images := h.Dir + "/images-" + file
			want := "criu cannot restore a container in a " + string(c.kind) + " namespace that is given by path"
			b.fails(nil, want, "checkpoint", "--image-path", images, b.id)
			if _, err := os.Stat(images); !os.IsNotExist(err) {
				t.Errorf("the directory of the images: %v", err)
			}
			b.goesOn()
			b.ends()
			if err := os.Mkdir(images, 0o700); err != nil {
				t.Fatal(err)
			}
			b.fails(nil, want, "restore", "-d", "-b", b.bundle, "--image-path", images, b.id)
		})
	}
}

// The network of a restored container is empty but for loopback and what the
// configuration moves into it.
func TestNetworkDevices(t *testing.T) {
	h := linuxtest.One(t)
	device := func() {
		t.Helper()
		for _, args := range []string{"link add tongs0 type dummy", "address add 192.0.2.7/24 dev tongs0"} {
			if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
				t.Fatalf("ip %s: %v\n%s", args, err, out)
			}
		}
	}
	b := newBox(t, h, func(s *specs.Spec) {
		s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"tongs0": {Name: "inner0"}}
	})
	device()
	b.run()
	n := b.passes(20)
	check := func() {
		t.Helper()
		if got := b.exec("/bin/busybox", "ip", "-o", "address"); !strings.Contains(got, "inner0    inet 192.0.2.7/24") {
			t.Errorf("the container has %s", got)
		}
	}
	check()
	b.checkpoint("--empty-ns", "network")
	b.fails(nil, `linux.netDevices.tongs0: there is no network device "tongs0"`, "restore", "-d", "-b", b.bundle, "--image-path", b.images, b.id)
	b.nothingLeft()
	device()
	b.forget()
	b.restore("--empty-ns", "network")
	b.passes(n)
	b.works()
	check()
	b.checkpoint()
	device()
	// What fails later gives it back.
	s := linuxtest.Spec(linuxtest.Shell(counter), writable, func(s *specs.Spec) {
		s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"tongs0": {}}
		s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/false"}}}
	})
	h.WriteConfig(b.bundle, s)
	b.fails(nil, "hooks.createRuntime[0]", "restore", "-d", "-b", b.bundle, "--image-path", b.images, b.id)
	if st, ok := h.State(b.id); ok {
		t.Errorf("the container is there: %+v", st)
	}
	out, err := exec.Command("ip", "-o", "address", "show", "tongs0").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "192.0.2.7/24") {
		t.Errorf("the device did not come back: %v\n%s", err, out)
	}
	if out, err := exec.Command("ip", "link", "delete", "tongs0").CombinedOutput(); err != nil {
		t.Errorf("ip link delete: %v\n%s", err, out)
	}
	b.fails(nil, `--empty-ns: namespace "pid" is not supported`, "restore", "-d", "--empty-ns", "pid", "-b", b.bundle, "--image-path", b.images, b.id)
}

// The directory of a service manager's socket is the container's again, if it had
// one or there is a service manager; nobody waits for a program that has said long
// ago that it is ready.
func TestNotifySocket(t *testing.T) {
	h := linuxtest.One(t)
	b := newBox(t, h)
	env := []string{"NOTIFY_SOCKET=" + h.Dir + "/manager"}
	run := func(env []string, args ...string) {
		t.Helper()
		log := filepath.Join(h.Dir, "log")
		if r := h.Exec(linuxtest.Command{Args: append([]string{"--log", log}, args...), Out: null(t), Env: env}); r.Status != 0 {
			data, _ := os.ReadFile(log)
			t.Fatalf("%q: status %d: %s\n%s", args, r.Status, data, b.criuLog())
		}
	}
	run(env, "create", "-b", b.bundle, b.id)
	b.must("start", b.id)
	n := b.passes(20)
	for _, env := range [][]string{env, nil} {
		b.checkpoint()
		b.forget()
		run(env, "restore", "-d", "-b", b.bundle, "--image-path", b.images, b.id)
		n = b.passes(n)
		b.works()
		if got := b.exec("/bin/sh", "-c", "grep -c ' /run/notify ro,' /proc/self/mountinfo"); got != "1" {
			t.Errorf("with %q: /run/notify: %s mounts", env, got)
		}
	}
	b.ends()
}

// comesBack saves and restores the container, with a mode for cgroups unless that is
// empty, and returns what it has counted to by then, which is more than n.
func (b *box) comesBack(mode string, n int) int {
	b.t.Helper()
	var flags []string
	if mode != "" {
		flags = []string{"--manage-cgroups-mode", mode}
	}
	b.checkpoint(flags...)
	b.forget()
	b.restore(flags...)
	return b.passes(n)
}

// What becomes of the cgroups in the container's own is what the mode says. (CRIU
// 3.17 saves no settings of cgroup v2, so that full is as soft. tongs makes the
// container's cgroup, and with strict there must be none.)
func TestCgroupModes(t *testing.T) {
	h := linuxtest.One(t)
	const dir = "/sys/fs/cgroup"
	b := newBox(t, h, linuxtest.Shell("mkdir "+dir+"/sub && echo 0 >"+dir+"/sub/cgroup.procs; "+counter), cgroupMount("rw"))
	b.run()
	n := b.passes(20)
	for _, c := range []struct{ mode, place string }{{"full", "/sub"}, {"", "/sub"}, {"soft", "/sub"}, {"ignore", "/"}} {
		n = b.comesBack(c.mode, n)
		own, sub := b.exec("/bin/cat", "/proc/1/cgroup"), b.exec("/bin/sh", "-c", "ls -d "+dir+"/sub || true")
		if own != "0::"+c.place || sub != strings.TrimSuffix(dir+c.place, "/") && c.place != "/" {
			t.Errorf("mode %q: it is in %q, want %q; below its cgroup there is %q", c.mode, own, c.place, sub)
		}
	}
	b.fails(nil, `invalid manage-cgroups-mode value: "half"`, "checkpoint", "--manage-cgroups-mode", "half", "--image-path", h.Dir+"/x", b.id)
	b.checkpoint("--manage-cgroups-mode", "strict") // all are in the container's now
	b.fails(nil, "existing cgroups", "restore", "-d", "-b", b.bundle, "--image-path", b.images, "--manage-cgroups-mode", "strict", b.id)
	b.nothingLeft()
	b.restore()
	b.works()
	b.ends()
}

func cgroupMount(options ...string) linuxtest.Edit {
	return func(s *specs.Spec) {
		for i := range s.Mounts {
			if s.Mounts[i].Type == "cgroup" {
				s.Mounts = append(s.Mounts[:i], s.Mounts[i+1:]...)
				break
			}
		}
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: options})
	}
}

// A restored container has the profile that it had, or another.
func TestProfile(t *testing.T) {
	const flags = " flags=(attach_disconnected,mediate_deleted) { file, capability, signal, network, mount, umount, ptrace, unix, }\n"
	linuxtest.LoadProfiles(t, "profile tongs-checkpoint-a"+flags+"profile tongs-checkpoint-b"+flags)
	b := newBox(t, linuxtest.One(t), func(s *specs.Spec) { s.Process.ApparmorProfile = "tongs-checkpoint-a" })
	b.run()
	n := b.passes(20)
	check := func(want string) {
		t.Helper()
		if got := b.exec("/bin/cat", "/proc/1/attr/apparmor/current"); got != want+" (enforce)" {
			t.Errorf("the profile is %q, want %q", got, want)
		}
	}
	check("tongs-checkpoint-a")
	b.checkpoint()
	b.fails(nil, `the AppArmor profile "tongs-checkpoint-missing" is not loaded`, "restore", "-d", "-b", b.bundle, "--image-path", b.images, "--lsm-profile", "apparmor:tongs-checkpoint-missing", b.id)
	b.nothingLeft()
	b.restore()
	n = b.passes(n)
	check("tongs-checkpoint-a")
	b.checkpoint()
	// With another one in the configuration, which CRIU does not read.
	h := b.h
	h.WriteConfig(b.bundle, linuxtest.Spec(linuxtest.Shell(counter), writable, func(s *specs.Spec) { s.Process.ApparmorProfile = "tongs-checkpoint-b" }))
	b.fails(nil, `criu has made a process with the profile "tongs-checkpoint-a", not "tongs-checkpoint-b"`, "restore", "-d", "-b", b.bundle, "--image-path", b.images, b.id)
	b.nothingLeft()
	b.restore("--lsm-profile", "apparmor:tongs-checkpoint-b")
	b.passes(n)
	check("tongs-checkpoint-b")
	b.works()
	b.ends()
}

// On cgroup v1 CRIU saves the settings of cgroups: with full they are what they
// were, otherwise what the configuration says.
func TestV1(t *testing.T) {
	b := newBox(t, linuxtest.One(t), func(s *specs.Spec) {
		shares := uint64(300)
		s.Linux.Resources = &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}}
	})
	b.run()
	n := b.passes(20)
	for _, c := range []struct{ mode, shares string }{{"full", "400"}, {"soft", "300"}, {"", "300"}, {"ignore", "300"}} {
		b.h.Must("update", "--cpu-share", "400", b.id)
		n = b.comesBack(c.mode, n)
		if got := b.exec("/bin/cat", "/sys/fs/cgroup/cpu/cpu.shares"); got != c.shares {
			t.Errorf("mode %q: the shares are %s, want %s", c.mode, got, c.shares)
		}
		b.works()
	}
	b.ends()
}
