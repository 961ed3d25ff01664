// Package bundle reads a bundle's config.json strictly, keeps its bytes, and
// checks the shape of what it says. Every error and warning begins with the
// path of the config field it is about; decoding errors add line and column.
// The same decoder serves the process of `exec -p` and the resources of
// `update -r`, so untrusted JSON meets one parser only.
//
// It deliberately does not:
//   - look at the host: whether a path exists, a kernel feature is there or an
//     id can be mapped is for the set-up steps to find out;
//   - interpret mount options, cgroup values or seccomp rules beyond their form;
//   - change what it read: defaults are filled in where they are used;
//   - use encoding/json at run time: decoding by reflection costs about a
//     millisecond in each process and matches keys without regard to case.
package bundle

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

//go:generate go run ./gen -o decode_gen.go

// configName is the name of the configuration in a bundle (runtime-spec 1.3,
// bundle § Filesystem Bundle).
const configName = "config.json"

// Bundle is one loaded config.json.
type Bundle struct {
	Dir      string      // absolute path of the bundle, symlinks resolved
	Spec     *specs.Spec // what config.json says, unchecked: see Check
	Raw      []byte      // config.json's bytes, exactly those that were decoded
	Warnings []string    // one line each: unknown keys first, then those of Warnings
}

// Load reads dir/config.json. Dir is made absolute and its symlinks are
// resolved, because runc reports and resolves relative to the working
// directory that it has after chdir(2) into the bundle.
//
// Load decodes but does not Check: a caller that only needs a part (exec reads
// the process of a container that runs already) is not stopped by the rest.
//
// Errors: no such bundle, not a directory, and for config.json: missing, not a
// regular file, empty, above 16 MiB, or not decodable.
func Load(dir string) (*Bundle, error) {
	fd, abs, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	raw, err := readConfig(fd, abs+"/"+configName)
	if err != nil {
		return nil, err
	}
	spec, warnings, err := Decode(raw)
	if err != nil {
		return nil, err
	}
	return &Bundle{
		Dir:      abs,
		Spec:     spec,
		Raw:      raw,
		Warnings: append(warnings, Warnings(spec)...),
	}, nil
}

// openDir opens the bundle once; the kernel says where that is. Files are
// opened by plain system calls here, since package os would start the poller
// of the Go runtime, which costs every command some 0.1 ms.
func openDir(dir string) (fd int, abs string, err error) {
	if dir == "" {
		return -1, "", errors.New("cannot open bundle: the path is empty")
	}
	if strings.ContainsRune(dir, 0) {
		return -1, "", fmt.Errorf("cannot open bundle %q: the path has a NUL byte", dir)
	}
	fd, err = retry(func() (int, error) { return unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	switch err {
	case nil:
	case unix.ENOENT:
		return -1, "", fmt.Errorf("cannot open bundle %q: no such directory", dir)
	case unix.ENOTDIR:
		return -1, "", fmt.Errorf("cannot open bundle %q: not a directory", dir)
	default:
		return -1, "", fmt.Errorf("cannot open bundle %q: %s", dir, err.Error())
	}
	path := make([]byte, unix.PathMax)
	n, err := unix.Readlink("/proc/self/fd/"+strconv.Itoa(fd), path)
	if err != nil || path[0] != '/' {
		unix.Close(fd)
		return -1, "", fmt.Errorf("cannot open bundle %q: /proc does not tell where it is", dir)
	}
	return fd, string(path[:n]), nil
}

// retry repeats an operation that a signal interrupts.
func retry(f func() (int, error)) (n int, err error) {
	for {
		if n, err = f(); err != unix.EINTR {
			return n, err
		}
	}
}

// readConfig reads config.json of the bundle that dir is open on. It opens
// with O_NONBLOCK, so that a FIFO without a writer cannot hold the runtime,
// and judges the open file, not the name, so that the file cannot be changed
// for another in between. Symlinks are followed: engines link to a
// configuration kept elsewhere. path is for messages.
func readConfig(dir int, path string) ([]byte, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(dir, configName, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	})
	switch err {
	case nil:
	case unix.ENOENT:
		return nil, fmt.Errorf("cannot read %q: no such file; is this a bundle?", path)
	case unix.ENXIO: // a socket cannot be opened
		return nil, fmt.Errorf("cannot read %q: not a regular file", path)
	default:
		return nil, fmt.Errorf("cannot read %q: %s", path, err.Error())
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("cannot read %q: %s", path, err.Error())
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("cannot read %q: not a regular file", path)
	}
	if st.Size > maxSize {
		return nil, fmt.Errorf("cannot read %q: %d bytes, more than the limit of %d", path, st.Size, maxSize)
	}
	raw, err := readAll(fd, int(st.Size))
	if err != nil {
		return nil, fmt.Errorf("cannot read %q: %s", path, err.Error())
	}
	if len(raw) > maxSize {
		return nil, fmt.Errorf("cannot read %q: more than the limit of %d bytes", path, maxSize)
	}
	return raw, nil
}

// readAll reads a file to its end, but no more than one byte above maxSize.
// The size only saves copies: a file may grow between fstat(2) and here.
func readAll(fd, size int) ([]byte, error) {
	buf := make([]byte, 0, size+1) // one more, so that the last read meets the end
	for len(buf) <= maxSize {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := retry(func() (int, error) { return unix.Read(fd, buf[len(buf):cap(buf)]) })
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		buf = buf[:len(buf)+n]
	}
	return buf, nil
}
