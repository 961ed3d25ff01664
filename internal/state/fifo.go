package state

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// The start FIFO: the created container's process holds it open for reading
// and writing and waits for one byte. Its presence means "created", its absence
// "started".

// What the container's process tells of the hooks that it executes, and what
// these write.
const (
	HookReport = "hooks.report"
	HookOutput = "hooks.output"
)

// MakeHookFIFO makes one of them, for the process in which it is opened only.
func (d *Dir) MakeHookFIFO(name string) error {
	d.fresh = false
	if err := d.unlink(name); err != nil { // of a create that was killed
		return err
	}
	if err := unix.Mknodat(d.fd, name, unix.S_IFIFO|0o600, 0); err != nil {
		return fmt.Errorf("cannot make %q: %v", d.path+"/"+name, err)
	}
	return nil
}

// OpenHookFIFO opens one of them.
func (d *Dir) OpenHookFIFO(name string, flags int) (int, error) { return d.openFIFO(name, flags) }

// MakeFIFO makes exec.fifo and gives it to a user of the host's.
func (d *Dir) MakeFIFO(uid, gid int) error {
	path := d.path + "/" + fifoName
	d.fresh = false
	if err := unix.Mknodat(d.fd, fifoName, unix.S_IFIFO|0o622, 0); err != nil {
		return fmt.Errorf("cannot make %q: %v", path, err)
	}
	// The umask must not decide, and fchmodat has no AT_SYMLINK_NOFOLLOW before
	// kernel 6.6: nobody but us can write to the directory.
	if err := unix.Fchmodat(d.fd, fifoName, 0o622, 0); err != nil {
		return fmt.Errorf("cannot set mode of %q: %v", path, err)
	}
	if err := unix.Fchownat(d.fd, fifoName, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("cannot chown %q to %d:%d: %v", path, uid, gid, err)
	}
	return nil
}

// OpenFIFO opens exec.fifo with the given flags (O_RDWR for the container's
// process, O_WRONLY|O_NONBLOCK for start, where ENXIO says that nobody waits).
// The errno is wrapped. The descriptor is close-on-exec.
func (d *Dir) OpenFIFO(flags int) (int, error) { return d.openFIFO(fifoName, flags) }

func (d *Dir) openFIFO(name string, flags int) (int, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(d.fd, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return -1, fmt.Errorf("cannot open %q: %w", d.path+"/"+name, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		unix.Close(fd)
		return -1, fmt.Errorf("cannot use %q: not a FIFO", d.path+"/"+name)
	}
	return fd, nil
}

// HasFIFO reports whether exec.fifo exists, i.e. start has not been called.
func (d *Dir) HasFIFO() (bool, error) { return d.has(fifoName) }

// RemoveFIFO marks the container as started. A second call is no error.
func (d *Dir) RemoveFIFO() error { return d.unlink(fifoName) }
