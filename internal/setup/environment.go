package setup

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// maxPasswd bounds what is read of the container's /etc/passwd, which is the
// image author's. A home behind it is not found.
const maxPasswd = 64 << 10

// readPasswd asks for /etc/passwd if HOME must be found. It may be anything:
// it is opened so that a FIFO or a device does not block.
func readPasswd(e *Env) error {
	if home, _ := lookUpEnv(e.Spec.Process.Env, "HOME"); home != "" {
		return nil
	}
	e.B.For("process.env", "cannot read /etc/passwd")
	h := e.B.Openat2(e.Root.Dir, "/etc/passwd", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0, kernel.InRoot)
	e.B.Allow()
	e.passwd = e.B.Read(h, maxPasswd)
	e.B.Allow()
	e.B.Close(h).Allow()
	return nil
}

// setEnvironment is process.env without duplicates (the last wins) and with
// HOME, as login(1) would set it. An empty HOME counts as none: docker relies on
// that (runc#4704).
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
	if home, _ := lookUpEnv(e.Spec.Process.Env, "HOME"); home == "" {
		home := "/"
		if e.passwd != nil {
			home = homeOf(e.Spec.Process.User.UID, string(e.passwd.Bytes()))
		}
		e.environ = append(e.environ, "HOME="+home)
	}
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
