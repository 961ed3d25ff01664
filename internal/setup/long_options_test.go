package setup

import (
	"slices"
	"testing"
)

func TestSplitLayers(t *testing.T) {
	const lower, data = "lowerdir+", "datadir+"
	for in, want := range map[string][]layer{
		"/a":             {{lower, "/a"}},
		"/a:/b":          {{lower, "/a"}, {lower, "/b"}},
		"/a:/b::/c::/d":  {{lower, "/a"}, {lower, "/b"}, {data, "/c"}, {data, "/d"}},
		"/a::/c:/d":      {{lower, "/a"}, {data, "/c"}, {lower, "/d"}},
		`/a\:b\\:/c\,\d`: {{lower, `/a:b\`}, {lower, "/c,d"}},
		`/a\`:            {{lower, "/a"}},
		":":              {{lower, ""}, {lower, ""}},
		"/a::":           {{lower, "/a"}, {data, ""}},
	} {
		if got := splitLayers(in); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestLastLayers(t *testing.T) {
	list := []string{"lowerdir+=/a", "upperdir=/u", "lowerdir=/b", "datadir+=/c", "xino=off", "lowerdir=/d", "workdir=/w", "lowerdir+=/e"}
	want := []string{"upperdir=/u", "xino=off", "lowerdir=/d", "workdir=/w", "lowerdir+=/e"}
	if got := lastLayers(list); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
