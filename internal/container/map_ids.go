package container

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/hook"
	"tongs/internal/kernel"
)

// mapTimeout bounds newuidmap(1) and newgidmap(1), which may ask a directory
// service.
const mapTimeout = 30 // seconds

// mapIDs has a program with privileges map the ids that a file of the host's
// (subuid(5), subgid(5)) gives to an ordinary user.
func mapIDs(field, program string, pid kernel.Handle, list []specs.LinuxIDMapping) error {
	path, err := lookPath(program)
	if err != nil {
		return fmt.Errorf("%s: cannot map other ids than one's own: %w", field, err)
	}
	args := []string{program, strconv.Itoa(pid.Count(1 << 31))}
	for _, m := range list {
		for _, n := range []uint32{m.ContainerID, m.HostID, m.Size} {
			args = append(args, strconv.FormatUint(uint64(n), 10))
		}
	}
	timeout := mapTimeout
	return hook.Run(field, &specs.Hook{Path: path, Args: args, Timeout: &timeout}, "/", nil)
}

// lookPath finds a program in PATH. Package os/exec would cost every command
// some start-up time.
func lookPath(program string) (string, error) {
	for dir := range strings.SplitSeq(os.Getenv("PATH"), ":") {
		path := dir + "/" + program
		if strings.HasPrefix(path, "/") && unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not in PATH (Debian: package uidmap)", program)
}
