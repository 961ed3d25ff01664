package container

import "testing"

func TestProfileToRestore(t *testing.T) {
	for _, c := range []struct{ option, configured, want string }{
		{"", "", ""},
		{"", "a", "a"},
		{"apparmor:b", "a", "b"},
		{"apparmor:b c", "", "b c"},
		{"apparmor:unconfined", "a", ""},
		{"selinux:u:r:t:s0", "a", ""},
		{"apparmor::ns://b", "", ""},
		{"", "a//&b", ""},
	} {
		if got, err := profileToRestore(c.option, c.configured); got != c.want || err != nil {
			t.Errorf("%q, %q: %q, %v", c.option, c.configured, got, err)
		}
	}
	for _, option := range []string{"b", "smack:b", ":b"} {
		if got, err := profileToRestore(option, "a"); err == nil {
			t.Errorf("%q: %q", option, got)
		}
	}
}

func TestHasProfile(t *testing.T) {
	const list = "a (enforce)\nb c (complain)\n/usr/bin/x (1) (enforce)\n"
	for name, want := range map[string]bool{"a": true, "b c": true, "/usr/bin/x (1)": true, "b": false, "": false, "a (enforce)": false} {
		if got := hasProfile(list, name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}
