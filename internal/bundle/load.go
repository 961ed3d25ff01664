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
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
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
	abs, err := resolveDir(dir)
	if err != nil {
		return nil, err
	}
	raw, err := readConfig(filepath.Join(abs, configName))
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

func resolveDir(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("cannot open bundle: the path is empty")
	}
	abs, err := filepath.Abs(dir)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("cannot open bundle %q: no such directory", dir)
	}
	if errors.Is(err, syscall.ENOTDIR) {
		return "", fmt.Errorf("cannot open bundle %q: not a directory", dir)
	}
	if err != nil {
		return "", fmt.Errorf("cannot open bundle %q: %s", dir, reason(err))
	}
	info, err := os.Stat(abs)
	if err != nil {
		return "", fmt.Errorf("cannot open bundle %q: %s", dir, reason(err))
	}
	if !info.IsDir() {
		return "", fmt.Errorf("cannot open bundle %q: not a directory", dir)
	}
	return abs, nil
}

// readConfig reads the file at path. It opens with O_NONBLOCK, so that a FIFO
// without a writer cannot hold the runtime, and judges the open file, not the
// name, so that the file cannot be changed for another in between. Symlinks
// are followed: engines link to a configuration kept elsewhere.
func readConfig(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("cannot read %q: no such file; is this a bundle?", path)
	case errors.Is(err, syscall.ENXIO): // a socket cannot be opened
		return nil, fmt.Errorf("cannot read %q: not a regular file", path)
	case err != nil:
		return nil, fmt.Errorf("cannot read %q: %s", path, reason(err))
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot read %q: %s", path, reason(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("cannot read %q: not a regular file", path)
	}
	if info.Size() > maxSize {
		return nil, fmt.Errorf("cannot read %q: %d bytes, more than the limit of %d", path, info.Size(), maxSize)
	}
	raw, err := readAll(file, int(info.Size()))
	if err != nil {
		return nil, fmt.Errorf("cannot read %q: %s", path, reason(err))
	}
	if len(raw) > maxSize {
		return nil, fmt.Errorf("cannot read %q: more than the limit of %d bytes", path, maxSize)
	}
	return raw, nil
}

// readAll reads file to its end, but no more than one byte above maxSize. The
// size only saves copies: a file may grow between fstat(2) and here.
func readAll(file *os.File, size int) ([]byte, error) {
	buf := make([]byte, 0, size+1) // one more, so that the last read meets the end
	for len(buf) <= maxSize {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := file.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return buf, nil
}

// reason is the bare cause of a file error; its path is in our text already.
func reason(err error) string {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err.Error()
	}
	return err.Error()
}
