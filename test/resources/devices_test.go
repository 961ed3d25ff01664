package resources

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// accesses are all that a rule can be about.
func accesses() []string { return []string{"r", "w", "m", "rw", "rm", "wm", "rwm"} }

// rule makes a rule of "allow c 1:3 rw"; a star is every number, and "all" every
// device.
func rule(text string) specs.LinuxDeviceCgroup {
	f := strings.Fields(text)
	r := specs.LinuxDeviceCgroup{Allow: f[0] == "allow", Type: f[1], Access: f[len(f)-1]}
	if f[1] == "all" {
		r.Type, r.Access = "a", "rwm"
		return r
	}
	major, minor, _ := strings.Cut(f[2], ":")
	number := func(s string) *int64 {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return nil
		}
		return &n
	}
	r.Major, r.Minor = number(major), number(minor)
	return r
}

// ruleSet is a list of rules with the devices that they are tried on.
type ruleSet struct {
	name  string
	rules []string
}

// tried are the devices. Most have no driver: the cgroup is asked before.
func tried() []string {
	var list []string
	for _, kind := range []string{"c", "b"} {
		for minor := range 9 {
			list = append(list, fmt.Sprintf("%s:241:%d", kind, minor))
		}
		for i := range 7 {
			list = append(list, fmt.Sprintf("%s:%d:3", kind, 242+i), fmt.Sprintf("%s:230:%d", kind, 100+i))
		}
	}
	return append(list, "c:1:3", "c:1:5", "c:10:200", "c:5:1", "c:136:0")
}

// ruleSets has each combination of type, numbers, stars and access once, as an
// exception from nothing and from everything.
func ruleSets() []ruleSet {
	var list []ruleSet
	for _, base := range []struct{ first, verb string }{{"deny all", "allow"}, {"allow all", "deny"}} {
		exact, anyMinor, anyMajor := []string{base.first}, []string{base.first}, []string{base.first}
		for i, a := range accesses() {
			for _, kind := range []string{"c", "b"} {
				exact = append(exact, fmt.Sprintf("%s %s 241:%d %s", base.verb, kind, i+1, a))
				anyMinor = append(anyMinor, fmt.Sprintf("%s %s %d:* %s", base.verb, kind, 242+i, a))
				anyMajor = append(anyMajor, fmt.Sprintf("%s %s *:%d %s", base.verb, kind, 100+i, a))
			}
		}
		list = append(list, ruleSet{name: base.first + ", exact numbers", rules: exact}, ruleSet{name: base.first + ", any minor", rules: anyMinor},
			ruleSet{name: base.first + ", any major", rules: anyMajor})
		for i, a := range accesses() {
			other := accesses()[(i+3)%7]
			list = append(list, ruleSet{name: base.first + ", any numbers, " + a + " and " + other,
				rules: []string{base.first, base.verb + " c *:* " + a, base.verb + " b *:* " + other}})
		}
	}
	return append(list,
		ruleSet{name: "no rules"},
		ruleSet{name: "widened", rules: []string{"deny all", "allow c 241:1 r", "allow c 241:1 w"}},
		ruleSet{name: "narrowed", rules: []string{"deny all", "allow c 241:1 rwm", "deny c 241:1 w"}},
		ruleSet{name: "taken back", rules: []string{"deny all", "allow c 241:1 rw", "deny c 241:1 rw"}},
		ruleSet{name: "denied, then denied again", rules: []string{"deny all", "deny c 241:1 rw"}},
		ruleSet{name: "forgotten", rules: []string{"allow c 241:1 rw", "deny all", "allow c 241:2 r"}},
		ruleSet{name: "forgotten by all", rules: []string{"deny c 241:1 rw", "allow all", "deny c 241:2 r"}},
		ruleSet{name: "hole in an exception", rules: []string{"deny all", "allow c 241:* rw", "deny c 241:2 r"}},
		ruleSet{name: "minus one for a star", rules: []string{"deny all", "allow c 241:-1 rw", "allow c -1:101 r"}},
		ruleSet{name: "letters in another order", rules: []string{"deny all", "allow c 241:1 wr", "allow c 241:2 mmr"}},
	)
}

