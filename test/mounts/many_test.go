package mounts

import (
	"fmt"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// A thousand binds need more descriptors than a caller's soft limit allows; the
// program's limit is what the configuration says, or the caller's.
func TestManyBinds(t *testing.T) {
	h := linuxtest.One(t)
	source := mkdir(t, h.Dir+"/source")
	const n = 1000
	binds := func(s *specs.Spec) {
		for i := range n {
			s.Mounts = append(s.Mounts, mount(fmt.Sprintf("/mnt/%d", i), "bind", source, "bind", "ro"))
		}
	}
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old), unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 777, Max: old.Max}, nil))
	defer func() { must(t, unix.Prlimit(0, unix.RLIMIT_NOFILE, &old, nil)) }()
	script := linuxtest.Shell("grep -c ' /mnt/[0-9]* ro,' /proc/self/mountinfo; ulimit -Sn; ulimit -Hn; ls /proc/self/fd | wc -l")
	for name, edits := range map[string][]linuxtest.Edit{
		"limit of the configuration": {binds, writable, script},
		"limit of the caller":        {binds, writable, script, func(s *specs.Spec) { s.Process.Rlimits = nil }},
	} {
		want := "1000\n1024\n1024\n4\n"
		if strings.HasSuffix(name, "caller") {
			want = fmt.Sprintf("1000\n777\n%d\n4\n", old.Max)
		}
		r := h.Run("run", "--bundle", h.Bundle(edits...), h.ID("a"))
		if r.Stdout != want {
			t.Errorf("%s: status %d, got %q, want %q, stderr %s", name, r.Status, r.Stdout, want, r.Stderr)
		}
	}
}

// Binds whose destinations are so long that what is queued of them at once does not
// fit where one round lies.
func TestLongDestinations(t *testing.T) {
	h := linuxtest.One(t)
	source := mkdir(t, h.Dir+"/source")
	for _, c := range []struct{ n, length int }{{60, 3000}, {100, 800}, {110, 400}, {125, 260}, {200, 1000}} {
		dir := "/mnt" + strings.Repeat("/"+strings.Repeat("x", 99), c.length/100)
		binds := func(s *specs.Spec) {
			for i := range c.n {
				s.Mounts = append(s.Mounts, mount(fmt.Sprintf("%s/%d", dir, i), "bind", source, "bind", "ro"))
			}
		}
		r := h.Run("run", "--bundle", h.Bundle(binds, writable, linuxtest.Shell("grep -c ' /mnt/x.*/[0-9]* ro,' /proc/self/mountinfo")), h.ID("a"))
		if want := fmt.Sprintln(c.n); r.Stdout != want {
			t.Errorf("%d binds, %d bytes: status %d, got %q, stderr %s", c.n, c.length, r.Status, r.Stdout, r.Stderr)
		}
	}
}

// A hard limit of descriptors that is too low for the mounts is named.
func TestTooFewDescriptors(t *testing.T) {
	h := linuxtest.One(t)
	source := mkdir(t, h.Dir+"/source")
	bundle := h.Bundle(writable, func(s *specs.Spec) {
		for i := range 300 {
			s.Mounts = append(s.Mounts, mount(fmt.Sprintf("/mnt/%d", i), "bind", source, "bind"))
		}
	})
	r := h.Exec(linuxtest.Command{Program: "/bin/sh", Args: append([]string{"-c", `ulimit -n 256; exec "$@"`, "sh"}, h.Argv("run", "--bundle", bundle, h.ID("a"))...)})
	if r.Status != 1 || !strings.Contains(r.Stderr, "(EMFILE)") || !strings.Contains(r.Stderr, "hard limit of them (RLIMIT_NOFILE) is too low") {
		t.Errorf("status %d, stderr %s", r.Status, r.Stderr)
	}
}
