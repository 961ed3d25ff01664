package attack

import (
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

// Nothing of the host lies over the root directory, where "/.." would lead to it
// and a process that joins would begin: not with mounts on "/" either, which
// leave several mounts over the old root.
func TestOldRoot(t *testing.T) {
	h := linuxtest.One(t)
	over := func(options ...string) linuxtest.Edit {
		return func(s *specs.Spec) {
			s.Mounts = append([]specs.Mount{{Destination: "/", Type: "bind", Source: h.Bundle() + "/rootfs", Options: append(options, "rbind")}}, s.Mounts...)
		}
	}
	tmpfs := func(s *specs.Spec) {
		s.Mounts = append([]specs.Mount{{Destination: "/", Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup", "ro"}}}, s.Mounts...)
	}
	hook := func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/true"}}}
	}
	user := func(s *specs.Spec) {
		linuxtest.Namespace(specs.UserNamespace, "")(s)
		s.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: 100000, Size: 10}}
		s.Linux.GIDMappings = []specs.LinuxIDMapping{{HostID: 100000, Size: 10}}
	}
	for name, c := range map[string]struct {
		edits []linuxtest.Edit
		flags []string
	}{
		"usual":                {nil, nil},
		"mount":                {[]linuxtest.Edit{over()}, nil},
		"read-only":            {[]linuxtest.Edit{over("ro")}, nil},
		"three":                {[]linuxtest.Edit{over(), tmpfs, over("ro")}, nil},
		"tmpfs":                {[]linuxtest.Edit{tmpfs}, nil},
		"hooks":                {[]linuxtest.Edit{over(), hook}, nil},
		"user namespace":       {[]linuxtest.Edit{over(), user}, nil},
		"without pivot":        {[]linuxtest.Edit{over()}, []string{"--no-pivot"}},
		"hooks, without pivot": {[]linuxtest.Edit{hook}, []string{"--no-pivot"}},
		"all":                  {[]linuxtest.Edit{over(), hook, tmpfs}, []string{"--no-pivot"}},
	} {
		h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
			// The test's directory is the host's.
			look := linuxtest.Shell("ls /..; ls -d /.." + h.Dir + " /../.." + h.Dir + "; exec sleep 1000")
			id := h.ID("a")
			args := append(append([]string{"run", "--detach"}, c.flags...), "--bundle", h.Bundle(append(c.edits, look)...), id)
			r := h.Must(args...)
			h.WaitFor(id, "running")
			if !linuxtest.Until(func() bool { r.Reread(); return strings.Count(r.Stderr, h.Dir) == 2 }) {
				t.Errorf("the host's root is there: %s %s", r.Stdout, r.Stderr)
			}
			joined := h.Run("exec", id, "/bin/ls", "-d", h.Dir, "/.."+h.Dir)
			if strings.Contains(joined.Stdout, h.Dir) {
				t.Errorf("a process that joins finds %s", joined.Stdout)
			}
			h.Must("delete", "--force", id)
		})
	}
}
