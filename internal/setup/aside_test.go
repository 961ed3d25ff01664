package setup

import (
	"fmt"
	"strings"
	"testing"
)

// TestAside: however many mounts there are, the limits, which tongs sets meanwhile,
// are in force before the container's process makes or opens a device, or copies what
// is in the image (cgroup v1 denies everything for a moment while rules are written).
func TestAside(t *testing.T) {
	for _, c := range []struct {
		name  string
		binds int
	}{
		{"few mounts", manyMounts / 2},
		{"many mounts", 2 * maxQueued},
	} {
		t.Run(c.name, func(t *testing.T) {
			var list []string
			for i := range c.binds {
				list = append(list, fmt.Sprintf(`{"destination": "/mnt/%d", "type": "bind", "source": "/src", "options": ["bind"]}`, i))
			}
			spec, err := mergedSpec(`{"mounts+": [` + strings.Join(list, ", ") + `]}`)
			if err != nil {
				t.Fatal(err)
			}
			p, err := planOf(spec, "net-namespace\n", "recvmsg 5 1\n")
			if err != nil {
				t.Fatal(err)
			}
			if err := p.hostSteps(); err != nil {
				t.Fatal(err)
			}
			p.env.Aside = func() error {
				p.text.WriteString("# aside\n")
				return nil
			}
			p.env.Meet = func() { p.text.WriteString("# meet\n") }
			if err := p.env.Do(CreateOrder()); err != nil {
				t.Fatal(err)
			}
			text := p.text.String()
			at := func(what string) int {
				if n := strings.Count(text, "\n"+what); n == 0 || what[0] == '#' && n > 1 {
					t.Fatalf("%q is there %d times:\n%s", what, n, text)
				}
				return strings.Index(text, "\n"+what)
			}
			for _, call := range []string{"mounts[0].type: fsopen(", "mounts[0].destination: move_mount(", "linux.devices: mknodat("} {
				if at("# aside") > at(call) {
					t.Errorf("the limits come after %s", call)
				}
			}
			if at("# aside") > at("# meet") {
				t.Error("the two take turns before tongs has done its own work")
			}
		})
	}
}
