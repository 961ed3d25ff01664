package namespaces

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

// A process that joins is where the container's first is, in each mix, and finds
// no more of the host.
func TestExec(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		secrets(t)
		offsets := func(s *specs.Spec) {
			linuxtest.Namespace(specs.TimeNamespace, "")(s)
			s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1 << 20}}
		}
		no := linuxtest.WithoutNamespace
		for name, edits := range map[string][]linuxtest.Edit{
			"all own":                {},
			"host's network":         {no(specs.NetworkNamespace)},
			"host's processes":       {no(specs.PIDNamespace), bare},
			"only mounts":            {no(specs.NetworkNamespace), no(specs.PIDNamespace), no(specs.IPCNamespace), no(specs.UTSNamespace), bare, func(s *specs.Spec) { s.Hostname = "" }},
			"cgroup":                 {linuxtest.Namespace(specs.CgroupNamespace, "")},
			"user":                   {mapped},
			"user, host's network":   {mapped, no(specs.NetworkNamespace), shows("/sys")},
			"user, host's processes": {mapped, no(specs.PIDNamespace), bare, shows("/proc")},
			"time":                   {offsets},
			"time, user":             {mapped, offsets},
			"time, host's processes": {offsets, no(specs.PIDNamespace), bare},
		} {
			h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
				id := h.ID("a")
				edits := append(edits, linuxtest.Args("/bin/sleep", "1000"))
				h.Must("run", "--detach", "--bundle", h.Bundle(edits...), id)
				st, _ := h.State(id)
				r := h.Look(h.Must("exec", id, "/bin/inside", "/", "/..", "/proc/1/root", "/proc/uptime", "/proc/self/timens_offsets").Stdout)
				for file, link := range r.Namespaces {
					want, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(st.PID), "ns", file))
					if err != nil {
						t.Fatal(err)
					}
					linuxtest.Equal(t, "namespace "+file, link, want)
				}
				scan(t, linuxtest.Spec(edits...), r)
				if spec := linuxtest.Spec(edits...); spec.Linux.TimeOffsets != nil {
					linuxtest.Equal(t, "offsets", linuxtest.Words(r.Paths["/proc/self/timens_offsets"].Content), "monotonic 0 0 boottime 1048576 0")
					if up := r.Paths["/proc/uptime"].Content; len(up) < 7 || up[:2] != "10" { // 1048576 and some thousand seconds
						t.Errorf("the machine is up since %q seconds", up)
					}
				}
				h.Must("delete", "--force", id)
			})
		}
	})
}
