package container

import (
	"tongs/internal/kernel"
	"tongs/internal/kernel/stub"
	"tongs/internal/state"
)

// lend runs f with a stub that ends with it, in no namespace and no cgroup of
// the container's.
func (c *creation) lend(f func(kernel.Kernel, kernel.Handle) (kernel.Handle, error)) (kernel.Handle, error) {
	s, err := stub.Start(stub.Config{CgroupFD: -1, Stdio: [3]int{0, 1, 2}, ImageDirs: imageDirs(c.dir)})
	if err != nil {
		return kernel.Handle{}, err
	}
	defer s.Close()
	defer s.Kill()
	return f(s, kernel.NewHandle(int64(s.PID), "helper"))
}

// imageDirs is where the stub's executable may lie.
func imageDirs(d *state.Dir) []string {
	return append([]string{d.Path()}, temporaryDirs()...)
}

func temporaryDirs() []string { return []string{"/tmp", "/var/tmp", "/dev/shm"} }
