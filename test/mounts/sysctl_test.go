package mounts

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
	"tongs/test/inside/report"
)

// Names of interfaces have dots, which sysctl(8) writes as slashes in a name
// that dots separate; the container joins the interface's network namespace.
func TestSysctlOfInterface(t *testing.T) {
	h := linuxtest.One(t)
	holder := exec.Command("/bin/sh", "-c", "ip link add eno2.100 type veth && echo ready && exec sleep 1000")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	out, err := holder.StdoutPipe()
	must(t, err, holder.Start())
	defer func() {
		holder.Process.Kill()
		holder.Wait()
	}()
	line := make([]byte, 16)
	if n, _ := out.Read(line); string(line[:n]) != "ready\n" {
		t.Fatal("cannot make a network interface: ip(8) is needed")
	}
	file := "/proc/sys/net/ipv4/conf/eno2.100/"
	join := linuxtest.Namespace(specs.NetworkNamespace, fmt.Sprintf("/proc/%d/ns/net", holder.Process.Pid))
	set := func(name, value string) linuxtest.Edit {
		return func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{name: value} }
	}
	value := func(name, want string) func(*testing.T, *report.Report) {
		return at(file+name, func(t *testing.T, p report.Path) { linuxtest.Equal(t, name, strings.TrimSpace(p.Content), want) })
	}
	h.Rows(t, []linuxtest.Row{
		{Name: "dots", Edits: []linuxtest.Edit{join, linuxtest.Inside(file + "forwarding"), set("net.ipv4.conf.eno2/100.forwarding", "1")}, Check: value("forwarding", "1"), OnlyTongs: "1.1 makes a directory of each part of the name"},
		{Name: "slashes", Edits: []linuxtest.Edit{join, linuxtest.Inside(file + "rp_filter"), set("net/ipv4/conf/eno2.100/rp_filter", "2")}, Check: value("rp_filter", "2"), OnlyTongs: "the same"},
	})
	for _, name := range []string{"net.ipv4.conf.eno2.100.forwarding", "net/ipv4/conf/eno2/100/forwarding"} {
		r := h.Run("run", "--bundle", h.Bundle(join, set(name, "1"), linuxtest.Args("/bin/true")), h.ID("a"))
		if r.Status == 0 || !strings.Contains(r.Stderr, "linux.sysctl") {
			t.Errorf("%s: status %d, stderr %s", name, r.Status, r.Stderr)
		}
	}
}

// What may be mounted below /proc is decided by what is there, and not by how
// the destination is written.
func TestBelowProc(t *testing.T) {
	h := linuxtest.One(t)
	dir := sources(t, h)
	var rows []linuxtest.Row
	for name := range strings.FieldsSeq("cpuinfo diskstats meminfo stat swaps uptime loadavg") {
		rows = append(rows, linuxtest.Row{Name: name, Edits: []linuxtest.Edit{linuxtest.Inside("/proc/" + name), bind("/proc/"+name, dir+"/file")}, Check: content("/proc/"+name, "of the host")})
	}
	h.Rows(t, append(rows,
		linuxtest.Row{Name: "bound proc", Edits: []linuxtest.Edit{linuxtest.Inside("/proc/self"), func(s *specs.Spec) {
			s.Mounts[0] = mount("/proc", "bind", "/proc", "rbind")
		}}, OnlyTongs: "its table of the host's pids differs from run to run"}))
	second := mount("/tmp", "proc", "proc")
	refused(t, h, only(mount("/proc", "proc", "proc"), second, mount("/tmp/sys/kernel/core_pattern", "bind", "/dev/null")), "mounts[2].destination: /tmp/sys/kernel/core_pattern lies in a proc file system")
	refused(t, h, only(mount("/proc", "proc", "proc"), mount("/link-to-proc/self/../meminfo/../sysrq-trigger", "bind", "/dev/null")), "mounts[1].destination: ")
}
