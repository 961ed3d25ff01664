package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	stateName = "state.json"
	tempName  = ".state.json.tmp"
	fifoName  = "exec.fifo"
	copyName  = "config.json"

	// maxSize bounds what Load reads. Annotations may be long, not that long.
	maxSize = 16 << 20

	// lockTimeout bounds the wait for another command on the same container.
	// A create may run hooks, so it is generous.
	lockTimeout = 30 * time.Second
)

// Dir is the state directory of one container. Its methods act on the opened
// directory: if that is removed and the name used anew, they do not notice the
// new one. It is not for use by several goroutines.
type Dir struct {
	id     string
	path   string
	parent int // the store's descriptor, borrowed
	fd     int
	dev    uint64
	ino    uint64
	uid    uint32
	mode   uint32
	locked bool
	fresh  bool // we have made it, and put nothing but state.json into it
}

// ID is the container's name.
func (d *Dir) ID() string { return d.id }

// Path is the directory's absolute path, for messages and for what other
// programs are told. Files in it are reached through FD.
func (d *Dir) Path() string { return d.path }

// FD is the directory's descriptor, close-on-exec. It stays d's.
func (d *Dir) FD() int { return d.fd }

// UID is the owner of the directory, who is the one who created the container.
func (d *Dir) UID() int { return int(d.uid) }

// Lock excludes every other command that changes the container. It waits for
// some time. ErrNotExist: the container was deleted meanwhile.
func (d *Dir) Lock() error {
	pause := time.Millisecond
	for end := time.Now().Add(lockTimeout); ; {
		err := d.tryLock()
		if err == errUnlinked {
			return ErrNotExist
		}
		if err != unix.EWOULDBLOCK {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("cannot lock container %q: another command has held it for %v", d.id, lockTimeout)
		}
		time.Sleep(pause)
		pause = min(2*pause, 20*time.Millisecond)
	}
}

// tryLock takes the lock if it is free, else gives EWOULDBLOCK. The check
// afterwards closes the race with a delete that held the lock before us: we may
// have locked a directory that is gone, while the name has gone to another
// container.
func (d *Dir) tryLock() error {
	if d.locked {
		return nil
	}
	err := unix.Flock(d.fd, unix.LOCK_EX|unix.LOCK_NB)
	for err == unix.EINTR {
		err = unix.Flock(d.fd, unix.LOCK_EX|unix.LOCK_NB)
	}
	if err == unix.EWOULDBLOCK {
		return err
	}
	if err != nil {
		return fmt.Errorf("cannot lock container %q: %v", d.id, err)
	}
	d.locked = true
	var st unix.Stat_t
	err = unix.Fstatat(d.parent, d.id, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT || err == nil && (st.Dev != d.dev || st.Ino != d.ino) {
		d.Unlock()
		return errUnlinked
	}
	if err != nil {
		d.Unlock()
		return fmt.Errorf("cannot look state directory %q up again: %v", d.path, err)
	}
	return nil
}

// Unlock releases the lock. It is explicit (LOCK_UN) and not left to close,
// since a child between fork and exec shares the open file and would keep it.
func (d *Dir) Unlock() {
	if d.locked {
		unix.Flock(d.fd, unix.LOCK_UN)
		d.locked = false
	}
}

// Close unlocks and releases the handle.
func (d *Dir) Close() {
	if d.fd >= 0 {
		d.Unlock()
		unix.Close(d.fd)
		d.fd = -1
	}
}

// adopt makes a locked directory ours, or says ErrExist if it has a state.
func (d *Dir) adopt() error {
	has, err := d.has(stateName)
	if err == nil && has {
		return ErrExist
	}
	if err != nil {
		return err
	}
	for _, name := range d.others() {
		if err := d.unlink(name); err != nil {
			return err
		}
	}
	if d.mode != 0o711 { // the umask, which must not decide here
		if err := unix.Fchmod(d.fd, 0o711); err != nil {
			return fmt.Errorf("cannot set mode of %q: %v", d.path, err)
		}
	}
	return nil
}

// Load reads state.json; no lock is needed, since it is replaced as a whole.
// ErrNotExist: the directory has none.
func (d *Dir) Load() (*State, error) {
	data, err := d.read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %q: %v", d.path+"/"+stateName, err)
	}
	st, err := Decode(data)
	if err != nil {
		return nil, fmt.Errorf("cannot use %q: %v", d.path+"/"+stateName, err)
	}
	if st.ID != d.id {
		return nil, fmt.Errorf("cannot use %q: it belongs to container %q", d.path+"/"+stateName, st.ID)
	}
	return st, nil
}

