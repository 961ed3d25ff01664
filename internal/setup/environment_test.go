package setup

import (
	"strings"
	"testing"
)

func TestHomeOf(t *testing.T) {
	for _, c := range []struct {
		name, passwd string
		uid          uint32
		want         string
	}{
		{"empty", "", 0, "/"},
		{"root", "root:x:0:0:root:/root:/bin/sh\n", 0, "/root"},
		{"no newline at the end", "root:x:0:0:root:/root:/bin/sh", 0, "/root"},
		{"other user", "root:x:0:0:root:/root:/bin/sh\nu:x:7:7::/home/u:/bin/sh\n", 7, "/home/u"},
		{"unknown user", "root:x:0:0:root:/root:/bin/sh\n", 7, "/"},
		{"first of two", "a:x:7:7::/a:\nb:x:7:7::/b:\n", 7, "/a"},
		{"relative home", "a:x:7:7::home:\nb:x:7:7::/b:\n", 7, "/b"},
		{"no home", "a:x:7:7:::\n", 7, "/"},
		{"too few fields", "a:x:7:7::/a\n", 7, "/"},
		{"more fields", "a:x:7:7::/a:/bin/sh:more\n", 7, "/a"},
		{"number too large", "a:x:4294967303:7::/a:\n", 7, "/"},
		{"negative number", "a:x:-1:7::/a:\n", 4294967295, "/"},
		{"largest number", "a:x:4294967295:7::/a:\n", 4294967295, "/a"},
		{"NUL in the line", "a:x:7:7::/a\x00b:\n", 7, "/"},
	} {
		if got := homeOf(c.uid, c.passwd); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestLookUpEnv(t *testing.T) {
	env := []string{"A=1", "AB=2", "A=3", "B", "C=x=y"}
	for _, c := range []struct {
		name, want string
		ok         bool
	}{{"A", "3", true}, {"AB", "2", true}, {"B", "", true}, {"C", "x=y", true}, {"D", "", false}, {"", "", false}} {
		if got, ok := lookUpEnv(env, c.name); got != c.want || ok != c.ok {
			t.Errorf("%q: got %q %v, want %q %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

func FuzzHomeOf(f *testing.F) {
	f.Add(uint32(0), "root:x:0:0:root:/root:/bin/sh\n")
	f.Add(uint32(7), "a:x:7:7::/a\x00:\n\n:::::::::\n")
	f.Fuzz(func(t *testing.T, uid uint32, passwd string) {
		home := homeOf(uid, passwd)
		if !strings.HasPrefix(home, "/") || strings.ContainsAny(home, "\x00\n:") {
			t.Errorf("%q", home)
		}
	})
}

func TestCapabilityMask(t *testing.T) {
	if got := mask([]string{"CAP_CHOWN", "CAP_CHECKPOINT_RESTORE", "CAP_NO_SUCH", "cap_kill"}); got != 1|1<<40 {
		t.Errorf("got %#x", got)
	}
	if n := len(capabilityNames()); n != 41 {
		t.Errorf("%d names, the kernel has 41", n)
	}
}

func TestBelow(t *testing.T) {
	for _, c := range []struct {
		p, dir string
		want   bool
	}{{"/a", "/", true}, {"/", "/", true}, {"/a", "/a", true}, {"/a/b", "/a", true}, {"/ab", "/a", false}, {"/", "/a", false}, {"/a", "/a/b", false}} {
		if got := below(c.p, c.dir); got != c.want {
			t.Errorf("below(%q, %q) = %v", c.p, c.dir, got)
		}
	}
}
