// Package try runs the command that README names first.
package try

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// user is nobody that the host knows.
const user = 51234

func TestTry(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("becoming another user needs root")
	}
	for name, uid := range map[string]uint32{"root": 0, "user": user} {
		t.Run(name, func(t *testing.T) { try(t, uid) })
	}
}

func try(t *testing.T, uid uint32) {
	dir := t.TempDir()
	source := dir + "/source"
	copySource(t, source)
	for _, d := range []string{dir, filepath.Dir(dir)} { // a user has to get there
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{dir + "/home", dir + "/tmp"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(d, int(uid), int(uid)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(source + "/scripts/try")
	cmd.Env = append(os.Environ(), "TMPDIR="+dir+"/tmp")
	if uid != 0 {
		cmd.Env = append(cmd.Env, "HOME="+dir+"/home", "GOFLAGS=-buildvcs=false -modcacherw", "GOCACHE=", "GOMODCACHE=", "GOPATH=", "XDG_CACHE_HOME=", "XDG_RUNTIME_DIR=")
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"# host name, user, group\nrunc, 0, 0\n", "# processes\n1 /bin/show \n# mounts\n", "tmpfs /dev tmpfs"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if left, err := os.ReadDir(dir + "/tmp"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// copySource copies what git has of the module, without its tests.
func copySource(t *testing.T, to string) {
	t.Helper()
	cmd := exec.Command("sh", "-ec", `git ls-files -z -- . ':!test' ':!*_test.go' ':!*/testdata/*' | tar -c --null -T - | tar -x --no-same-owner -C "$1"`, "sh", to)
	cmd.Dir = "../.."
	if err := os.Mkdir(to, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot copy the source: %v\n%s", err, out)
	}
}
