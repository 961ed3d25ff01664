package stub_test

import (
	"testing"

	"tongs/internal/kernel"
	"tongs/internal/kernel/kerneltest"
	"tongs/internal/kernel/stub"
)

func start(t *testing.T, c stub.Config) *stub.Stub {
	t.Helper()
	c.Stdio, c.CgroupFD = [3]int{0, 1, 2}, -1
	s, err := stub.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Kill(); s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	kerneltest.Run(t, true, func(t *testing.T) kernel.Kernel { return start(t, stub.Config{}) })
}
