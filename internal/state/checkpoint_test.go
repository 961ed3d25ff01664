package state

import (
	"slices"
	"testing"
)

// The file is as runc writes it.
func TestDescriptors(t *testing.T) {
	for want, list := range map[string][]string{
		`["","",""]`:                            nil,
		`["/dev/null","pipe:[12]","pipe:[13]"]`: {"/dev/null", "pipe:[12]", "pipe:[13]"},
	} {
		got := EncodeDescriptors(list)
		if string(got) != want {
			t.Errorf("%s, want %s", got, want)
		}
		back, err := DecodeDescriptors(got)
		if err != nil || len(back) != Descriptors || list != nil && !slices.Equal(back, list) {
			t.Errorf("%s: %q: %v", got, back, err)
		}
	}
	for _, bad := range []string{``, `{`, `["a"`, `[1]`, `["a","b","c","d"]`, `["a"] x`} {
		if list, err := DecodeDescriptors([]byte(bad)); err == nil {
			t.Errorf("%q is accepted: %q", bad, list)
		}
	}
}
