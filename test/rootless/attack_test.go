package rootless

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// Whoever is root in a container has no more rights than the user, whatever
// capabilities the configuration gives: none of what follows may work.
func TestRootInside(t *testing.T) {
	h := linuxtest.One(t).AsUser()
	secret := filepath.Join(h.Dir, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil { // root's
		t.Fatal(err)
	}
	readOnly := filepath.Join(h.Dir, "readonly")
	if err := os.Mkdir(readOnly, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", readOnly, "tmpfs", unix.MS_RDONLY|unix.MS_NOSUID, "mode=777"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(readOnly, 0) })
	for name, c := range map[string]struct {
		script string
		edits  []linuxtest.Edit
	}{
		"a file of root's":      {"cat /tmp/secret", []linuxtest.Edit{linuxtest.Mount("/tmp/secret", "bind", secret, "bind")}},
		"its owner":             {"/bin/busybox chown 0:0 /tmp/secret", []linuxtest.Edit{linuxtest.Mount("/tmp/secret", "bind", secret, "bind")}},
		"a locked flag":         {"mount -o remount,bind,rw /tmp && touch /tmp/x", []linuxtest.Edit{linuxtest.Mount("/tmp", "bind", readOnly, "rbind")}},
		"what lies below":       {"umount /sys/fs/cgroup && umount /sys/fs/cgroup", nil},
		"a device":              {"mknod /tmp/sda b 8 0", []linuxtest.Edit{linuxtest.Mount("/tmp", "tmpfs", "tmpfs")}},
		"groups":                {"/bin/busybox setpriv --clear-groups true", nil},
		"another's mapping":     {"echo 0 0 10 > /proc/self/uid_map", nil},
		"permission for groups": {"echo allow > /proc/self/setgroups", nil},
		"the clock":             {"date -s 2001-01-01; [ $(date +%s) -lt 1500000000 ]", nil},
		"the host's name":       {"/bin/busybox sysctl -w kernel.panic=7", []linuxtest.Edit{open}},
		"the runtime's memory":  {"cat /proc/1/mem", nil},
	} {
		h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
			edits := append([]linuxtest.Edit{writable, all}, c.edits...)
			r := h.Run("run", "--bundle", h.Bundle(append(edits, linuxtest.Shell("{ "+c.script+"; } 2>&1 && echo worked"))...), h.ID("a"))
			if r.Status == 0 || strings.Contains(r.Stdout, "worked") || r.Stderr != "" {
				t.Errorf("%s: status %d, %s%s", c.script, r.Status, r.Stdout, r.Stderr)
			}
		})
	}
}

// watch prints, again and again, what it can learn of every other process that it
// sees, without end.
const watch = `cd /proc; while :; do for p in [0-9]*; do
	[ $p = 1 ] || { echo "$p $(cat $p/comm)"; /bin/busybox readlink $p/exe; ls -l $p/fd; ls $p/root/ $p/cwd/; head -c 1 $p/mem; cat $p/environ $p/maps; }
	done; done 2>/dev/null`

// hidden wants that the watcher has seen processes of ours and nothing of them.
func hidden(t *testing.T, h *linuxtest.Host, r *linuxtest.Result) {
	t.Helper()
	r.Reread()
	if !strings.Contains(r.Stdout, " sleep\n") || !strings.Contains(r.Stdout, "/bin/busybox\n") {
		t.Errorf("the watcher has not even seen the program:\n%.2000s", r.Stdout)
	}
	for _, secret := range []string{"memfd", "socket:", "lost+found", "XDG_RUNTIME_DIR", "exec.fifo"} {
		if i := strings.Index(r.Stdout, secret); i >= 0 {
			t.Errorf("%q was seen:\n%s", secret, r.Stdout[max(0, i-500):min(len(r.Stdout), i+500)])
		}
	}
}

// The process that joins a container cannot be looked into from there, though
// both are the same user of the host's and root inside has every capability: who
// may is decided where it was executed.
func TestJoiningProcessIsHidden(t *testing.T) {
	h := linuxtest.One(t).AsUser()
	id := h.ID("a")
	r := h.Must("run", "--detach", "--bundle", h.Bundle(all, open, linuxtest.Shell(watch)), id)
	for range 40 {
		h.Must("exec", id, "/bin/sleep", "0.02")
	}
	h.Must("kill", id, "KILL")
	h.WaitFor(id, "stopped")
	h.Must("delete", id)
	hidden(t, h, r)
}

// A container that shares the user namespace of another, and its processes, is
// hidden from it while it is set up.
func TestSecondContainerIsHidden(t *testing.T) {
	h := linuxtest.One(t).AsUser()
	first := h.ID("first")
	r := h.Must("run", "--detach", "--bundle", h.Bundle(all, open, linuxtest.Shell(watch)), first)
	st, _ := h.State(first)
	ns := func(kind specs.LinuxNamespaceType, file string) linuxtest.Edit {
		return linuxtest.Namespace(kind, fmt.Sprintf("/proc/%d/ns/%s", st.PID, file))
	}
	bundle := h.Bundle(linuxtest.Args("/bin/sleep", "0.02"), ns(specs.UserNamespace, "user"), ns(specs.PIDNamespace, "pid"), ns(specs.IPCNamespace, "ipc"))
	for i := range 30 {
		h.Must("run", "--bundle", bundle, h.ID(fmt.Sprint(i)))
	}
	h.Must("kill", first, "KILL")
	h.WaitFor(first, "stopped")
	h.Must("delete", first)
	hidden(t, h, r)
}