func (d *Dir) read() ([]byte, error) {
	// O_NONBLOCK: something hostile at the name must not hang us.
	fd, err := retry(func() (int, error) {
		return unix.Openat(d.fd, stateName, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.New("not a regular file")
	}
	if st.Size > maxSize {
		return nil, fmt.Errorf("too large: %d bytes", st.Size)
	}
	data := make([]byte, st.Size)
	for n := 0; n < len(data); {
		m, err := retry(func() (int, error) { return unix.Read(fd, data[n:]) })
		if err != nil {
			return nil, err
		}
		if m == 0 {
			return data[:n], nil
		}
		n += m
	}
	return data, nil
}

// Write replaces state.json as a whole: readers see the old state or the new
// one. The directory must be locked.
func (d *Dir) Write(st *State) error {
	if !d.locked {
		return fmt.Errorf("cannot write state of container %q: it is not locked", d.id)
	}
	st.ID = d.id
	st.Tongs.Format = Format
	if err := st.check(); err != nil {
		return fmt.Errorf("cannot write state of container %q: %v", d.id, err)
	}
	if err := d.replace(stateName, st.Encode()); err != nil {
		return fmt.Errorf("cannot write %q: %v", d.path+"/"+stateName, err)
	}
	return nil
}

// WriteConfig keeps a copy of the container's config.json, for commands that need
// more of it than the state says when the bundle may be gone or changed.
func (d *Dir) WriteConfig(data []byte) error {
	d.fresh = false
	if err := d.replace(copyName, data); err != nil {
		return fmt.Errorf("cannot write %q: %v", d.path+"/"+copyName, err)
	}
	return nil
}

// HasConfig reports whether there is such a copy. The directory then is like a
// bundle without a root file system.
func (d *Dir) HasConfig() (bool, error) { return d.has(copyName) }

func (d *Dir) has(name string) (bool, error) {
	var st unix.Stat_t
	err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot look for %q: %v", d.path+"/"+name, err)
	}
	return true, nil
}

func (d *Dir) replace(name string, data []byte) error {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	open := func() (int, error) { return unix.Openat(d.fd, tempName, flags, 0o600) }
	fd, err := retry(open)
	if err == unix.EEXIST { // left by a writer that was killed: we hold the lock
		if err := d.unlink(tempName); err != nil {
			return err
		}
		fd, err = retry(open)
	}
	if err != nil {
		return err
	}
	for len(data) > 0 && err == nil {
		var n int
		n, err = retry(func() (int, error) { return unix.Write(fd, data) })
		data = data[max(n, 0):]
	}
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	if err == nil {
		err = d.exchange(name)
	}
	if err != nil {
		unix.Unlinkat(d.fd, tempName, 0)
	}
	return err
}

// exchange gives the temporary file its name. rename(2) over a file makes ext4
// write the new one to the disk first, which takes longer than all the rest and
// is for nothing: the state of another boot counts for stopped. So the two are
// exchanged, and the old one is removed.
func (d *Dir) exchange(name string) error {
	if err := unix.Renameat2(d.fd, tempName, d.fd, name, unix.RENAME_EXCHANGE); err == nil {
		return unix.Unlinkat(d.fd, tempName, 0)
	}
	return unix.Renameat(d.fd, tempName, d.fd, name) // there is none, or the file system cannot
}

// Remove deletes the directory, state.json last of the known files. The
// directory must be locked. A second Remove is no error. If it is killed on the
// way, another delete or a create of the same name goes on.
//
// Unknown content goes as well, but only if there was a state.json: a directory
// without one may be anything, if --root is not what the caller thinks.
func (d *Dir) Remove() error {
	if !d.locked {
		return fmt.Errorf("cannot remove state of container %q: it is not locked", d.id)
	}
	for _, name := range d.others() {
		if err := d.unlink(name); err != nil {
			return err
		}
	}
	errState := unix.Unlinkat(d.fd, stateName, 0)
	if errState != nil && errState != unix.ENOENT {
		return fmt.Errorf("cannot remove %q: %v", d.path+"/"+stateName, errState)
	}
	err := unix.Unlinkat(d.parent, d.id, unix.AT_REMOVEDIR)
	if err == unix.ENOTEMPTY && errState == nil {
		err = d.removeRest()
	}
	if err != nil && err != unix.ENOENT {
		return fmt.Errorf("cannot remove state directory %q: %v", d.path, err)
	}
	return nil
}

// others are the known files besides state.json that may be there.
func (d *Dir) others() []string {
	if d.fresh {
		return nil
	}
	return []string{fifoName, copyName, tempName}
}

// removeRest removes a directory that holds more than the known files.
// os.Root follows no symlinks out of the store.
func (d *Dir) removeRest() error {
	root, err := os.OpenRoot("/proc/self/fd/" + strconv.Itoa(d.parent))
	if err != nil {
		return err
	}
	defer root.Close()
	return root.RemoveAll(d.id)
}

func (d *Dir) unlink(name string) error {
	if err := unix.Unlinkat(d.fd, name, 0); err != nil && err != unix.ENOENT {
		return fmt.Errorf("cannot remove %q: %v", d.path+"/"+name, err)
	}
	return nil
}
