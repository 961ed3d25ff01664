// Package smoke checks that the virtual machine is what the other tests in it
// need.
package smoke

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"tongs/internal/linuxtest"
)

func TestMain(m *testing.M) { linuxtest.MainVM(m) }

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

func TestControllers(t *testing.T) {
	have := strings.Fields(read(t, "/sys/fs/cgroup/cgroup.controllers"))
	for _, name := range []string{"cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"} {
		if !slices.Contains(have, name) {
			t.Errorf("no controller %s: %s", name, have)
		}
	}
}

func TestRDMA(t *testing.T) {
	if linuxtest.RDMADevice(t) == "" {
		t.Error("the kernel makes no RDMA device")
	}
}

func TestAppArmor(t *testing.T) {
	if list := read(t, "/sys/kernel/security/lsm"); !strings.Contains(list, "apparmor") {
		t.Errorf("no AppArmor: %s", list)
	}
	if got := read(t, "/sys/module/apparmor/parameters/enabled"); got != "Y" {
		t.Errorf("AppArmor is enabled: %s", got)
	}
}

func TestSystemd(t *testing.T) {
	if got := read(t, "/proc/1/comm"); got != "systemd" {
		t.Errorf("the init process is %s", got)
	}
	out, _ := exec.Command("systemctl", "--failed", "--plain", "--no-legend").CombinedOutput() // the text tells
	if strings.TrimSpace(string(out)) != "" {
		t.Errorf("failed units:\n%s", out)
	}
}

func TestContainer(t *testing.T) {
	h := linuxtest.One(t)
	if !h.V2 {
		t.Error("the machine has cgroup v1")
	}
	r := h.RunInside("a")
	if r.PID != 1 {
		t.Errorf("the container's process is %d", r.PID)
	}
}
