package state

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func sample() *State {
	return &State{
		ID:      "c1",
		PID:     4711,
		Start:   99,
		Created: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
		Config: Config{
			Rootfs:      "/b/rootfs",
			Hostname:    "h",
			Namespaces:  []Namespace{{Type: "NEWPID"}, {Type: "NEWNET", Path: "/run/netns/x"}},
			UIDMappings: []IDMap{{ContainerID: 0, HostID: 1000, Size: 1}},
			Cgroups:     Cgroups{Name: "c1", Path: "/c1"},
			Version:     "1.3.0",
			Labels:      []string{"a=b", "bundle=/b"},
		},
		CgroupPaths:    map[string]string{"": "/sys/fs/cgroup/c1"},
		NamespacePaths: map[string]string{"NEWPID": "/proc/4711/ns/pid"},
		Tongs: Own{
			Format:      Format,
			Phase:       Created,
			Bundle:      "/b",
			OCIVersion:  "1.3.0",
			Root:        Root{Path: "/b/rootfs", Dev: 1<<63 + 1, Ino: 7},
			BootID:      "boot",
			Runtime:     ProcessID{PID: 12, Start: 13},
			Owned:       Owned{Cgroups: []string{"/sys/fs/cgroup/c1"}, Resctrl: []string{"/sys/fs/resctrl/c1"}},
			Annotations: map[string]string{"a": "b"},
		},
	}
}

