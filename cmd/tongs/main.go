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
