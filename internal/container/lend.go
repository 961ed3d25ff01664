package container

import (
	"tongs/internal/kernel"
	"tongs/internal/kernel/stub"
)

// lend runs f with a stub that ends with it, in no namespace and no cgroup of
// the container's.
func (c *creation) lend(f func(kernel.Kernel, kernel.Handle) (kernel.Handle, error)) (kernel.Handle, error) {
	s, err := stub.Start(stub.Config{CgroupFD: -1, Stdio: [3]int{0, 1, 2}, ImageDirs: c.imageDirs()})
	if err != nil {
		return kernel.Handle{}, err
	}
	defer s.Close()
	defer s.Kill()
	return f(s, kernel.NewHandle(int64(s.PID), "helper"))
}

// imageDirs is where the stub's executable may lie.
func (c *creation) imageDirs() []string {
	return []string{c.dir.Path(), "/tmp", "/var/tmp", "/dev/shm"}
}