func TestDecodeGivesWhatWasEncoded(t *testing.T) {
	got, err := Decode(sample().Encode())
	if err != nil {
		t.Fatal(err)
	}
	if want := sample(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// Monitoring agents (cadvisor, GPU tools) and users of libcontainer read these
// keys of runc's.
func TestEncodeHasRuncKeys(t *testing.T) {
	data := sample().Encode()
	for _, want := range []string{
		`"id":"c1"`, `"init_process_pid":4711`, `"init_process_start":99`,
		`"created":"2026-01-02T03:04:05.000000006Z"`, `"config":{"rootfs":"/b/rootfs"`,
		`"namespaces":[{"type":"NEWPID","path":""}`, `"cgroup_paths":{"":"/sys/fs/cgroup/c1"}`,
		`"namespace_paths":{"NEWPID":"/proc/4711/ns/pid"}`, `"intel_rdt_path":""`, `"rootless":false`,
		`"labels":["a=b","bundle=/b"]`, `"cgroups":{"name":"c1","path":"/c1"`,
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no %s in %s", want, data)
		}
	}
}

// full has no field that is empty, so that none can be forgotten.
func full(t *testing.T) *State {
	st := sample()
	st.Rootless = true
	st.ExternalDescriptors = []string{"/dev/null", "pipe:[5]"}
	st.IntelRdtPath = "/sys/fs/resctrl/c1"
	st.Config.Domainname = "d"
	st.Config.Namespaces = []Namespace{{Type: "NEWNET", Path: "/run/netns/x"}}
	st.Config.UIDMappings = []IDMap{{1, 2, 3}, {4, 5, 6}}
	st.Config.GIDMappings = []IDMap{{7, 8, 1 << 32}}
	st.Config.Cgroups = Cgroups{Name: "n", Parent: "p", Path: "/p", ScopePrefix: "s", Systemd: true, Rootless: true, CPUShares: 2}
	st.Config.NoNewKeyring = true
	st.Config.Labels = []string{"quote=\"\\", "control=\x01\n", "html=<&>", "utf=ä€\U0001f600\u2028", "bad=\xff"}
	st.Tongs.Annotations = map[string]string{"z": "1", "a<": `{"x":["y"]}`, "": ""}
	st.Tongs.SystemdCgroup = true
	st.Tongs.NoNewKeyring = true
	noZero(t, "State", reflect.ValueOf(*st))
	return st
}

func noZero(t *testing.T, path string, v reflect.Value) {
	if v.IsZero() {
		t.Errorf("%s is empty: give it a value in full()", path)
	}
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("json") == "-" {
				continue
			}
			noZero(t, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		noZero(t, path+"[0]", v.Index(0))
	}
}

// The hand-written code must do what the struct tags say.
func TestCodecIsEncodingJSON(t *testing.T) {
	empty := &State{Tongs: Own{Format: Format}}
	for name, st := range map[string]*State{"full": full(t), "empty": empty} {
		want, err := json.Marshal(st)
		if err != nil {
			t.Fatal(err)
		}
		if got := st.Encode(); string(got) != string(want) {
			t.Errorf("%s: encoded\ngot  %s\nwant %s", name, got, want)
		}
		var indented bytes.Buffer
		if err := json.Indent(&indented, want, " ", "\t"); err != nil {
			t.Fatal(err)
		}
		for _, data := range [][]byte{want, indented.Bytes()} {
			var ref State
			if err := json.Unmarshal(data, &ref); err != nil {
				t.Fatal(err)
			}
			got := new(State)
			r := &reader{data: data}
			got.read(r)
			r.end()
			if r.err != nil || !reflect.DeepEqual(got, &ref) {
				t.Errorf("%s: decoded, error %v\ngot  %+v\nwant %+v", name, r.err, got, &ref)
			}
		}
	}
}

// A container of runc's is read as one of ours.
func TestDecodeRunc(t *testing.T) {
	st, err := Decode([]byte(`{"id":"c1","init_process_pid":5,"init_process_start":6,"config":{"rootfs":"/b/rootfs","version":"1.0.2",
		"no_new_keyring":true,"cgroups":{"Systemd":true},"labels":["a=b=c","bundle=made up","bundle=/b"]},"cgroup_paths":{"cpu":"/x/c","cpuacct":"/x/c","pids":"/y/c"}}`))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(st.Tongs.Owned.Cgroups)
	want := Own{Format: Format, Phase: Created, Bundle: "/b", OCIVersion: "1.0.2", Root: Root{Path: "/b/rootfs"}, SystemdCgroup: true, NoNewKeyring: true,
		Owned: Owned{Cgroups: []string{"/x/c", "/y/c"}}, Annotations: map[string]string{"a": "b=c", "bundle": "made up"}}
	if !st.Runc || !reflect.DeepEqual(st.Tongs, want) {
		t.Errorf("got  %+v\nwant %+v", st.Tongs, want)
	}
}

func TestDecodeSkipsUnknownKeys(t *testing.T) {
	data := strings.Replace(string(sample().Encode()), `"tongs":{`,
		`"new":[1,-2.5e3,1e999,{"a":null,"b":[]},"\"",true,{}],"tongs":{"later":{"x":false},`, 1)
	got, err := Decode([]byte(data))
	if err != nil || !reflect.DeepEqual(got, sample()) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := sample().Encode()
	replace := func(old, new string) string {
		if !strings.Contains(string(good), old) {
			t.Fatalf("no %s in %s", old, good)
		}
		return strings.Replace(string(good), old, new, 1)
	}
	for name, c := range map[string]struct{ data, want string }{
		"empty file":               {"", "damaged"},
		"first half":               {string(good[:len(good)/2]), "damaged"},
		"zeros":                    {strings.Repeat("\x00", 300), "damaged"},
		"array":                    {"[]", "damaged"},
		"null":                     {"null", "not written by tongs"},
		"runc's file":              {`{"id":"c1","init_process_pid":5}`, "not written by tongs"},
		"format of the future":     {replace(`"format":1`, `"format":2`), "tongs.format is 2"},
		"unknown phase":            {replace(`"phase":"created"`, `"phase":"gone"`), `unknown tongs.phase "gone"`},
		"pid of all processes":     {replace(`"init_process_pid":4711`, `"init_process_pid":-1`), "out of range"},
		"pid too large":            {replace(`"init_process_pid":4711`, `"init_process_pid":4194305`), "out of range"},
		"no pid":                   {replace(`"init_process_pid":4711`, `"init_process_pid":0`), "is missing"},
		"pid of the runtime":       {replace(`"runtime":{"pid":12`, `"runtime":{"pid":-12`), "out of range"},
		"start as text":            {replace(`"init_process_start":99`, `"init_process_start":"99"`), "damaged"},
		"id with slash":            {replace(`"id":"c1"`, `"id":"../c1"`), "invalid container ID format"},
		"relative cgroup":          {replace(`{"":"/sys/fs/cgroup/c1"}`, `{"":"sys"}`), `cgroup_paths[""]`},
		"cgroup with dots":         {replace(`{"":"/sys/fs/cgroup/c1"}`, `{"":"/sys/fs/cgroup/../../etc"}`), `cgroup_paths[""]`},
		"owned cgroup of the root": {replace(`"cgroups":["/sys/fs/cgroup/c1"]`, `"cgroups":["/"]`), "tongs.owned.cgroups[0]"},
		"comma at the end":         {`{"id":"a",}`, "expected a key"},
		"no comma":                 {`{"id":"a" "x":1}`, "expected a comma"},
		"no colon":                 {`{"id" "a"}`, "expected a colon"},
		"key without quotes":       {`{null:1}`, "expected a key"},
		"fraction for a pid":       {replace(`"init_process_pid":4711`, `"init_process_pid":1.5`), "expected an integer"},
		"pid beyond 64 bits":       {replace(`"init_process_pid":4711`, `"init_process_pid":18446744073709551617`), "expected an integer"},
		"negative start":           {replace(`"init_process_start":99`, `"init_process_start":-1`), "not negative"},
		"time that is none":        {replace(`"created":"2026`, `"created":"x2026`), "expected a time"},
		"control in a string":      {replace(`"id":"c1"`, "\"id\":\"c\n1\""), "control characters"},
		"escape at the end":        {`{"id":"a\`, "the end of a string"},
		"deep nesting":             {`{"x":` + strings.Repeat("[", 1<<20), "less nesting"},
		"unknown word":             {`{"x":nil}`, "true or false"},
		"no value":                 {`{"x":}`, "expected a value"},
		"text after the object":    {string(good) + "x", "damaged"},
	} {
		st, err := Decode([]byte(c.data))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %+v, error %v; want an error with %q", name, st, err, c.want)
		}
	}
}

// FuzzDecode: no input may panic, and what is accepted must be safe to act on.
func FuzzDecode(f *testing.F) {
	good := sample().Encode()
	f.Add(good)
	f.Add(good[:100])
	f.Add([]byte(`{"id":"a","tongs":{"format":1,"phase":"creating"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		st, err := Decode(data)
		if err != nil {
			return
		}
		if st.PID < 0 || st.PID == 0 && st.Tongs.Phase != Creating || ValidID(st.ID) != nil {
			t.Errorf("accepted: %+v", st)
		}
		for _, p := range st.Tongs.Owned.Cgroups {
			if p == "/" || p[0] != '/' || strings.Contains(p+"/", "/../") {
				t.Errorf("accepted owned cgroup %q", p)
			}
		}
		if _, err := Decode(st.Encode()); err != nil {
			t.Errorf("cannot decode what was encoded again: %v", err)
		}
	})
}

func TestValidID(t *testing.T) {
	for id, want := range map[string]string{
		"c1":                      "",
		"A_b+c.d-e":               "",
		"...":                     "",
		"-":                       "",
		strings.Repeat("x", 1024): "",
		strings.Repeat("x", 1025): msgInvalidID,
		"":                        msgEmptyID,
		".":                       msgInvalidID,
		"..":                      msgInvalidID,
		"a/b":                     msgInvalidID,
		"a b":                     msgInvalidID,
		"a\x00":                   msgInvalidID,
		"ä":                       msgInvalidID,
		"a\n":                     msgInvalidID,
	} {
		got := ""
		if err := ValidID(id); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("ValidID(%q): got %q, want %q", id, got, want)
		}
	}
}

// The texts are what Debian's runc 1.1.5 prints; see the comments at msgNotExist.
func TestPhrasesAreRuncs(t *testing.T) {
	for got, want := range map[string]string{
		ErrNotExist.Error(): "container does not exist",
		ErrExist.Error():    "container with given ID already exists",
		msgInvalidID:        "invalid container ID format",
		msgEmptyID:          "container id cannot be empty",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
