package setup

import (
	"errors"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/rootfs"
)

// clearUmask makes the modes of what is created exact.
func clearUmask(e *Env) error {
	e.B.For("", "cannot clear the umask")
	e.B.Umask(0)
	return nil
}

// setUmask is process.user.umask; 0022 if there is none.
func setUmask(e *Env) error {
	mask := uint32(0o022)
	if u := e.Spec.Process.User.Umask; u != nil {
		mask = *u
	} else if e.Joined != nil {
		return nil // runc leaves the caller's
	}
	e.B.For("process.user.umask", "cannot set the umask")
	e.B.Umask(mask)
	return nil
}

// setUser sets groups and ids (credentials(7)). The groups are always set, to
// exactly those of the configuration: what tongs was started with never stays.
// The permitted capabilities survive the change for setCapabilities.
func setUser(e *Env) error {
	u, keep := e.Spec.Process.User, e.Spec.Process.Capabilities != nil || e.keptForSeccomp() != 0
	if keep {
		e.B.For("process.user", "cannot keep capabilities")
		e.B.Prctl(unix.PR_SET_KEEPCAPS, 1)
	}
	e.B.For("process.user.additionalGids", "cannot set the groups")
	e.B.Setgroups(u.AdditionalGids)
	if len(u.AdditionalGids) == 0 && e.mayDenyGroups() {
		e.B.Allow(unix.EPERM)
	}
	e.B.For("process.user.gid", "cannot set the group")
	e.B.Setresgid(u.GID)
	e.B.For("process.user.uid", "cannot set the user")
	e.B.Setresuid(u.UID)
	if keep {
		e.B.For("process.user", "cannot clear the flag that keeps capabilities")
		e.B.Prctl(unix.PR_SET_KEEPCAPS, 0)
	}
	return nil
}

// mayDenyGroups reports whether the user namespace may forbid setgroups(2): one
// that an ordinary user has made, or that was made by somebody else. The groups
// that remain then are those of who started tongs, which the user namespace
// cannot tell apart.
func (e *Env) mayDenyGroups() bool {
	joins := e.Joined != nil && e.Joined.Namespaces&unix.CLONE_NEWUSER != 0
	return e.limited() || joins || e.Joined == nil && e.hasNamespace(specs.UserNamespace) && !e.newNamespace(specs.UserNamespace)
}

// setNoNewPrivileges: runtime-spec 1.3, config § Linux Process; prctl(2).
func setNoNewPrivileges(e *Env) error {
	if e.Spec.Process.NoNewPrivileges {
		e.B.For("process.noNewPrivileges", "cannot forbid new privileges")
		e.B.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1)
	}
	return nil
}

// lookAtStdio finds out, on the host, what descriptors 0 to 2 are.
func lookAtStdio(e *Env) error {
	if e.Spec.Process.Terminal {
		return nil // they are replaced by the terminal
	}
	b := e.onHost()
	b.For("", "cannot look at the standard streams")
	var stats [3]*kernel.Stat
	for i := range stats {
		stats[i] = b.Stat(kernel.NewHandle(int64(i), "stdio"))
		b.Allow(unix.EBADF)
	}
	if err := e.Host.Run(b); err != nil {
		return err
	}
	for i, st := range stats {
		if st.Errno() != 0 {
			continue
		}
		major, minor := st.Rdev()
		e.stdioNull[i] = st.Type() == unix.S_IFCHR && major == 1 && minor == 3
		uid, _ := e.hostUID(e.Spec.Process.User.UID)
		e.stdioOwn[i] = !e.stdioNull[i] && st.UID() != uid
	}
	return nil
}

// replaceNull makes standard streams that are the host's /dev/null the
// container's: the host's inode is not for the container to change.
func replaceNull(e *Env) error {
	if e.stdioNull == [3]bool{} {
		return nil
	}
	e.B.For("", "cannot open /dev/null of the container")
	h := rootfs.OpenInside(e.B, "/dev/null", unix.O_RDWR|unix.O_NOCTTY)
	e.B.Allow(unix.ENOENT) // a /dev that the configuration supplies may have none
	st := e.B.Stat(h)
	e.B.Allow(unix.EBADF)
	e.B.Check(func() error {
		if major, minor := st.Rdev(); h.Errno() == 0 && (st.Type() != unix.S_IFCHR || major != 1 || minor != 3) {
			return errNotNull
		}
		return nil
	})
	for i, yes := range e.stdioNull {
		if yes {
			e.B.Dup3(h, i, 0)
			e.B.Allow(unix.EBADF)
		}
	}
	e.B.Close(h).Allow(unix.EBADF)
	return nil
}

// ownStreams gives the standard streams to the container's user, so that it
// can open /dev/stdout. Streams that do not allow it stay as they are.
func ownStreams(e *Env) error {
	b := e.B
	uid, own := e.Spec.Process.User.UID, e.hasNamespace(specs.UserNamespace) && !e.limited()
	if own { // they are the host's: the container's root may not give them away
		b = &kernel.Batch{}
		if uid, own = e.hostUID(uid); !own {
			return nil
		}
	}
	for i, yes := range e.stdioOwn {
		if yes {
			b.For("process.user", "cannot give the standard streams to the user")
			b.Fchown(kernel.NewHandle(int64(i), "stdio"), uid, ^uint32(0))
			b.Allow(unix.EPERM, unix.EROFS, unix.EINVAL)
		}
	}
	if own {
		return e.Host.Run(b)
	}
	return nil
}

// setOOMScore writes oom_score_adj (proc_pid_oom_score_adj(5)) from the host.
func setOOMScore(e *Env) error {
	adj := e.Spec.Process.OOMScoreAdj
	if adj == nil {
		return nil
	}
	b := &kernel.Batch{}
	b.For("process.oomScoreAdj", "cannot set the score")
	writeProc(b, e.PID, "oom_score_adj", strconv.Itoa(*adj))
	err := e.Host.Run(b)
	if errors.Is(err, unix.EACCES) && e.limited() {
		e.Warn(err.Error() + ": only the host's root may lower it")
		return nil
	}
	return err
}
