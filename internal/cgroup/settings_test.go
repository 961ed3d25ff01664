package cgroup

import (
	"slices"
	"testing"
)

// What takes a failed update back: of files with a line for each device only the
// lines that differ, one by one.
func TestBack(t *testing.T) {
	for _, c := range []struct {
		name, file, old, now string
		want                 []string
	}{
		{"one value", "pids.max", "max", "5", []string{"max"}},
		{"two values", "cpu.max", "max 100000", "5000 50000", []string{"max 100000"}},
		{"a new device", "io.max", "", "8:0 rbps=1 wbps=max riops=max wiops=max\n8:16 rbps=2 wbps=max riops=max wiops=max",
			[]string{"8:0 rbps=max wbps=max riops=max wiops=max", "8:16 rbps=max wbps=max riops=max wiops=max"}},
		{"one of two devices", "io.max", "8:0 rbps=1 wbps=max riops=max wiops=max\n8:16 rbps=2 wbps=3 riops=max wiops=max",
			"8:0 rbps=1 wbps=max riops=max wiops=max\n8:16 rbps=2 wbps=4 riops=max wiops=max", []string{"8:16 rbps=2 wbps=3 riops=max wiops=max"}},
		{"a device less", "blkio.throttle.read_bps_device", "8:0 5\n8:16 6", "8:16 6", []string{"8:0 5"}},
		{"a rate more", "blkio.throttle.write_iops_device", "8:0 5", "8:0 5\n8:16 6", []string{"8:16 0"}},
		{"weights", "io.bfq.weight", "default 100\n8:0 200", "default 300\n8:0 400\n8:16 500", []string{"8:0 200", "8:16 default", "default 100"}},
		{"RDMA", "rdma.max", "mlx5_0 hca_handle=max hca_object=2\nmlx5_1 hca_handle=1 hca_object=max", "mlx5_0 hca_handle=3 hca_object=2\nmlx5_1 hca_handle=1 hca_object=max",
			[]string{"mlx5_0 hca_handle=max hca_object=2"}},
		{"an interface that is new to the host", "net_prio.ifpriomap", "lo 0", "eth0 0\nlo 5", []string{"lo 0"}},
		{"OOM killer", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0", "oom_kill_disable 1\nunder_oom 0\noom_kill 0", []string{"0"}},
	} {
		if got := back(c.file, c.old, c.now); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
