package state

import "errors"

// Phrases of runc that callers show or match.
const (
	// containerd, cri-o and podman look for "does not exist" after a failed
	// kill, delete or state.
	msgNotExist = "container does not exist"
	// docker shows it; podman and buildkit look for "already exists".
	msgExist     = "container with given ID already exists"
	msgInvalidID = "invalid container ID format"
	msgEmptyID   = "container id cannot be empty"
)

// ErrNotExist: there is no container of that name, or only the leftovers of one.
var ErrNotExist = errors.New(msgNotExist)

// ErrExist: Create was given a name that is taken.
var ErrExist = errors.New(msgExist)

// maxIDLen is tongs' own limit. File systems stop at 255 bytes anyway; the
// bound keeps error texts short.
const maxIDLen = 1024

// ValidID refuses names that are not safe as one path component: allowed are
// letters, digits and "_+.-", but neither "." nor "..".
func ValidID(id string) error {
	if id == "" {
		return errors.New(msgEmptyID)
	}
	if len(id) > maxIDLen || id == "." || id == ".." {
		return errors.New(msgInvalidID)
	}
	for i := range len(id) {
		c := id[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '_', c == '+', c == '.', c == '-':
		default:
			return errors.New(msgInvalidID)
		}
	}
	return nil
}
