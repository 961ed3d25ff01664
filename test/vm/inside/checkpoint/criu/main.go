// Command criu stands for CRIUs that cannot be had here: what it is, the variable
// FAKE_CRIU says. It answers one request, for the version.
package main

import (
	"os"
	"strconv"
	"syscall"
)

func main() {
	line, err := strconv.Atoi(os.Args[2]) // criu swrk N
	if err != nil {
		os.Exit(1)
	}
	buf := make([]byte, 1<<16)
	read := func() []byte {
		n, err := syscall.Read(line, buf)
		if n <= 0 || err != nil {
			os.Exit(1)
		}
		return buf[:n]
	}
	// criu_resp: type VERSION, success, version {3, minor}.
	answer := func(minor byte) {
		if _, err := syscall.Write(line, []byte{8, 10, 16, 1, 0x52, 4, 8, 3, 16, minor}); err != nil {
			os.Exit(1)
		}
	}
	read()
	switch os.Getenv("FAKE_CRIU") {
	case "old":
		answer(10)
		read()
	case "hangs": // until nobody waits for it
		answer(17)
		request := read()
		file := os.Getenv("FAKE_CRIU_READY")
		if err := os.WriteFile(file+".new", request, 0o600); err != nil || os.Rename(file+".new", file) != nil {
			os.Exit(1)
		}
		read()
	case "killed": // with the container's processes frozen
		answer(17)
		read()
		if file := os.Getenv("FAKE_CRIU_FREEZES"); file != "" {
			if err := os.WriteFile(file, []byte(os.Getenv("FAKE_CRIU_WRITES")), 0); err != nil {
				os.Exit(1)
			}
		}
		syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	}
}
