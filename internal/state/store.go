package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const dirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// A Store is the directory that holds one directory per container.
type Store struct {
	path string
	fd   int // -1: does not exist yet
}

// DefaultRoot is the store of a caller who gives none: /run/tongs, or
// $XDG_RUNTIME_DIR/tongs for a user who is not root. Root of a user namespace
// that was entered by an ordinary user (USER is not root) counts as that user.
func DefaultRoot() string {
	const root = "/run/tongs"
	xdg := os.Getenv("XDG_RUNTIME_DIR")
	if xdg == "" {
		return root
	}
	if os.Geteuid() == 0 {
		user, set := os.LookupEnv("USER")
		if set && user == "root" || !inUserNamespace() {
			return root
		}
	}
	return filepath.Join(xdg, "tongs")
}

// inUserNamespace reports whether uids are mapped. The initial namespace has
// the one line "0 0 4294967295" (user_namespaces(7)).
func inUserNamespace() bool {
	data, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	f := strings.Fields(string(data))
	return !(len(f) == 3 && f[0] == "0" && f[1] == "0" && f[2] == "4294967295")
}

// Open opens the store at root. A root that is not there is made by the first
// Create, so that commands that only read leave no trace. A root that somebody
// else could write to is refused: state.json names processes to be killed.
func Open(root string) (*Store, error) {
	path, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("cannot use --root %q: %v", root, err)
	}
	if path == "/" {
		return nil, errors.New(`cannot use --root "/": give the store a directory of its own`)
	}
	s := &Store{path: path, fd: -1}
	if err := s.open(); err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, err
	}
	return s, nil
}

func (s *Store) open() error {
	// Symlinks in the path are the caller's own affair (/var/run is one).
	fd, err := retry(func() (int, error) {
		return unix.Open(s.path, dirFlags&^unix.O_NOFOLLOW, 0)
	})
	if err != nil {
		return fmt.Errorf("cannot open --root %q: %w%s", s.path, err, rootHint())
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return fmt.Errorf("cannot use --root %q: %v", s.path, err)
	}
	if err := private(&st); err != nil {
		unix.Close(fd)
		return fmt.Errorf("cannot use --root %q: %v", s.path, err)
	}
	s.fd = fd
	return nil
}

// private refuses a directory into which another user can put things.
func private(st *unix.Stat_t) error {
	if euid := os.Geteuid(); int(st.Uid) != euid {
		return fmt.Errorf("the directory belongs to uid %d, not to uid %d", st.Uid, euid)
	}
	if st.Mode&0o022 != 0 {
		return fmt.Errorf("other users can write to the directory (mode %#o)", st.Mode&0o7777)
	}
	return nil
}

// rootHint tells an ordinary user why the directory is root's.
func rootHint() string {
	if os.Geteuid() != 0 && os.Getenv("XDG_RUNTIME_DIR") == "" {
		return " (for an ordinary user it lies below XDG_RUNTIME_DIR, which is not set)"
	}
	return ""
}

// makeRoot makes the store's directory 0700.
func (s *Store) makeRoot() error {
	if err := os.MkdirAll(s.path, 0o700); err != nil {
		return fmt.Errorf("cannot make --root: %v%s", err, rootHint())
	}
	// The sticky bit below XDG_RUNTIME_DIR keeps cleaners of old files away
	// (XDG Base Directory Specification 0.8); runc sets it, too.
	if xdg := os.Getenv("XDG_RUNTIME_DIR"); xdg != "" && s.path == filepath.Join(xdg, "tongs") {
		if err := os.Chmod(s.path, 0o700|os.ModeSticky); err != nil {
			return fmt.Errorf("cannot make --root sticky: %v", err)
		}
	}
	return s.open()
}

// Path is the absolute path of the store, for messages and annotations.
func (s *Store) Path() string { return s.path }

// Close releases the handle.
func (s *Store) Close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
}

// Create takes the name id for a new container. The directory comes back
// locked and empty; the caller must Write a state before the first side effect
// and before it unlocks. ErrExist: the name is taken.
//
// The name belongs to who holds the lock on a directory without state.json.
// Such a directory that nobody has locked is what a create or delete left that
// was killed: nothing can belong to it (the state is written first and removed
// last), so it is taken over.
func (s *Store) Create(id string) (*Dir, error) {
	if err := ValidID(id); err != nil {
		return nil, err
	}
	if s.fd < 0 {
		if err := s.makeRoot(); err != nil {
			return nil, err
		}
	}
	// A delete may remove the directory between mkdir and lock; then the name
	// is free again. Nobody can win that race for ever.
	for range 100 {
		d, err := s.tryCreate(id)
		if err != errUnlinked {
			return d, err
		}
	}
	return nil, fmt.Errorf("cannot create state directory %q: it is removed again and again", id)
}

// errUnlinked: the directory was removed between opening and locking it.
var errUnlinked = errors.New("state directory was removed meanwhile")

func (s *Store) tryCreate(id string) (*Dir, error) {
	// 0711 as runc: the container's root, who may be another user of the
	// host's, must reach the FIFO but not list the directory.
	errMade := unix.Mkdirat(s.fd, id, 0o711)
	if errMade != nil && errMade != unix.EEXIST {
		return nil, fmt.Errorf("cannot make state directory %q: %v", filepath.Join(s.path, id), errMade)
	}
	d, err := s.openDir(id)
	if err == ErrNotExist {
		return nil, errUnlinked
	}
	if err != nil {
		return nil, err
	}
	if err := d.tryLock(); err != nil {
		d.Close()
		if err == unix.EWOULDBLOCK {
			return nil, ErrExist
		}
		return nil, err
	}
	d.fresh = errMade == nil
	if err := d.adopt(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Lookup opens the directory of container id, unlocked. ErrNotExist: there is
// none. The directory may be without a readable state; Load tells.
func (s *Store) Lookup(id string) (*Dir, error) {
	if err := ValidID(id); err != nil {
		return nil, err
	}
	if s.fd < 0 {
		return nil, ErrNotExist
	}
	return s.openDir(id)
}

func (s *Store) openDir(id string) (*Dir, error) {
	fd, err := retry(func() (int, error) { return unix.Openat(s.fd, id, dirFlags, 0) })
	if err == unix.ENOENT || err == unix.ENAMETOOLONG {
		return nil, ErrNotExist
	}
	path := filepath.Join(s.path, id)
	if err != nil {
		return nil, fmt.Errorf("cannot open state directory %q: %v", path, err)
	}
	d := &Dir{id: id, path: path, parent: s.fd, fd: fd}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil {
		err = private(&st)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot use state directory %q: %v", path, err)
	}
	d.dev, d.ino, d.uid, d.mode = st.Dev, st.Ino, st.Uid, st.Mode&0o7777
	return d, nil
}

// List gives the names of all directories that can be containers, sorted.
func (s *Store) List() ([]string, error) {
	if s.fd < 0 {
		return nil, nil
	}
	// ReadDir by a path would look the root up again.
	entries, err := os.ReadDir(fmt.Sprintf("/proc/self/fd/%d", s.fd))
	if err != nil {
		return nil, fmt.Errorf("cannot list --root %q: %v", s.path, err)
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && ValidID(e.Name()) == nil {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// retry repeats a call that a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}
