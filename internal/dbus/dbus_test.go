package dbus

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	oracle "github.com/godbus/dbus/v5"
)

// canon is a text that two values share if they are the same, whichever package
// they are of: dicts are sorted, and a key's last value counts.
func canon(v any) string {
	switch v := v.(type) {
	case Variant:
		return fmt.Sprintf("<%s %s>", v.Signature(), canon(v.Value()))
	case oracle.Variant:
		return fmt.Sprintf("<%s %s>", v.Signature(), canon(v.Value()))
	case oracle.Signature:
		return canon(Signature(v.String()))
	case oracle.UnixFDIndex:
		return canon(uint32(v))
	case float64:
		return fmt.Sprintf("double %x", math.Float64bits(v))
	}
	r := reflect.ValueOf(v)
	var list []string
	switch r.Kind() {
	case reflect.Map, reflect.Slice:
		dict := map[string]string{}
		if r.Kind() == reflect.Map {
			for i := r.MapRange(); i.Next(); {
				dict[canon(i.Key().Interface())] = canon(i.Value().Interface())
			}
		} else if pairs, ok := v.([]Pair); ok {
			for _, p := range pairs {
				dict[canon(p.Key)] = canon(p.Value)
			}
		} else {
			for i := range r.Len() {
				list = append(list, canon(r.Index(i).Interface()))
			}
		}
		for key, value := range dict {
			list = append(list, key+": "+value)
			slices.Sort(list)
		}
		return "[" + strings.Join(list, ", ") + "]"
	}
	return fmt.Sprintf("%s %#v", r.Type().Name(), fmt.Sprint(v))
}

// toOracle gives a message to the other package.
func toOracle(m *Message) *oracle.Message {
	o := &oracle.Message{Type: oracle.Type(m.Type), Headers: map[oracle.HeaderField]oracle.Variant{}}
	for i, v := range []any{oracle.ObjectPath(m.Path), m.Interface, m.Member, m.ErrorName, m.ReplySerial, m.Destination, m.Sender} {
		if !reflect.ValueOf(v).IsZero() {
			o.Headers[oracle.HeaderField(1+i)] = oracle.MakeVariant(v)
		}
	}
	return o
}

// written are the bytes that the other package makes of a message and its own body.
func written(t testing.TB, m *Message, order binary.ByteOrder, body ...any) []byte {
	t.Helper()
	o := toOracle(m)
	if o.Body = body; len(body) > 0 {
		o.Headers[oracle.FieldSignature] = oracle.MakeVariant(oracle.SignatureOf(body...))
	}
	var out bytes.Buffer
	if err := o.EncodeTo(&out, order); err != nil {
		t.Fatal(err)
	}
	order.PutUint32(out.Bytes()[8:], m.Serial) // it has no way to set that
	return out.Bytes()
}

const face = "org.freedesktop.systemd1.Manager"

type property struct {
	Name  string
	Value Variant
}

type oracleProperty struct {
	Name  string
	Value oracle.Variant
}

type auxiliary struct {
	Name       string
	Properties []property
}

type oracleAuxiliary struct {
	Name       string
	Properties []oracleProperty
}

func call(member string, body ...any) *Message {
	return &Message{Type: TypeMethodCall, Serial: 7, Path: "/org/freedesktop/systemd1", Interface: face, Member: member,
		Destination: "org.freedesktop.systemd1", Body: body}
}

