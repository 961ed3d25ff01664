package setup

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/rootfs"
)

// openConsole allocates the process's terminal from the container's own
// devpts, lays it over /dev/console, makes it the standard streams and the
// controlling terminal, and hands the master to tongs (runtime-spec 1.3,
// config § Process; pty(7)). No terminal is ever opened by its name
// (CVE-2025-52565).
func openConsole(e *Env) error {
	if !e.Spec.Process.Terminal {
		return nil
	}
	const name = "process.terminal"
	b := e.B.For(name, "cannot open /dev/pts/ptmx of the container")
	master := b.Openat2(e.Root.Dir, "/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY, 0, kernel.InRootReal)
	st, fs := b.Stat(master), b.Fstatfs(master)
	b.Check(func() error {
		major, minor := st.Rdev()
		if fs.Type() != unix.DEVPTS_SUPER_MAGIC || st.Type() != unix.S_IFCHR || major != 5 || minor != 2 {
			return fmt.Errorf("%s: /dev/pts/ptmx of the container is not the master device of a devpts file system", name)
		}
		return nil
	})
	if err := e.Sync(); err != nil {
		return err
	}
	b = e.B.For(name, "cannot unlock the terminal")
	b.Ioctl(master, unix.TIOCSPTLCK, make([]byte, 4))
	b.For(name, "cannot open the terminal")
	peer := b.IoctlInt(master, unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if size := e.Spec.Process.ConsoleSize; size != nil && size.Height != 0 && size.Width != 0 {
		winsize := make([]byte, 8)
		binary.NativeEndian.PutUint16(winsize, uint16(size.Height))
		binary.NativeEndian.PutUint16(winsize[2:], uint16(size.Width))
		b.For("process.consoleSize", "cannot set the terminal's size")
		b.Ioctl(peer, unix.TIOCSWINSZ, winsize)
	}
	b.For(name, "cannot give the terminal to the user")
	b.Fchown(peer, e.Spec.Process.User.UID, ^uint32(0))
	b.For(name, "cannot send the terminal")
	b.SendFD(e.Line, master)
	if err := e.coverConsole(peer); err != nil {
		return err
	}
	b = e.B.For(name, "cannot use the terminal")
	for i := range 3 {
		b.Dup3(peer, i, 0)
	}
	b.Close(peer).Close(master)
	return nil
}

// controlTerminal makes the terminal that of the session, which the process
// must lead (ioctl_tty(2), TIOCSCTTY).
func controlTerminal(e *Env) error {
	if e.Spec.Process.Terminal {
		e.B.For("process.terminal", "cannot make the terminal the controlling one")
		e.B.IoctlInt(kernel.NewHandle(0, "stdin"), unix.TIOCSCTTY, 0)
	}
	return nil
}

// coverConsole lays the terminal over /dev/console, which is made if missing.
func (e *Env) coverConsole(peer kernel.Handle) error {
	if e.Joined != nil || !e.hasNamespace("mount") {
		return nil
	}
	const name = "process.terminal"
	if err := e.Sync(); err != nil {
		return err
	}
	dev, err := e.Root.Make(name, "/dev", true)
	if err != nil {
		return err
	}
	b := e.B.For(name, "cannot make /dev/console")
	b.Mknodat(dev.H, "console", unix.S_IFREG|0o600, 0)
	b.Allow(unix.EEXIST)
	at := &rootfs.Place{Path: "/dev/console"}
	at.H = b.Openat2(dev.H, "console", unix.O_PATH|unix.O_NOFOLLOW, 0, kernel.InRootReal)
	st := b.Stat(at.H)
	b.Check(func() error {
		if t := st.Type(); t == unix.S_IFLNK || t == unix.S_IFDIR {
			return fmt.Errorf("%s: /dev/console of the container is not a file", name)
		}
		return nil
	})
	b.For(name, "cannot copy the terminal's mount")
	m := b.OpenTree(peer, "", unix.OPEN_TREE_CLONE)
	e.Root.Attach(b, name, m, at)
	b.Close(m).Close(dev.H)
	return nil
}
