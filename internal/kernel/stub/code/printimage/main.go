// Printimage writes the stub's executable, for the architecture that the
// program was built for, to its standard output. It is how a test on one
// architecture gets the machine code of another one.
package main

import (
	"os"
	"runtime"

	"tongs/internal/kernel/stub/code"
)

func main() {
	machine := map[string]uint16{"amd64": code.MachineAMD64, "arm64": code.MachineARM64}[runtime.GOARCH]
	if _, err := os.Stdout.Write(code.Image(machine, code.Bytes())); err != nil {
		os.Exit(1)
	}
}
