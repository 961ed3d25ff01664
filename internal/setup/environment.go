package setup

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/rootfs"
)

// maxPasswd bounds what is read of the container's /etc/passwd, which is the
// image author's. A home behind it is not found.
const maxPasswd = 64 << 10

// passwd is the container's /etc/passwd.
type passwd struct {
	h    kernel.Handle
	stat *kernel.Stat
	fs   *kernel.Statfs
	text *kernel.Buffer // nil if it is not to be read
}

// lookUpPasswd opens /etc/passwd if HOME must be found. It may be anything: it
// is opened so that a FIFO or a device does not block.
func lookUpPasswd(e *Env) error {
	if home, _ := lookUpEnv(e.Spec.Process.Env, "HOME"); home != "" {
		return nil
	}
	e.B.For("process.env", "cannot read /etc/passwd")
	h := rootfs.OpenInside(e.B, "/etc/passwd", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	e.B.Allow()
	e.passwd = &passwd{h: h, stat: e.B.Stat(h)}
	e.B.Allow()
	e.passwd.fs = e.B.Fstatfs(h)
	e.B.Allow()
	return nil
}

// readPasswd reads it if it is a file, and none of proc's: with the rights of
// the set-up a link to /proc/kmsg would take the host's messages away from who
// waits for them.
func readPasswd(e *Env) error {
	p := e.passwd
	if p == nil || p.h.Errno() != 0 {
		return nil
	}
	e.B.For("process.env", "cannot read /etc/passwd")
	if p.stat.Type() == unix.S_IFREG && p.fs.Type() != unix.PROC_SUPER_MAGIC {
		p.text = e.B.Read(p.h, maxPasswd)
		e.B.Allow()
	}
	e.B.Close(p.h)
	return nil
}

// setEnvironment is process.env without duplicates (the last wins). An empty
// HOME counts as none: docker relies on that (runc#4704).
func setEnvironment(e *Env) error {
	last := make(map[string]int, len(e.Spec.Process.Env))
	for i, v := range e.Spec.Process.Env {
		name, _, _ := strings.Cut(v, "=")
		last[name] = i
	}
	for i, v := range e.Spec.Process.Env {
		if name, _, _ := strings.Cut(v, "="); last[name] == i && v != "HOME=" {
			e.environ = append(e.environ, v)
		}
	}
	return nil
}

// setHome adds HOME as login(1) would set it, if the configuration has none.
func setHome(e *Env) error {
	if home, _ := lookUpEnv(e.Spec.Process.Env, "HOME"); home != "" {
		return nil
	}
	home := "/"
	if e.passwd != nil && e.passwd.text != nil {
		home = homeOf(e.Spec.Process.User.UID, string(e.passwd.text.Bytes()))
	}
	e.environ = append(e.environ, "HOME="+home)
	return nil
}

func lookUpEnv(env []string, name string) (string, bool) {
	for i := len(env) - 1; i >= 0; i-- {
		if n, v, _ := strings.Cut(env[i], "="); n == name {
			return v, true
		}
	}
	return "", false
}

// homeOf finds the home directory of a user id in passwd(5) text; "/" if there
// is none.
func homeOf(uid uint32, passwd string) string {
	for line := range strings.SplitSeq(passwd, "\n") {
		f := strings.Split(line, ":")
		if len(f) < 7 || strings.ContainsRune(line, 0) {
			continue
		}
		if id, err := strconv.ParseUint(f[2], 10, 32); err == nil && uint32(id) == uid && strings.HasPrefix(f[5], "/") {
			return f[5]
		}
	}
	return "/"
}