// randomSets are lists that nobody would write.
func randomSets(n int) []ruleSet {
	random := rand.New(rand.NewPCG(7, 7))
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	var list []ruleSet
	for i := range n {
		s := ruleSet{name: fmt.Sprintf("random %d", i)}
		for range 2 + random.IntN(6) {
			verb := pick("allow", "allow", "deny")
			if random.IntN(6) == 0 {
				s.rules = append(s.rules, verb+" all")
				continue
			}
			s.rules = append(s.rules, fmt.Sprintf("%s %s %s:%s %s", verb, pick("c", "c", "b"), pick("241", "241", "242", "*"), pick("1", "2", "3", "*"), pick(accesses()...)))
		}
		list = append(list, s)
	}
	return list
}

// Rules mean what runc makes of them: real opens and mknods in a container of
// each, for every combination. A list means the same on both cgroup versions,
// where runc's program for v2 lets requests pass that a rule denies in part.
func TestDeviceRules(t *testing.T) {
	onV1 := map[string]string{}
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		devices := tried()
		bundle := h.Bundle(linuxtest.Args("/bin/inside"))
		makeNodes(t, bundle+"/rootfs/nodes", devices)
		for _, s := range append(ruleSets(), randomSets(20)...) {
			h.WriteConfig(bundle, linuxtest.Spec(linuxtest.Args(append([]string{"/bin/inside", "--devices"}, devices...)...), s.edit))
			tongs := deviceAnswers(t, h, bundle)
			if v1 := onV1[s.name]; !h.V2 {
				onV1[s.name] = tongs
			} else if v1 != "" && v1 != tongs {
				t.Errorf("%s %q, beside v1:\n%s", s.name, s.rules, differing(tongs, v1, false))
			}
			if d := differing(tongs, deviceAnswers(t, h.With("runc"), bundle), h.V2); d != "" {
				t.Errorf("%s %q, beside runc:\n%s", s.name, s.rules, d)
			}
		}
	})
}

// edit sets the rules, and lets the program make devices.
func (s ruleSet) edit(spec *specs.Spec) {
	spec.Linux.Resources.Devices = nil
	for _, text := range s.rules {
		spec.Linux.Resources.Devices = append(spec.Linux.Resources.Devices, rule(text))
	}
	c := spec.Process.Capabilities
	for _, set := range []*[]string{&c.Bounding, &c.Effective, &c.Permitted} {
		*set = append(*set, "CAP_MKNOD")
	}
}

// deviceAnswers runs a container that tries the devices. The runtime may refuse
// a rule that makes a hole in another.
func deviceAnswers(t *testing.T, h *linuxtest.Host, bundle string) string {
	t.Helper()
	r := h.Run("run", "--bundle", bundle, h.ID("a"))
	switch {
	case r.Status == 0:
		return r.Stdout
	case strings.Contains(r.Stderr, "cannot make a hole"), strings.Contains(r.Stderr, "cannot punch hole"): // runc's words
		return "refused"
	}
	t.Errorf("status %d, stderr %s", r.Status, r.Stderr)
	return ""
}

func makeNodes(t *testing.T, dir string, devices []string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range devices {
		f := strings.Split(name, ":")
		major, _ := strconv.Atoi(f[1])
		minor, _ := strconv.Atoi(f[2])
		kind := uint32(unix.S_IFCHR)
		if f[0] == "b" {
			kind = unix.S_IFBLK
		}
		if err := unix.Mknod(dir+"/"+name, kind|0o666, int(unix.Mkdev(uint32(major), uint32(minor)))); err != nil {
			t.Fatal(err)
		}
	}
}

// differing gives the lines that differ. Lenient, it lets those pass in which
// only reading and writing at once is denied, and one of the two as well.
func differing(tongs, other string, lenient bool) string {
	g, w := strings.Split(tongs, "\n"), strings.Split(other, "\n")
	if len(g) != len(w) {
		return "tongs " + tongs + "\nother " + other + "\n"
	}
	var b strings.Builder
	for i := range g {
		known := strings.ReplaceAll(strings.ReplaceAll(g[i], "read both", "read"), "write both", "write")
		if g[i] != w[i] && !(lenient && known == w[i]) {
			fmt.Fprintf(&b, "\ttongs %s\n\tother %s\n", g[i], w[i])
		}
	}
	return b.String()
}
