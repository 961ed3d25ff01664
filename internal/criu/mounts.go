package criu

import (
	"bytes"
	"io"
	"strings"
)

// maxMounts is more than an image of mounts has.
const maxMounts = 64 << 20

// HasMount reports whether there is a mount in the images that is called so, or is
// on that path. (mountpoints-N.img is a message for each mount, with these as
// strings behind their lengths.)
func (d *Directory) HasMount(name string) (bool, error) {
	names, err := d.names()
	if err != nil {
		return false, err
	}
	text := append([]byte{byte(len(name))}, name...)
	for _, file := range names {
		if !strings.HasPrefix(file, "mountpoints-") || !strings.HasSuffix(file, ".img") {
			continue
		}
		f, err := d.file(file)
		if err != nil {
			return false, err
		}
		data, err := io.ReadAll(io.LimitReader(f, maxMounts))
		f.Close()
		if err != nil || bytes.Contains(data, text) {
			return err == nil, err
		}
	}
	return false, nil
}