// messages are what tongs and systemd say to each other, with their bodies in the
// types of the other package.
func messages() []struct {
	name string
	m    *Message
	body []any
} {
	prop := func(name string, v any) property { return property{name, MakeVariant(v)} }
	theirs := func(name string, v any) oracleProperty { return oracleProperty{name, oracle.MakeVariant(v)} }
	type device struct{ Path, Access string }
	pids, devices := []uint32{1, 2, 70000}, []device{{"/dev/null", "rwm"}, {"char-pts", "rw"}}
	properties := []property{prop("Slice", "a.slice"), prop("Delegate", true), prop("PIDs", pids), prop("AllowedCPUs", []byte{1, 2, 3}),
		prop("DeviceAllow", devices), prop("MemoryMax", uint64(math.MaxUint64)), prop("After", []string{}), prop("KillSignal", int32(-1))}
	oracleProperties := []oracleProperty{theirs("Slice", "a.slice"), theirs("Delegate", true), theirs("PIDs", pids), theirs("AllowedCPUs", []byte{1, 2, 3}),
		theirs("DeviceAllow", devices), theirs("MemoryMax", uint64(math.MaxUint64)), theirs("After", []string{}), theirs("KillSignal", int32(-1))}
	reply := func(body ...any) *Message {
		return &Message{Type: TypeMethodReply, Serial: 3, ReplySerial: 7, Sender: ":1.2", Body: body}
	}
	return []struct {
		name string
		m    *Message
		body []any
	}{
		{"start of a unit", call("StartTransientUnit", "x.scope", "replace", properties, []auxiliary{}),
			[]any{"x.scope", "replace", oracleProperties, []oracleAuxiliary{}}},
		{"start of two units", call("StartTransientUnit", "x.scope", "replace", properties, []auxiliary{{"y.scope", properties[:1]}, {"z.scope", nil}}),
			[]any{"x.scope", "replace", oracleProperties, []oracleAuxiliary{{"y.scope", oracleProperties[:1]}, {"z.scope", nil}}}},
		{"change of a unit", call("SetUnitProperties", "x.scope", true, properties[5:]), []any{"x.scope", true, oracleProperties[5:]}},
		{"property", reply(MakeVariant("v257.1")), []any{oracle.MakeVariant("v257.1")}},
		{"nothing", reply(), nil},
		{"job", reply(ObjectPath("/org/freedesktop/systemd1/job/1")), []any{oracle.ObjectPath("/org/freedesktop/systemd1/job/1")}},
		{"end of a job", &Message{Type: TypeSignal, Serial: 1, Path: "/org/freedesktop/systemd1", Interface: face, Member: "JobRemoved",
			Body: []any{uint32(1), ObjectPath("/job/1"), "x.scope", "done"}}, []any{uint32(1), oracle.ObjectPath("/job/1"), "x.scope", "done"}},
		{"error", &Message{Type: TypeError, Serial: 1, ReplySerial: 7, ErrorName: "org.freedesktop.systemd1.NoSuchUnit", Body: []any{"no"}}, []any{"no"}},
		{"each type", reply(byte(1), int16(-2), uint16(3), int32(-4), uint32(5), int64(-6), uint64(7), 8.5, true, "ä", ObjectPath("/"), Signature("a{sv}")),
			[]any{byte(1), int16(-2), uint16(3), int32(-4), uint32(5), int64(-6), uint64(7), 8.5, true, "ä", oracle.ObjectPath("/"),
				oracle.ParseSignatureMust("a{sv}")}},
		{"arrays", reply([]byte{1}, []int16{-2}, [][]uint64{{}, {3}}, []float64{}, []bool{true, false}, []Variant{MakeVariant(MakeVariant("x"))}),
			[]any{[]byte{1}, []int16{-2}, [][]uint64{{}, {3}}, []float64{}, []bool{true, false},
				[]oracle.Variant{oracle.MakeVariant(oracle.MakeVariant("x"))}}},
	}
}

func TestEncodeIsReadByOther(t *testing.T) {
	for _, c := range messages() {
		t.Run(c.name, func(t *testing.T) {
			data, err := c.m.Encode()
			if err != nil {
				t.Fatal(err)
			}
			got, err := oracle.DecodeMessage(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			want, err := oracle.DecodeMessage(bytes.NewReader(written(t, c.m, binary.LittleEndian, c.body...)))
			if err != nil {
				t.Fatal(err)
			}
			if got.Serial() != c.m.Serial || got.Type != want.Type || !reflect.DeepEqual(got.Headers, want.Headers) {
				t.Errorf("header\n got %v\nwant %v", got, want)
			}
			if !reflect.DeepEqual(got.Body, want.Body) {
				t.Errorf("body\n got %v\nwant %v", got.Body, want.Body)
			}
		})
	}
}

func TestReadOfOther(t *testing.T) {
	for _, c := range messages() {
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			t.Run(c.name+" in "+order.String(), func(t *testing.T) {
				data := written(t, c.m, order, c.body...)
				in := bytes.NewReader(append(data, "next"...))
				got, err := Read(in)
				if err != nil {
					t.Fatal(err)
				}
				if in.Len() != len("next") {
					t.Errorf("%d bytes after the message are left of 4", in.Len())
				}
				want, err := oracle.DecodeMessage(bytes.NewReader(data))
				if err != nil {
					t.Fatal(err)
				}
				if canon(got.Body) != canon(want.Body) {
					t.Errorf("body\n got %v\nwant %v", canon(got.Body), canon(want.Body))
				}
				got.Body = c.m.Body
				if !reflect.DeepEqual(got, c.m) {
					t.Errorf("header\n got %+v\nwant %+v", got, c.m)
				}
			})
		}
	}
}

// The Go types of what is received are as documented.
func TestReadTypes(t *testing.T) {
	m := &Message{Type: TypeMethodReply, Serial: 1, ReplySerial: 1}
	type pair struct {
		A byte
		B string
	}
	for _, c := range []struct {
		sent, want any
		signature  string
	}{
		{map[string]oracle.Variant{"a": oracle.MakeVariant(uint16(1))}, []Pair{{"a", Variant{"q", uint16(1)}}}, "a{sv}"},
		{map[byte]string{}, []Pair{}, "a{ys}"},
		{pair{1, "x"}, []any{byte(1), "x"}, "(ys)"},
		{[]pair{{1, "x"}}, [][]any{{byte(1), "x"}}, "a(ys)"},
		{[]pair{}, [][]any{}, "a(ys)"},
		{[]string{"a"}, []string{"a"}, "as"},
		{[]byte{}, []byte{}, "ay"},
		{[][]byte{{1}}, [][]byte{{1}}, "aay"},
		{oracle.UnixFDIndex(4), uint32(4), "h"},
		{oracle.MakeVariant(pair{1, "x"}), Variant{"(ys)", []any{byte(1), "x"}}, "v"},
	} {
		got, err := Read(bytes.NewReader(written(t, m, binary.BigEndian, oracle.MakeVariant(c.sent))))
		if err != nil {
			t.Fatal(err)
		}
		if want := (Variant{c.signature, c.want}); !reflect.DeepEqual(got.Body[0], want) {
			t.Errorf("%v: got %#v, want %#v", c.sent, got.Body[0], want)
		}
	}
}

