package engines

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"tongs/internal/linuxtest"
)

// TestPodmanRootless is podman of an ordinary user, with ids that the machine's
// administrator has given it. Its containers have limits where the user has a service
// manager and cgroups are v2.
func TestPodmanRootless(t *testing.T) {
	if systemd() {
		userManager(t)
	}
	h := linuxtest.One(t)
	privateRun(t, h)
	subordinate(t, h, "nobody:200000:65536\n")
	dir := directory(t, h, "rootless")
	tar := archive(t, h, dir)
	for _, name := range []string{"/home", "/run", "/tmp"} {
		if err := os.Mkdir(dir+name, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir+name, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	manager, runtimeDir := "cgroupfs", dir+"/run"
	if systemd() {
		manager, runtimeDir = "systemd", fmt.Sprint("/run/user/", nobody)
	}
	p := &podman{unlimited: !systemd(), client: client{t: t, dir: dir + "/home", argv: []string{"setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", debian("podman"),
		"--cgroup-manager", manager, "--storage-driver", "vfs", "--events-backend", "file"}}}
	p.env = []string{"HOME=" + dir + "/home", "XDG_RUNTIME_DIR=" + runtimeDir, "TMPDIR=" + dir + "/tmp", "CONTAINERS_CONF=" + containersConf(t, h)}
	if systemd() {
		p.env = append(p.env, "DBUS_SESSION_BUS_ADDRESS=unix:path="+runtimeDir+"/bus")
	}
	t.Cleanup(func() {
		p.must("rm", "--all", "--force", "--time", "0")
		linuxtest.AwaitNone(" container cleanup ") // conmon's, which would start the next one anew
		p.must("system", "migrate")                // ends the process that keeps the namespaces
		os.Remove("/dev/shm/libpod_rootless_lock_65534")
	})
	p.must("import", tar, "image")
	h.Sub(t, "run", func(t *testing.T, _ *linuxtest.Host) { p.in(t).mapped(dir + "/tmp") })
	h.Sub(t, "life", func(t *testing.T, _ *linuxtest.Host) { p.in(t).life() })
	if systemd() {
		h.Sub(t, "systemd", func(t *testing.T, _ *linuxtest.Host) { p.in(t).ofUser() })
	}
}

// mapped looks at the user's ids.
func (p *podman) mapped(volume string) {
	p.expect("ids", nil, "id -u; cat /proc/self/uid_map; touch /x && stat -c %u /x", 0, "0\n         0      65534          1\n         1     200000      65536\n0\n")
	p.expect("another user", []string{"--user", "1000:1001"}, "id -u; id -g; exit 5", 5, "1000\n1001")
	p.expect("read-only root, volume, tmpfs", []string{"--read-only", "--volume", volume + ":/mnt", "--tmpfs", "/scratch"},
		"touch /x; touch /mnt/x /scratch/x && ls /mnt", 0, "/x: Read-only file system", "x\n")
	p.expect("keep-id", []string{"--userns", "keep-id"}, "id -u", 0, "65534")
}

// ofUser is what a user can do on cgroup v2 with a service manager.
func (p *podman) ofUser() {
	p.expect("limits, scope", []string{"--memory", "32m", "--pids-limit", "20", "--cgroupns", "host"},
		"cat /proc/self/cgroup; cd /sys/fs/cgroup$(cut -d : -f 3 /proc/self/cgroup) && cat memory.max pids.max", 0,
		fmt.Sprintf("/user.slice/user-%d.slice/user@%[1]d.service/user.slice/libpod-", nobody), "\n33554432\n20\n")
	p.cgroups()
	p.life()
}

// userManager starts nobody's service manager. It has to come before the test's mount
// namespace, which does not see later mounts.
func userManager(t *testing.T) {
	t.Helper()
	unit := fmt.Sprintf("user@%d.service", nobody)
	if out, err := exec.Command("systemctl", "start", unit).CombinedOutput(); err != nil {
		t.Fatalf("systemctl start %s: %v %s", unit, err, out)
	}
	t.Cleanup(func() { // with the directory, which else goes later
		if out, err := exec.Command("systemctl", "stop", unit, fmt.Sprintf("user-runtime-dir@%d.service", nobody)).CombinedOutput(); err != nil {
			t.Errorf("systemctl stop %s: %v %s", unit, err, out)
		}
	})
}

// nobody is the user of that name, and its group.
const nobody = 65534
