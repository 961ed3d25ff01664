package host_test

import (
	"testing"

	"tongs/internal/kernel"
	"tongs/internal/kernel/host"
	"tongs/internal/kernel/kerneltest"
)

func TestConformance(t *testing.T) {
	kerneltest.Run(t, true, func(*testing.T) kernel.Kernel { return host.Kernel{} })
}
