package setup

import (
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// What could not be restored is not saved.
func TestExternalMountsMapped(t *testing.T) {
	e := &Env{Spec: &specs.Spec{Mounts: []specs.Mount{{Destination: "/m", Type: "bind", Source: "/s", Options: []string{"bind", "idmap"}}}}}
	if list, err := e.ExternalMounts(); err == nil || !strings.HasPrefix(err.Error(), "mounts[0].options: criu cannot restore") {
		t.Errorf("%v, %v", list, err)
	}
}

func TestPathBelow(t *testing.T) {
	for _, c := range [][3]string{{"/a/b", "/", "/a/b"}, {"/run/t/root/a", "/run/t/root", "/a"}, {"/run/t/root", "/run/t/root", "/"}, {"/", "/", "/"}} {
		if got := pathBelow(c[0], c[1]); got != c[2] {
			t.Errorf("%s below %s is %s, want %s", c[0], c[1], got, c[2])
		}
	}
}
