// A command lives for milliseconds: the Go runtime need not ask for the CPU
// limits of its cgroup, watch them, or name its memory mappings.
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
//go:debug decoratemappings=0

// Command tongs is an OCI container runtime. See internal/cli for its commands.
package main

import (
	"os"

	"tongs/internal/cli"
)

// Set by the linker: -ldflags "-X main.version=… -X main.commit=…".
var (
	version = "0.1.0"
	commit  = "unknown"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], version, commit))
}
