package cgroup

import (
	"bytes"
	"strings"
	"testing"
)

func TestSlicePath(t *testing.T) {
	for slice, want := range map[string]string{
		"system.slice": "/system.slice", "a-b-c.slice": "/a.slice/a-b.slice/a-b-c.slice", "-.slice": "/", "a.b.slice": "/a.b.slice",
		"": "", "a": "", ".slice": "", "a-.slice": "", "-a.slice": "", "a--b.slice": "", "--.slice": "", "a/b.slice": "", "a.slice/": "", "a.scope": "",
	} {
		got, err := slicePath(slice)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", slice, got, err, want)
		}
	}
}

func TestSetBits(t *testing.T) {
	for _, c := range []struct {
		list string
		want []byte
		err  string
	}{
		{"0", []byte{1}, ""}, {"1", []byte{2}, ""}, {"0-1", []byte{3}, ""}, {",0,1,", []byte{3}, ""}, {"4-7,4", []byte{0xf0}, ""},
		{"0-3,32-33", []byte{0x0f, 0, 0, 0, 3}, ""}, {" 1, 2 ,\t1-2", []byte{6}, ""}, {"16,0", []byte{1, 0, 1}, ""},
		{"65535", append(make([]byte, 8191), 0x80), ""},
		{"", nil, "empty"}, {" , ", nil, "empty"}, {"-", nil, "invalid syntax"}, {"1-", nil, "invalid syntax"}, {"-3", nil, "invalid syntax"},
		{"1 - 2", nil, "invalid syntax"}, {"54-53", nil, "ends before"}, {"0-4294967295", nil, "more than any"}, {"65536", nil, "more than any"},
		{"99999999999", nil, "out of range"}, {"0x3", nil, "invalid syntax"},
	} {
		got, err := setBits(c.list)
		if !bytes.Equal(got, c.want) || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: %v, %v, want %v, %q", c.list, got, err, c.want, c.err)
		}
	}
}