func TestEncodeRefusals(t *testing.T) {
	type recursive struct{ A, B []recursive }
	deep := MakeVariant("x")
	for range maxDepth {
		deep = MakeVariant(deep)
	}
	with := func(change func(m *Message)) *Message {
		m := call("M")
		change(m)
		return m
	}
	huge := make([]byte, maxArray+1)
	for name, m := range map[string]*Message{
		"nil":                   call("M", nil),
		"int":                   call("M", 1),
		"map":                   call("M", map[string]string{}),
		"pointer":               call("M", new(string)),
		"any":                   call("M", []any{"x"}),
		"pair":                  call("M", Pair{"x", "y"}),
		"empty struct":          call("M", struct{}{}),
		"unexported field":      call("M", struct{ a string }{}),
		"recursive type":        call("M", recursive{}),
		"zero variant":          call("M", Variant{}),
		"variant of nil":        call("M", MakeVariant(nil)),
		"variant of a map":      call("M", MakeVariant(map[string]string{})),
		"received struct":       call("M", Variant{"(s)", []any{"x"}}),
		"received descriptor":   call("M", Variant{"h", uint32(1)}),
		"NUL":                   call("M", "a\x00b"),
		"not UTF-8":             call("M", []string{"\xff"}),
		"empty path":            call("M", ObjectPath("")),
		"relative path":         call("M", ObjectPath("a/b")),
		"path with a dash":      call("M", ObjectPath("/a-b")),
		"path ends in a slash":  call("M", ObjectPath("/a/")),
		"signature":             call("M", Signature("a")),
		"too deep":              call("M", deep),
		"long array":            call("M", huge),
		"long message":          call("M", huge[1:], huge[1:]),
		"long signature":        call("M", slices.Repeat([]any{"x"}, 256)...),
		"NUL in header":         with(func(m *Message) { m.Destination = "\x00" }),
		"no serial":             with(func(m *Message) { m.Serial = 0 }),
		"no type":               with(func(m *Message) { m.Type = 0 }),
		"call without path":     with(func(m *Message) { m.Path = "" }),
		"call without member":   with(func(m *Message) { m.Member = "" }),
		"reply to nothing":      with(func(m *Message) { m.Type = TypeMethodReply }),
		"error without name":    with(func(m *Message) { m.Type, m.ReplySerial = TypeError, 1 }),
		"signal of nothing":     with(func(m *Message) { m.Type, m.Interface = TypeSignal, "" }),
		"member with a dot":     with(func(m *Message) { m.Member = "a.b" }),
		"member with a digit":   with(func(m *Message) { m.Member = "1a" }),
		"long member":           with(func(m *Message) { m.Member = strings.Repeat("a", 256) }),
		"interface without dot": with(func(m *Message) { m.Interface = "a" }),
		"interface, two dots":   with(func(m *Message) { m.Interface = "a..b" }),
		"error name":            with(func(m *Message) { m.ErrorName = "a.1" }),
	} {
		if data, err := m.Encode(); err == nil {
			t.Errorf("%s: made %d bytes", name, len(data))
		}
	}
}

func TestErrorText(t *testing.T) {
	for _, body := range [][]any{nil, {}, {"text"}, {uint32(1), "text"}, {""}} {
		if got, want := (Error{"a.b", body}).Error(), (oracle.Error{Name: "a.b", Body: body}).Error(); got != want {
			t.Errorf("%v: got %q, want %q", body, got, want)
		}
	}
}

func TestValidSignature(t *testing.T) {
	deep := func(n int, open, end string) string { return strings.Repeat(open, n) + "y" + strings.Repeat(end, n) }
	for _, s := range []string{"", "s", "ybnqiuxtdhsogv", "as", "a{sv}", "a{s(ai)}aas", "(s(iv))", deep(32, "a", ""), deep(32, "(", ")"),
		deep(32, "a(", ")"), deep(32, "a{s", "}"), strings.Repeat("y", 255)} {
		if !ValidSignature(s) {
			t.Errorf("%q is invalid", s)
		}
		if _, err := oracle.ParseSignature(s); err != nil {
			t.Errorf("%q is invalid to the other", s)
		}
	}
	for _, s := range []string{"a", "aa", "z", "()", "(", "(s", "s)", "{sv}", "a{", "a{}", "a{s}", "a{sss}", "a{vs}", "a{(s)s}", "a{sv", "a{assv}", "(a)", "m",
		deep(33, "a", ""), deep(33, "(", ")"), deep(33, "a{s", "}"), strings.Repeat("y", 256), "ä", "\x00"} {
		if ValidSignature(s) {
			t.Errorf("%q is valid", s)
		}
	}
}
