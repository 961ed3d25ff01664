package state

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// checkpointName says that a checkpoint was made, as with runc.
const checkpointName = "checkpoint"

// MarkCheckpoint notes that there is a checkpoint of the container.
func (d *Dir) MarkCheckpoint() error {
	fd, err := unix.Openat(d.fd, checkpointName, unix.O_WRONLY|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("cannot make %q: %w", d.path+"/"+checkpointName, err)
	}
	return unix.Close(fd)
}

// Descriptors is the number of a process's standard streams.
const Descriptors = 3

// EncodeDescriptors gives the bytes of a checkpoint's descriptors.json: what the
// standard streams are, in runc's form.
func EncodeDescriptors(list []string) []byte {
	w := &writer{}
	full := make([]string, Descriptors)
	copy(full, list)
	w.strs(full)
	return w.buf
}

// DecodeDescriptors reads them.
func DecodeDescriptors(data []byte) ([]string, error) {
	r := &reader{data: data}
	list := r.strs()
	r.end()
	if r.err == nil && len(list) > Descriptors {
		r.err = errors.New("there are more than three")
	}
	if r.err != nil {
		return nil, fmt.Errorf("damaged: %w", r.err)
	}
	return list, nil
}
