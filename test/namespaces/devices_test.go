package namespaces

import (
	"os/exec"
	"runtime"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// network makes a network namespace for the test and the devices d0 and d1 in
// it, each with a peer.
func network(t *testing.T, h *linuxtest.Host) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: it ends with the test, and the namespace with it
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	ip(t, "link add d0 type veth peer name p0", "link add d1 type veth peer name p1", "addr add 10.1.2.3/24 dev d0 label d0:x",
		"addr add fd00::5/64 dev d0 nodad", "addr add 169.254.9.9/16 dev d0 scope link", "link set d0 mtu 1400 address 02:00:00:00:00:07", "link set d0 up", "link set p0 up")
	if !linuxtest.Until(func() bool { return !strings.Contains(ip(t, "-brief link"), "LOWERLAYERDOWN") }) {
		t.Fatal("the devices do not come up")
	}
}

// ip runs commands of ip(8) in the test's network namespace and gives their
// output.
func ip(t *testing.T, commands ...string) string {
	t.Helper()
	var all strings.Builder
	for _, c := range commands {
		cmd := exec.Command("ip", strings.Fields(c)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("ip %s: %v: %s", c, err, out)
		}
		all.Write(out)
	}
	return all.String()
}

// moves asks for devices by name on the host and in the container.
func moves(names ...string) linuxtest.Edit {
	return func(s *specs.Spec) {
		s.Linux.NetDevices = map[string]specs.LinuxNetDevice{}
		for _, n := range names {
			from, to, _ := strings.Cut(n, ">")
			s.Linux.NetDevices[from] = specs.LinuxNetDevice{Name: to}
		}
	}
}

// Devices keep all that they had but their state, which is up.
func TestNetDevices(t *testing.T) {
	h := linuxtest.One(t)
	show := linuxtest.Args("/bin/busybox", "ip", "addr")
	for name, edit := range map[string]linuxtest.Edit{"root": func(*specs.Spec) {}, "user namespace": mapped} {
		h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
			network(t, h)
			out := h.Must("run", "--bundle", h.Bundle(edit, show, moves("d0>eth%d", "d1")), h.ID("a")).Stdout
			for _, want := range []string{": eth0@", ": d1@", ",UP", "mtu 1400", "02:00:00:00:00:07", "inet 10.1.2.3/24 scope global eth0", "inet6 fd00::5/64"} {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not in\n%s", want, out)
				}
			}
			if strings.Contains(out, "169.254.9.9") {
				t.Errorf("an address of the link's scope was kept:\n%s", out)
			}
			if strings.Count(out, ",UP") != 2+1 {
				t.Errorf("not all is up:\n%s", out)
			}
		})
	}
	h.Sub(t, "joined", func(t *testing.T, h *linuxtest.Host) {
		network(t, h)
		ns := hold(t, h, "first", moves("d0"))
		// The name d0 is taken there, and so is its number.
		ip(t, "link add d0 type veth peer name q0", "addr add 10.9.9.9/32 dev d0")
		out := h.Must("run", "--bundle", h.Bundle(show, linuxtest.Namespace(specs.NetworkNamespace, ns("net")), moves("d0>other", "d1")), h.ID("a")).Stdout
		for _, want := range []string{": d0@", ": other@", ": d1@", "10.9.9.9", "10.1.2.3"} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is not in\n%s", want, out)
			}
		}
	})
}

// What cannot be moved is an error, and all is as it was.
func TestNetDevicesBadInput(t *testing.T) {
	h := linuxtest.One(t)
	for _, c := range []struct {
		name  string
		edits []linuxtest.Edit
		want  []string
	}{
		{"missing", []linuxtest.Edit{moves("d0", "nothere")}, []string{"linux.netDevices.nothere", "no network device"}},
		{"onto one that is there", []linuxtest.Edit{moves("d0>lo", "d1")}, []string{"linux.netDevices.d0", "has a network device", "already"}},
		{"onto each other", []linuxtest.Edit{moves("d0>x", "d1>x")}, []string{"linux.netDevices.d1", "would have the name", "d0"}},
		{"immovable", []linuxtest.Edit{moves("d0", "lo>lo2")}, []string{"linux.netDevices.lo", "cannot move"}},
		{"host's network", []linuxtest.Edit{linuxtest.WithoutNamespace(specs.NetworkNamespace), moves("d0")}, []string{"linux.netDevices", "network namespace"}},
		{"bad name", []linuxtest.Edit{moves("d0>a/b")}, []string{"linux.netDevices.d0.name"}},
		{"a later failure", []linuxtest.Edit{moves("d0>eth0", "d1"), linuxtest.Args("/nothere")}, []string{"process.args[0]"}},
		{"a later failure, user namespace", []linuxtest.Edit{mapped, moves("d0>eth0", "d1"), linuxtest.Args("/nothere")}, []string{"process.args[0]"}},
	} {
		h.Sub(t, c.name, func(t *testing.T, h *linuxtest.Host) {
			network(t, h)
			before := state(t)
			r := h.Run("run", "--bundle", h.Bundle(c.edits...), h.ID("a"))
			linuxtest.Equal(t, "status", r.Status, 1)
			for _, w := range c.want {
				if !strings.Contains(r.Stderr, w) {
					t.Errorf("%q is not in %q", w, r.Stderr)
				}
			}
			if !linuxtest.Until(func() bool { return state(t) == before }) {
				t.Errorf("before:\n%s\nafter:\n%s", before, state(t))
			}
		})
	}
}

// state is what is known of the devices, but for addresses that the kernel makes.
func state(t *testing.T) string {
	t.Helper()
	var kept []string
	for line := range strings.Lines(ip(t, "-brief link", "-brief addr show dev d0 scope global", "-brief addr show dev d1 scope global")) {
		kept = append(kept, linuxtest.Words(line))
	}
	return strings.Join(kept, "\n")
}
