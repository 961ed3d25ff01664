package namespaces

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

func user(uid, gid uint32) linuxtest.Edit {
	return func(s *specs.Spec) { s.Process.User = specs.User{UID: uid, GID: gid} }
}

// unreachable makes a directory of root's below one of mode 0700, with a file.
func unreachable(t *testing.T, h *linuxtest.Host, uid int) (dir string) {
	t.Helper()
	dir = filepath.Join(h.Dir, "closed", "source")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{dir, file} {
		if err := os.Chown(p, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Root of the container is another user of the host's, who can reach neither the
// root file system nor the sources by their names. What is mounted is what the
// host's root has opened, with the rights that its owner and mode give.
func TestUnreachable(t *testing.T) {
	h := linuxtest.One(t)
	look := linuxtest.Inside("/tmp", "/tmp/file", "/etc", "/bin/busybox")
	for _, c := range []struct {
		name  string
		uid   int
		edits []linuxtest.Edit
		owner string
		read  string // error of the file, or its text
	}{
		{"mapped owner", 100000, nil, "0:65534", "text"},
		{"owner of a user", 101000, []linuxtest.Edit{user(1000, 1000)}, "1000:65534", "text"},
		{"host's root", 0, nil, "65534:65534", "permission denied"},
		{"host's root, owners mapped", 0, []linuxtest.Edit{func(s *specs.Spec) {
			s.Mounts[len(s.Mounts)-1].Options = []string{"bind", "idmap"}
		}}, "0:0", "text"},
	} {
		h.Sub(t, c.name, func(t *testing.T, h *linuxtest.Host) {
			source := unreachable(t, h, c.uid)
			bundle := h.Bundle(append([]linuxtest.Edit{mapped, look, linuxtest.Mount("/tmp", "bind", source, "bind")}, c.edits...)...)
			if err := os.Chmod(bundle, 0o700); err != nil {
				t.Fatal(err)
			}
			r := h.Look(h.Must("run", "--bundle", bundle, h.ID("a")).Stdout)
			linuxtest.Equal(t, "owner", r.Paths["/tmp"].Owner, c.owner)
			p := r.Paths["/tmp/file"]
			if p.Error != "" {
				p.ReadError = p.Error
			}
			linuxtest.Equal(t, "file", p.Content+p.ReadError, c.read)
			linuxtest.Equal(t, "owner of the root's files", r.Paths["/etc"].Owner, "65534:65534")
		})
	}
}

// A root file system whose owners are mapped: a mount of it on "/", which becomes
// the root.
func TestMappedRoot(t *testing.T) {
	h := linuxtest.One(t)
	source := filepath.Join(h.Bundle(), "rootfs")
	bundle := h.Bundle(mapped, linuxtest.Inside("/", "/..", "/etc", "/etc/passwd", "/bin/busybox"), func(s *specs.Spec) {
		s.Root.Readonly = false
		s.Mounts = append([]specs.Mount{{Destination: "/", Type: "bind", Source: source, Options: []string{"rbind", "idmap"}}}, s.Mounts...)
	})
	r := h.Look(h.Must("run", "--bundle", bundle, h.ID("a")).Stdout)
	for _, p := range []string{"/", "/etc", "/etc/passwd"} {
		linuxtest.Equal(t, "owner of "+p, r.Paths[p].Owner, "0:0")
	}
	linuxtest.Equal(t, "writing", r.Paths["/"].WriteError+r.Paths["/etc/passwd"].WriteError, "")
	linuxtest.Equal(t, "/..", strings.Join(r.Paths["/.."].Names, " "), strings.Join(r.Paths["/"].Names, " "))
}

// The streams belong to the container's user, who can open them by their names,
// and so does a terminal; the host's /dev/null never does.
func TestStreams(t *testing.T) {
	h := linuxtest.One(t)
	script := linuxtest.Shell("stat -L -c %u /dev/stdout /dev/stderr && echo out >> /dev/stdout && echo err >> /dev/stderr")
	for name, edits := range map[string][]linuxtest.Edit{"mapped": {mapped}, "host's": nil} {
		h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
			r := h.Must("run", "--bundle", h.Bundle(append(edits, user(7, 8), script)...), h.ID("a"))
			linuxtest.Equal(t, "streams", linuxtest.Words(r.Stdout)+linuxtest.Words(r.Stderr), "7 7 outerr")

			id := h.ID("b")
			socket := h.Listen("console-" + name)
			tty := []linuxtest.Edit{linuxtest.Terminal, user(7, 8), linuxtest.Shell("stat -c %u:%g /dev/pts/0 /dev/console; : > /dev/pts/0 && echo opened; read line")}
			h.Must("run", "--detach", "--console-socket", socket.Path, "--bundle", h.Bundle(append(edits, tty...)...), id)
			_, master := socket.Receive()
			defer master.Close()
			if out := linuxtest.ReadUntil(t, master, "opened"); strings.Count(out, "7:5") != 2 {
				t.Errorf("the terminal belongs to %q", out)
			}
			h.Must("delete", "--force", id)

			before := owner(t, "/dev/null")
			h.Must("run", "--detach", "--bundle", h.Bundle(append(edits, user(7, 8), linuxtest.Args("/bin/true"))...), id)
			h.Must("delete", "--force", id)
			linuxtest.Equal(t, "the host's /dev/null", owner(t, "/dev/null"), before)
		})
	}
}

func owner(t *testing.T, path string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(st.Uid, ":", st.Gid)
}
