package criu

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A Directory holds CRIU's images, or its log and other files of its work. It is
// opened once; CRIU gets the descriptor.
type Directory struct {
	fd   int
	path string
	work bool // other things may be in it as well
}

// OpenImages opens a directory of images, in which only the caller can have put
// anything: CRIU, which runs with all rights, opens files in it by name, follows
// symbolic links, and writes to what it finds. The last part of the path is no
// link; the ones before are the caller's own affair.
func OpenImages(dir string) (*Directory, error) {
	d := &Directory{path: dir, fd: -1}
	return d, d.open(unix.AT_FDCWD, dir, 0)
}

// MakeImages is OpenImages for a directory that may be missing.
func MakeImages(dir string) (*Directory, error) {
	d := &Directory{path: dir, fd: -1}
	return d, d.make()
}

// MakeWork is MakeImages for a directory in which CRIU works: callers keep other
// things there as well. The path may be a link of the caller's own: containerd's shim
// gives one, in the bundle.
func MakeWork(dir string) (*Directory, error) {
	d := &Directory{path: dir, fd: -1, work: true}
	return d, d.make()
}

func (d *Directory) make() error {
	if err := os.MkdirAll(d.path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) { // of a link that leads nowhere
		return fmt.Errorf("cannot make: %w", err)
	}
	name, err := d.target()
	if err != nil {
		return fmt.Errorf("cannot use %q: %w", d.path, err)
	}
	return d.open(unix.AT_FDCWD, name, 0)
}

// target is the path, or for work that of the link there, if the caller has made it.
func (d *Directory) target() (string, error) {
	if !d.work {
		return d.path, nil
	}
	var st unix.Stat_t
	fd, err := unix.Open(d.path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	if err := unix.Fstat(fd, &st); err != nil {
		return "", err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK || int(st.Uid) != os.Geteuid() {
		return d.path, nil // another's link is refused
	}
	buffer := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buffer)
	if err != nil {
		return "", err
	}
	to := string(buffer[:n])
	if !path.IsAbs(to) {
		to = path.Dir(d.path) + "/" + to
	}
	return to, nil
}

func (d *Directory) open(at int, name string, resolve uint64) error {
	d.fd = -1
	how := &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: resolve}
	fd, err := unix.Openat2(at, name, how)
	for err == unix.EINTR || err == unix.EAGAIN {
		fd, err = unix.Openat2(at, name, how)
	}
	if err == unix.ELOOP || err == unix.ENOTDIR {
		return fmt.Errorf("cannot use %q: it is not a directory, or a symbolic link", d.path)
	}
	if err != nil {
		return fmt.Errorf("cannot open %q: %w", d.path, err)
	}
	d.fd = fd
	if err := d.check(); err != nil {
		d.Close()
		return fmt.Errorf("cannot use %q: %w", d.path, err)
	}
	return nil
}

// FD is the descriptor. It stays d's.
func (d *Directory) FD() int { return d.fd }

// Path is for messages.
func (d *Directory) Path() string { return d.path }

// Close releases the handle.
func (d *Directory) Close() {
	if d != nil && d.fd >= 0 {
		unix.Close(d.fd)
		d.fd = -1
	}
}

// parentLink is how CRIU finds the images that others build on.
const parentLink = "parent"

// check looks at the directory and at what is in it.
func (d *Directory) check() error {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return err
	}
	switch {
	case int(st.Uid) != os.Geteuid():
		return fmt.Errorf("it belongs to uid %d, not to uid %d", st.Uid, os.Geteuid())
	case st.Mode&0o002 != 0 || st.Mode&0o020 != 0 && int(st.Gid) != os.Getegid():
		return fmt.Errorf("other users can write to it (mode %#o)", st.Mode&0o7777)
	}
	names, err := d.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := d.checkFile(name); err != nil {
			return err
		}
	}
	return nil
}

func (d *Directory) names() ([]string, error) {
	list, err := os.ReadDir("/proc/self/fd/" + strconv.Itoa(d.fd))
	if err != nil {
		return nil, fmt.Errorf("cannot read the directory: %w", err)
	}
	names := make([]string, len(list))
	for i, e := range list {
		names[i] = e.Name()
	}
	return names, nil
}

// checkFile refuses what CRIU would be led astray by. Directories and sockets in
// there are nothing to it.
func (d *Directory) checkFile(name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("cannot look at %q: %w", name, err)
	}
	switch kind := st.Mode & unix.S_IFMT; {
	case d.work && !written(name):
		return nil
	case kind == unix.S_IFLNK && name == parentLink:
		return nil // see CheckParents
	case kind == unix.S_IFLNK:
		return fmt.Errorf("%q in it is a symbolic link", name)
	case kind == unix.S_IFREG && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%q in it belongs to uid %d, not to uid %d", name, st.Uid, os.Geteuid())
	case kind != unix.S_IFREG && kind != unix.S_IFDIR && kind != unix.S_IFSOCK:
		return fmt.Errorf("%q in it is not a file", name)
	}
	return nil
}

