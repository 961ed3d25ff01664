package engines

import (
	"strconv"
	"strings"

	"tongs/internal/linuxtest"
)

// checkpoint saves a container that counts, with its image and what it has written, as
// an image of containerd's, and restores another container from that.
func (c *containerd) checkpoint(h *linuxtest.Host) {
	t := c.t
	const saved = "localhost/saved:test"
	dir := directory(t, h, "checkpoint")
	ociArchive(t, dir+"/oci.tar", archive(t, h, dir), pause)
	c.must("images", "import", dir+"/oci.tar")
	id, again := h.ID("c"), h.ID("c2")
	c.must("run", "--runtime", "io.containerd.runc.v2", "--runc-binary", c.binary, "--detach", "--null-io", pause, id,
		"/bin/sh", "-c", "n=0; while :; do n=$((n+1)); echo $n >/new; mv /new /n; sleep 0.1; done")
	n := c.passes(id, 10)
	c.must("containers", "checkpoint", "--rw", "--image", "--task", id, saved)
	last := c.passes(id, n) // it goes on
	c.must("tasks", "kill", "--signal", "KILL", id)
	if !linuxtest.Until(func() bool { return c.status(id) == "STOPPED" }) {
		t.Errorf("after kill: %s", c.status(id))
	}
	c.do("tasks", "rm", id) // whose status is the task's
	c.must("containers", "rm", id)
	c.must("containers", "restore", "--rw", "--live", again, saved)
	if s := c.status(again); s != "RUNNING" {
		t.Errorf("after restore: %s", s)
	}
	if m := c.passes(again, n); m > last+1000 {
		t.Errorf("it was saved after %d, and counts from %d", n, m)
	}
	// Once more, now with the end of the container.
	c.must("tasks", "checkpoint", "--exit", "--image-path", dir+"/images", again)
	if !linuxtest.Until(func() bool { return c.status(again) == "STOPPED" }) {
		t.Errorf("after checkpoint --exit: %s", c.status(again))
	}
	c.do("tasks", "rm", again)
	c.must("containers", "rm", again)
	c.must("images", "rm", pause, saved)
}

// passes waits until the container has counted on from there, and gives where it is
// then.
func (c *containerd) passes(id string, from int) (n int) {
	c.t.Helper()
	counted := func() bool {
		out, _ := c.do("tasks", "exec", "--exec-id", "n", id, "/bin/sh", "-c", "cat /n; sleep 0.2")
		n, _ = strconv.Atoi(strings.TrimSpace(out)) // 0 if there is no number yet
		return n > from
	}
	if !linuxtest.Until(counted) && !linuxtest.Until(counted) {
		c.t.Fatalf("%s counts no more: it is at %d, and was at %d", id, n, from)
	}
	return n
}
