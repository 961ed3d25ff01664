package criu

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
)

// The bytes are worked out by hand, of CRIU's rpc.proto and the encoding's rules.
func TestEncode(t *testing.T) {
	for _, c := range []struct {
		name string
		r    request
		want string
	}{
		{"version, the connection stays", request{kind: version, keepOpen: true}, "080a 2001"},
		{"refusal of a notification", request{kind: notification}, "0806 1800"},
		{"consent to a notification", request{kind: notification, success: true}, "0806 1801"},
		{"features", request{kind: featureCheck, features: 1<<MemoryTracking | 1<<LazyPages}, "0809 2a04 0801 1001"},
		{"options at least", request{kind: Dump, options: &Options{ImagesDir: 300, WorkDir: -1}},
			"0801 120d" + "08ac02" + "6001" + "c00101" + "4804" + "900200"},
	} {
		want, err := hex.DecodeString(strings.ReplaceAll(c.want, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.r.encode(); !bytes.Equal(got, want) {
			t.Errorf("%s: %x, want %x", c.name, got, want)
		}
	}
}

// numbers are the fields of a message: how often each occurs.
func numbers(t *testing.T, data []byte) map[int]int {
	t.Helper()
	m := map[int]int{}
	if err := fields(data, func(field int, _ int64, _ []byte) error { m[field]++; return nil }); err != nil {
		t.Fatal(err)
	}
	return m
}

// Each option alone adds the field that CRIU's rpc.proto has for it.
func TestOptions(t *testing.T) {
	encode := func(o Options) map[int]int {
		var e encoder
		o.encode(&e)
		return numbers(t, e.buf)
	}
	base := encode(Options{WorkDir: -1})
	seen := map[string]bool{"ImagesDir": true, "Cgroups": true} // always there
	for name, c := range map[string]struct {
		set   func(*Options)
		field int
	}{
		"WorkDir": {func(o *Options) { o.WorkDir = 0 }, 17}, "LogFile": {func(o *Options) { o.LogFile = "x" }, 10}, "PID": {func(o *Options) { o.PID = 1 }, 2},
		"Root": {func(o *Options) { o.Root = "/" }, 13}, "ParentDir": {func(o *Options) { o.ParentDir = "../x" }, 14},
		"LeaveRunning": {func(o *Options) { o.LeaveRunning = true }, 3}, "ExtUnixSockets": {func(o *Options) { o.ExtUnixSockets = true }, 4},
		"TCPEstablished": {func(o *Options) { o.TCPEstablished = true }, 5}, "EvasiveDevices": {func(o *Options) { o.EvasiveDevices = true }, 6},
		"ShellJob": {func(o *Options) { o.ShellJob = true }, 7}, "FileLocks": {func(o *Options) { o.FileLocks = true }, 8},
		"TrackMemory": {func(o *Options) { o.TrackMemory = true }, 15}, "AutoDedup": {func(o *Options) { o.AutoDedup = true }, 16},
		"LinkRemap": {func(o *Options) { o.LinkRemap = true }, 18}, "Sibling": {func(o *Options) { o.Sibling = true }, 26},
		"TCPSkipInFlight": {func(o *Options) { o.TCPSkipInFlight = true }, 46}, "LazyPages": {func(o *Options) { o.LazyPages = true }, 48},
		"OrphanTerminal": {func(o *Options) { o.OrphanTerminal = true }, 50},
		"PageServer":     {func(o *Options) { o.PageServer, o.PagePort = "::1", 9 }, 11},
		"CgroupRoots":    {func(o *Options) { o.CgroupRoots = []Pair{{"", "/x"}} }, 25}, "Freezer": {func(o *Options) { o.Freezer = "/x" }, 44},
		"EmptyNS": {func(o *Options) { o.EmptyNS = 1 << 30 }, 38}, "JoinNS": {func(o *Options) { o.JoinNS = []Pair{{"uts", "/x"}} }, 39},
		"External": {func(o *Options) { o.External = []string{"net[1]:x"} }, 37}, "Mounts": {func(o *Options) { o.Mounts = []Pair{{"/a", "/b"}} }, 23},
		"Inherit": {func(o *Options) { o.Inherit = []InheritFD{{"pipe:[1]", 0}} }, 27}, "ConfigFile": {func(o *Options) { o.ConfigFile = "/x" }, 51},
		"LSMProfile": {func(o *Options) { o.LSMProfile = "a:b" }, 53}, "LSMContext": {func(o *Options) { o.LSMContext = "c" }, 63},
	} {
		o := Options{WorkDir: -1}
		c.set(&o)
		got := encode(o)
		got[c.field]--
		if got[c.field] == 0 {
			delete(got, c.field)
		}
		if !reflect.DeepEqual(got, base) {
			t.Errorf("%s: the fields are %v and %d, without it %v", name, got, c.field, base)
		}
		seen[name] = true
	}
	for i := range reflect.TypeFor[Options]().NumField() {
		if name := reflect.TypeFor[Options]().Field(i).Name; !seen[name] && name != "PagePort" {
			t.Errorf("%s is not tried", name)
		}
	}
}

func TestDecode(t *testing.T) {
	// kind 6, success, a notification of process 1234, errno 13, features, message;
	// unknown fields of all four kinds in between.
	data, err := hex.DecodeString("0806" + "1001" + "f80701" + "2a0e" + "0a09" + hex.EncodeToString([]byte("post-dump")) + "10d209" +
		"fd0701020304" + "380d" + "f9070102030405060708" + "42020801" + "fa0702aabb" + "4a0161")
	if err != nil {
		t.Fatal(err)
	}
	r, err := decodeResponse(data)
	if err != nil {
		t.Fatal(err)
	}
	if r.kind != notification || !r.success || r.features != 1<<1 || r.errno != 13 || r.message != "a" || r.script != "post-dump" || r.subject != 1234 {
		t.Errorf("%+v", r)
	}
	for n := range data { // a message that ends too early
		_, _ = decodeResponse(data[:n])
	}
	for _, bad := range []string{"08", "0a05", "0f", "00", "0affffffffffffffffff01", "0d0000", "2a0208", "ffffffffffffffffffff01"} {
		data, _ := hex.DecodeString(bad)
		if r, err := decodeResponse(data); err == nil {
			t.Errorf("%s is accepted: %+v", bad, r)
		}
	}
}

func TestVersions(t *testing.T) {
	for text, want := range map[string]Version{"080310111a00": {3, 17, 0}, "08031011" + "2001": {3, 17, 1}, "080310101a0161" + "2001": {3, 17, 0}} {
		data, _ := hex.DecodeString(text)
		var v Version
		if err := v.decode(data); err != nil || v != want {
			t.Errorf("%s: %v, want %v: %v", text, v, want, err)
		}
	}
	for _, v := range []Version{{2, 99, 9}, {3, 15, 9}, {3, 2, 0}} {
		if !v.less(Least()) {
			t.Errorf("%v is not too old", v)
		}
	}
	for _, v := range []Version{{3, 16, 0}, {3, 17, 1}, {4, 0, 0}} {
		if v.less(Least()) {
			t.Errorf("%v is too old", v)
		}
	}
}

func TestParseServer(t *testing.T) {
	for s, want := range map[string]string{"10.0.0.1:80": "10.0.0.1 80", "[::1]:65535": "::1 65535", "host:1": "host 1"} {
		address, port, err := ParseServer(s)
		if got := address + " " + itoa(port); got != want || err != nil {
			t.Errorf("%s: %s: %v", s, got, err)
		}
	}
	for s, want := range map[string]string{"": "ADDRESS:PORT", "host": "ADDRESS:PORT", ":80": "ADDRESS:PORT", "host:": "ADDRESS:PORT", "::1:80": "ADDRESS:PORT",
		"[::1:80": "ADDRESS:PORT", "[]:80": "ADDRESS:PORT", "host:0": "Invalid port", "host:65536": "Invalid port", "host:x": "Invalid port"} {
		if _, _, err := ParseServer(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{8, 10, 16, 1, 0x52, 4, 8, 3, 16, 17})
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := decodeResponse(data); (r == nil) == (err == nil) && err == nil {
			t.Error("neither a message nor an error")
		}
	})
}