// written reports whether CRIU writes a file of that name where it works.
func written(name string) bool {
	return strings.HasSuffix(name, ".log") || strings.HasPrefix(name, "stats-")
}

// maxParents bounds a chain of images, which may be a ring.
const maxParents = 1000

// CheckParents follows the links to the images that these build on, each of
// which must lead to a directory as good as this one.
func (d *Directory) CheckParents() error { return d.chain(func(*Directory) error { return nil }) }

// CheckComplete is CheckParents for images that are to be restored.
func (d *Directory) CheckComplete() error { return d.chain((*Directory).checkPages) }

func (d *Directory) chain(check func(*Directory) error) error {
	at := d
	defer func() {
		if at != d {
			at.Close()
		}
	}()
	for range maxParents {
		if err := check(at); err != nil {
			return err
		}
		next, err := at.next()
		if err != nil || next == nil {
			return err
		}
		if at != d {
			at.Close()
		}
		at = next
	}
	return fmt.Errorf("%q: there are more than %d parents", d.path, maxParents)
}

// Parents opens the directories of images that these build on, the next first.
// They are the caller's to close, whatever the error.
func (d *Directory) Parents() (list []*Directory, err error) {
	for at := d; len(list) <= maxParents; at = list[len(list)-1] {
		next, err := at.next()
		if err != nil || next == nil {
			return list, err
		}
		list = append(list, next)
	}
	return list, fmt.Errorf("%q: there are more than %d parents", d.path, maxParents)
}

// next opens the directory that the images build on; nil if they build on none.
func (d *Directory) next() (*Directory, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(d.fd, parentLink, buf)
	if err == unix.ENOENT || err == unix.EINVAL { // none, or a file of that name
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the link %q in %q: %w", parentLink, d.path, err)
	}
	return d.openParent(string(buf[:n]))
}

// OpenParent checks the directory of --parent-path, which counts from this one.
func (d *Directory) OpenParent(rel string) error {
	p, err := d.openParent(rel)
	if err != nil {
		return err
	}
	defer p.Close()
	return p.CheckParents()
}

func (d *Directory) openParent(rel string) (*Directory, error) {
	if rel == "" || path.IsAbs(rel) {
		return nil, fmt.Errorf("%q: the parent %q is not a relative path", d.path, rel)
	}
	p := &Directory{path: filepath.Join(d.path, rel), fd: -1}
	return p, p.open(d.fd, rel, unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_MAGICLINKS)
}

// Read reads a small file.
func (d *Directory) Read(name string) ([]byte, error) {
	const limit = 64 << 10
	f, err := d.file(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && len(data) > limit {
		err = errors.New("it is too large")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %q: %w", d.path+"/"+name, err)
	}
	return data, nil
}

func (d *Directory) file(name string) (*os.File, error) {
	fd, err := unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open %q: %w", d.path+"/"+name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("cannot read %q: it is not a regular file", d.path+"/"+name)
	}
	return f, nil
}

// Write makes or replaces a file.
func (d *Directory) Write(name string, data []byte) error {
	fd, err := unix.Openat(d.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("cannot make %q: %w", d.path+"/"+name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("cannot write %q: %w", d.path+"/"+name, err)
	}
	return nil
}

// quoted is how many lines of a log an error has.
const quoted = 5

// Explain adds to CRIU's error what its log says: the last lines that it calls
// errors.
func (d *Directory) Explain(err error, log string) error {
	var f *FailedError
	text := d.quote(log)
	if text == "" && errors.As(err, &f) && f.Message != "" {
		text = "; it says: " + f.Message
	}
	return fmt.Errorf("%w%s", err, text)
}

// quote gives these lines, without their times.
func (d *Directory) quote(log string) string {
	f, err := d.file(log)
	if err != nil {
		return ""
	}
	defer f.Close()
	const tail = 256 << 10
	if st, err := f.Stat(); err == nil && st.Size() > tail {
		if _, err := f.Seek(-tail, io.SeekEnd); err != nil {
			return ""
		}
	}
	data, _ := io.ReadAll(io.LimitReader(f, tail)) // what there is
	var lines []string
	for line := range strings.Lines(string(data)) {
		_, line, _ = strings.Cut(line, ") ") // "(00.012345) "
		if line = strings.TrimSpace(line); strings.Contains(line, "Error (") {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return "; " + d.path + "/" + log + " ends with: " + strings.Join(lines[max(0, len(lines)-quoted):], "; ")
}
