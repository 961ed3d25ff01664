package crash

import (
	"slices"
	"testing"

	"tongs/internal/linuxtest"
)

// Whatever the moment, a container that is called created or running can be
// entered, and has all its mounts: before, it is creating, and cannot.
func TestStatusWhileCreated(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		for _, c := range []struct {
			command []string
			ready   string
		}{{[]string{"create"}, "created"}, {[]string{"run", "--detach"}, "running"}} {
			bundle, id := h.Bundle(linuxtest.Args("/bin/sleep", "1000")), h.ID(c.command[0])
			enter := func() *linuxtest.Result { return h.Run("exec", id, "/bin/cat", "/proc/self/mounts") }
			asked, early := map[string]int{}, &linuxtest.Result{}
			ask := func(call call) bool {
				if noise(call.number) || plain(call.number) {
					return false
				}
				st, _ := h.State(id)
				if asked[st.Status]++; asked[st.Status] > 1 {
					return false
				}
				switch r := enter(); {
				case st.Status == c.ready:
					early = r
				case r.Status != 255:
					t.Errorf("%s: exec into a container of status %q: %+v", c.command[0], st.Status, r)
				}
				return false
			}
			trace(t, h.Argv(slices.Concat(c.command, []string{"--bundle", bundle, id})...), ask)
			if late := enter(); late.Status != 0 || early.Stdout != late.Stdout || early.Status != 0 {
				t.Errorf("%s: entered when it was called %s: %+v, entered afterwards: %+v", c.command[0], c.ready, early, late)
			}
			for _, status := range []string{"", "creating", c.ready} {
				if asked[status] == 0 {
					t.Errorf("%s: never %q, but %v", c.command[0], status, asked)
				}
			}
			if len(asked) != 3 {
				t.Errorf("%s: %v", c.command[0], asked)
			}
			h.Must("delete", "--force", id)
		}
	})
}
