package engines

import (
	"os"
	"strings"
	"testing"

	"tongs/internal/linuxtest"
)

// TestBuildah builds images: it runs each command in a container of its own.
func TestBuildah(t *testing.T) {
	h := linuxtest.One(t)
	privateRun(t, h)
	dir := directory(t, h, "buildah")
	p := newPodman(t, h)
	b := &client{t: t, dir: dir, env: append(p.env, "BUILDAH_RUNTIME="+h.Argv()[0])}
	b.argv = []string{"buildah", p.argv[1], p.argv[2], p.argv[3], p.argv[4], "--storage-driver", "vfs"} // with the same images
	b.must("from", "--pull-never", "--name", "work", "localhost/image")
	b.must("run", "--isolation", "oci", "--network", "none", "work", "--", "/bin/sh", "-c", "echo built >/built")
	contains(t, "run", b.want(4, "run", "--isolation", "oci", "--network", "none", "work", "--", "/bin/sh", "-c", "cat /built; exit 4"), "built\n")
	contains(t, "run with options", b.must("run", "--isolation", "oci", "--network", "none", "--user", "1000", "--tty", "--cap-drop", "CAP_CHOWN", "--volume", dir+":/mnt:ro", "work", "--",
		"/bin/sh", "-c", "tty; id -u; touch /mnt/x || true"), "/dev/pts/0\r\n1000\r\n", "Read-only file system")
	if out, status := b.do("run", "--isolation", "oci", "--network", "none", "work", "--", "/nowhere"); status == 0 || !strings.Contains(out, "process.args[0]") {
		t.Errorf("another runtime ran a missing program: status %d: %s", status, out)
	}
	b.must("commit", "work", "made")
	const file = "FROM localhost/made\nRUN cat /built && echo more >/more\nUSER 1000\nRUN test $(id -u) = 1000\n"
	if err := os.WriteFile(dir+"/Containerfile", []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	b.must("bud", "--isolation", "oci", "--network", "none", "--pull-never", "--tag", "built", dir)
	contains(t, "what was built", p.must("run", "--rm", "--network", "none", "built", "/bin/cat", "/built", "/more"), "built\nmore\n")
	b.must("rm", "work")
}
