package container

import (
	"tongs/internal/cgroup"
	"tongs/internal/kernel"
	"tongs/internal/kernel/stub"
	"tongs/internal/probe"
)

// Probe asks what this machine allows containers whose state is below root; paths
// are where mounts with mapped owners are tried.
func Probe(root string, paths []string) []probe.Finding {
	return probe.Look(&probe.World{Root: root, Paths: paths, Devices: cgroup.TryDevices, Lend: func(f func(kernel.Kernel, int) error) error {
		s, err := stub.Start(stub.Config{CgroupFD: -1, Stdio: [3]int{0, 1, 2}, ImageDirs: temporaryDirs()})
		if err != nil {
			return err
		}
		defer s.Close()
		defer s.Kill()
		return f(s, s.PID)
	}})
}
