package engines

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// here is the begin of a command by which a unit of the machine's sees the mounts of
// the calling thread.
func here() []string {
	return []string{"/usr/bin/nsenter", fmt.Sprintf("--mount=/proc/%d/task/%d/ns/mnt", os.Getpid(), unix.Gettid()), "--"}
}

// split is a container in a part of podman's own cgroup: that of a unit.
func (p *podman) split() {
	argv := append([]string{"systemd-run", "--quiet", "--wait", "--pipe", "--property=Delegate=yes", "--unit=tongs-split", "--setenv=" + p.env[0]}, here()...)
	service := client{t: p.t, argv: append(append(argv, debian(p.argv[0])), p.argv[1:]...)}
	out := service.must("run", "--rm", "--network", "none", "--cgroups", "split", "--memory", "32m", "--cgroupns", "host", "image",
		"/bin/sh", "-c", "cat /proc/self/cgroup; cat /sys/fs/cgroup/$(cut -d : -f 3 /proc/self/cgroup)/memory.max")
	contains(p.t, "--cgroups=split", out, "/system.slice/tongs-split.service/libpod-payload-", "\n33554432\n")
}

// machine is a container whose first process is systemd, from the machine's own tree:
// its units have cgroups of their own, and it stops in order.
func (p *podman) machine(h *linuxtest.Host) {
	t := p.t
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	base, root := directory(t, h, "machine"), directory(t, h, "machine/root")
	must(unix.Mount("tmpfs", base, "tmpfs", 0, "mode=755"))
	defer unix.Unmount(base, unix.MNT_DETACH)
	for _, name := range []string{"/root", "/upper", "/work"} {
		must(os.Mkdir(base+name, 0o755))
	}
	must(unix.Mount("overlay", root, "overlay", 0, "lowerdir=/,upperdir="+base+"/upper,workdir="+base+"/work"))
	defer unix.Unmount(root, unix.MNT_DETACH)
	units := root + "/etc/systemd/system/"
	must(os.WriteFile(units+"inside.target", []byte("[Unit]\nRequires=sysinit.target\nAfter=sysinit.target\nAllowIsolate=yes\n"), 0o644))
	must(os.WriteFile(units+"inside.service", []byte("[Service]\nExecStart=/bin/sleep 1000\nMemoryMax=32M\n"), 0o644))
	p.must("run", "--detach", "--name", "machine", "--systemd=always", "--network", "none", "--rootfs", root, "/sbin/init", "--unit=inside.target")
	up := func() bool {
		out, _ := p.do("exec", "machine", "systemctl", "is-active", "inside.target")
		return out == "active\n"
	}
	for range 6 { // it may take a minute
		if linuxtest.Until(up) {
			break
		}
	}
	p.must("exec", "machine", "systemctl", "start", "inside.service")
	contains(t, "a unit inside", p.must("exec", "machine", "/bin/sh", "-c",
		"cat /proc/1/comm /proc/$(systemctl show --property MainPID --value inside)/cgroup /sys/fs/cgroup/system.slice/inside.service/memory.max; systemd-detect-virt"),
		"systemd\n", "0::/system.slice/inside.service\n", "33554432\n", "podman\n")
	p.must("stop", "--time", "60", "machine")
	contains(t, "stop", p.must("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "machine"), "exited 0")
	p.must("rm", "machine")
}

// unit is a service made by `generate systemd`: podman is started by the machine's
// service manager, and is watched by it.
func (p *podman) unit(h *linuxtest.Host) {
	t := p.t
	p.must("create", "--name", "served", "--network", "none", "image", "/bin/sh", "-c", "echo serving; exec sleep 1000")
	text := p.must("generate", "systemd", "--name", "--new", "served")
	p.must("rm", "served")
	text = strings.Replace(text, "[Service]\n", "[Service]\nEnvironment="+p.env[0]+"\n", 1)
	text = strings.ReplaceAll(text, "=/usr/bin/podman", "="+strings.Join(here(), " ")+" /usr/bin/podman")
	for _, command := range []string{"stop", "rm"} { // which lack what podman was started with
		text = strings.ReplaceAll(text, "podman "+command+" ", "podman "+strings.Join(p.argv[1:], " ")+" "+command+" ")
	}
	const file = "/run/systemd/system/tongs-served.service"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	systemctl := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("systemctl", args...).CombinedOutput()
		if err != nil {
			log, _ := exec.Command("journalctl", "-n", "20", "--no-pager", "-u", "tongs-served").CombinedOutput() // the error tells enough without
			t.Errorf("systemctl %q: %v %s\n%s", args, err, out, log)
		}
		return string(out)
	}
	defer func() {
		os.Remove(file)
		systemctl("daemon-reload")
	}()
	systemctl("daemon-reload")
	systemctl("start", "tongs-served")
	contains(t, "the unit", systemctl("show", "--property", "ActiveState", "tongs-served"), "ActiveState=active")
	if !linuxtest.Until(func() bool { return strings.Contains(p.must("logs", "served"), "serving") }) {
		t.Error("its logs say nothing")
	}
	systemctl("stop", "tongs-served")
	if out := p.must("ps", "--all"); strings.Contains(out, "served") {
		t.Errorf("left: %s", out)
	}
}
