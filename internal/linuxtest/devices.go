package linuxtest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// RDMADevice makes a device for remote direct memory access for the time of the
// test. It is for the virtual machine, whose kernel has one without hardware
// ("soft RoCE"). Debian's kernels for clouds have none; then the name is empty.
func RDMADevice(t *testing.T) (name string) {
	t.Helper()
	needVM(t)
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err != nil || strings.Contains(string(release), "cloud") {
		return ""
	}
	must(t, "modprobe", "rdma_rxe")
	must(t, "rdma", "link", "add", "rxe_e2e", "type", "rxe", "netdev", "lo")
	t.Cleanup(func() { must(t, "rdma", "link", "delete", "rxe_e2e") })
	return "rxe_e2e"
}

// WeighDisk gives the virtual machine's first disk a scheduler that knows weights,
// for which block I/O has files then, also one for each device. Elsewhere it does
// nothing, and says so.
func WeighDisk(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inVM) == "" {
		return false
	}
	must(t, "modprobe", "bfq")
	if err := os.WriteFile("/sys/block/vda/queue/scheduler", []byte("bfq"), 0); err != nil {
		t.Fatal(err)
	}
	return true
}

// inVM is set in the virtual machine of test/vm.
const inVM = "TONGS_TEST_VM"

// needVM keeps a test from changing somebody's machine.
func needVM(t *testing.T) {
	t.Helper()
	if os.Getenv(inVM) == "" {
		t.Fatal("this is for the virtual machine of test/vm")
	}
}

func must(t *testing.T, command ...string) {
	t.Helper()
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(command, " "), err, out)
	}
}
