package dbus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

func encoded(t testing.TB, m *Message) []byte {
	t.Helper()
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestReadTruncated(t *testing.T) {
	for _, c := range messages() {
		data := encoded(t, c.m)
		for n := range data {
			want := io.ErrUnexpectedEOF
			if n == 0 {
				want = io.EOF
			}
			if _, err := Read(bytes.NewReader(data[:n])); !errors.Is(err, want) {
				t.Errorf("%s after %d of %d bytes: %v", c.name, n, len(data), err)
			}
		}
		if _, err := Read(iotest.OneByteReader(bytes.NewReader(data))); err != nil {
			t.Errorf("%s byte by byte: %v", c.name, err)
		}
	}
}

func TestReadErrorOfReader(t *testing.T) {
	data := encoded(t, call("M", "x"))
	timeout := errors.New("the deadline")
	for _, n := range []int{0, 3, 16, 40} {
		if _, err := Read(io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(timeout))); !errors.Is(err, timeout) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

// raw is a reply in little endian with a body of these bytes.
func raw(signature string, body ...byte) []byte {
	e := encoder{'l', byte(TypeMethodReply), 0, 1}
	e = binary.LittleEndian.AppendUint32(e, uint32(len(body)))
	e = binary.LittleEndian.AppendUint32(e, 1) // serial
	fields := encoder{5, 1, 'u', 0, 1, 0, 0, 0}
	if signature != "" {
		fields = append(fields, 8, 1, 'g', 0, byte(len(signature)))
		fields = append(append(fields, signature...), 0)
	}
	e = binary.LittleEndian.AppendUint32(e, uint32(len(fields)))
	e = append(e, fields...)
	e.align(8)
	return append(e, body...)
}

// Each is refused for one reason, which the next to it does not have.
func TestReadMalformed(t *testing.T) {
	at := func(data []byte, at int, b ...byte) []byte {
		copy(data[at:], b)
		return data
	}
	change := func(i int, b ...byte) []byte { return at(raw("s", 1, 0, 0, 0, 'x', 0), i, b...) }
	variants := func(n int) []byte {
		body := append(bytes.Repeat([]byte{1, 'v', 0}, n-1), 1, 'y', 0, 5)
		return raw("v", body...)
	}
	for _, c := range []struct {
		name string
		data []byte
		ok   bool
	}{
		{"string", change(0), true},
		{"nonsense", []byte("nonsense, and more of it than a header"), false},
		{"byte order", change(0, 'x'), false},
		{"type 0", change(1, 0), false},
		{"type that is unknown", change(1, 9), true},
		{"flags that are unknown", change(2, 0xff), true},
		{"version", change(3, 2), false},
		{"serial 0", change(8, 0), false},
		{"field that is unknown", at(raw("s"), 24, 200), true},
		{"field 0", change(24, 0), false},
		{"field of another type", change(24, 1), false},
		{"field twice", change(24, 5, 1, 'u', 0, 1, 0, 0, 0), false},
		{"lacking field", change(16, 200), false},
		{"padding", change(31, 1), false},
		{"text goes on", raw("s", 2, 0, 0, 0, 'x', 0), false},
		{"text of the longest length", raw("s", 0xff, 0xff, 0xff, 0xff, 'x', 0), false},
		{"text without end", raw("s", 1, 0, 0, 0, 'x', 'x'), false},
		{"text with NUL", raw("s", 1, 0, 0, 0, 0, 0), false},
		{"text that is not UTF-8", raw("s", 1, 0, 0, 0, 0xff, 0), false},
		{"data after the body", raw("s", 1, 0, 0, 0, 'x', 0, 0), false},
		{"body without signature", raw("", 0), false},
		{"signature without body", raw("s"), false},
		{"empty signature", change(24, 8, 1, 'g', 0, 0, 0), false}, // the body is left
		{"path", raw("o", 1, 0, 0, 0, '/', 0), true},
		{"path that is none", raw("o", 1, 0, 0, 0, 'x', 0), false},
		{"signature", raw("g", 1, 'x', 0), true},
		{"signature that is none", raw("g", 1, 'a', 0), false},
		{"true", raw("b", 1, 0, 0, 0), true},
		{"boolean 2", raw("b", 2, 0, 0, 0), false},
		{"variant", raw("v", 1, 'y', 0, 5), true},
		{"variant of nothing", raw("v", 0, 0), false},
		{"variant of two", raw("v", 2, 'y', 'y', 0, 5, 5), false},
		{"64 variants", variants(64), true},
		{"65 variants", variants(65), false},
		{"array", raw("aq", 2, 0, 0, 0, 5, 0), true},
		{"array goes on", raw("aq", 4, 0, 0, 0, 5, 0), false},
		{"array above 64 MiB", raw("ay", 1, 0, 0, 4), false},
		{"array without length", raw("ay", 1, 0, 0), false},
		{"variant without value", raw("v", 1), false},
		{"array ends within an element", raw("aqq", 3, 0, 0, 0, 5, 0, 6, 0), false},
		{"empty array with padding", raw("at", 0, 0, 0, 0, 0, 0, 0, 0), true},
		{"empty array without padding", raw("at", 0, 0, 0, 0), false},
		{"empty array with data as padding", raw("at", 0, 0, 0, 0, 1, 0, 0, 0), false},
		{"dict", raw("a{yy}", 2, 0, 0, 0, 0, 0, 0, 0, 1, 2), true},
		{"dict with half an entry", raw("a{yy}", 1, 0, 0, 0, 0, 0, 0, 0, 1), false},
	} {
		if m, err := Read(bytes.NewReader(c.data)); (err == nil) != c.ok {
			t.Errorf("%s: %+v, %v", c.name, m, err)
		} else if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v, as if the peer were gone", c.name, err)
		}
	}
}

// allocated is how much memory f takes, in bytes.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// A length that is only said takes no memory.
func TestReadClaimedLength(t *testing.T) {
	long := func(at int, length uint32) []byte {
		data := raw("s", 1, 0, 0, 0, 'x', 0)
		binary.LittleEndian.PutUint32(data[at:], length)
		return data
	}
	for name, data := range map[string][]byte{
		"header of 64 MiB":      long(12, maxArray),
		"header above it":       long(12, maxArray+1),
		"longest header":        long(12, 1<<32-1),
		"body of 127 MiB":       long(4, 127<<20),
		"message above 128 MiB": long(4, maxMessage-39),
		"longest body":          long(4, 1<<32-1),
		"array of 64 MiB":       raw("at", 0, 0, 0, 4, 0, 0, 0, 0),
		"bytes of 64 MiB":       raw("ay", 0, 0, 0, 4),
		"text of 64 MiB":        raw("s", 0, 0, 0, 4, 'x'),
	} {
		var err error
		if n := allocated(func() { _, err = Read(bytes.NewReader(data)) }); err == nil || n > 64<<10 {
			t.Errorf("%s: %v, after %d bytes of memory", name, err, n)
		}
	}
}

// What a peer sends is not quoted without end.
func TestReadLongText(t *testing.T) {
	data := raw("s", append([]byte{0, 0, 16, 0, 0xff}, append(bytes.Repeat([]byte{'x'}, 1<<20-1), 0)...)...)
	if _, err := Read(bytes.NewReader(data)); err == nil || len(err.Error()) > 300 || !strings.Contains(err.Error(), "UTF-8") {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}

// FuzzRead: nothing makes Read panic, and what it accepts is the same to godbus,
// except for what that refuses: unknown types and fields of messages, dicts whose
// keys are signatures, and an empty dict in 63 containers.
func FuzzRead(f *testing.F) {
	for _, c := range messages() {
		f.Add(encoded(f, c.m))
		f.Add(written(f, c.m, binary.BigEndian, c.body...))
	}
	f.Add(written(f, &Message{Type: TypeMethodReply, Serial: 1, ReplySerial: 1}, binary.BigEndian, map[string]int16{"a": 1}, struct{ A, B byte }{}))
	f.Fuzz(compareRead)
}

// FuzzReadBody is FuzzRead for bodies of any signature.
func FuzzReadBody(f *testing.F) {
	f.Add("a{yy}", []byte{2, 0, 0, 0, 0, 0, 0, 0, 1, 2})
	f.Add("aqha(yv)", []byte{2, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0})
	f.Add("(sv)ado", []byte{1, 0, 0, 0, 'x', 0, 2, 'a', 's', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, '/', 0})
	f.Add("gbnix", []byte{1, 'v', 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, signature string, body []byte) {
		if len(signature) < 256 {
			compareRead(t, raw(signature, body...))
		}
	})
}

func compareRead(t *testing.T, data []byte) {
	m, err := Read(bytes.NewReader(data))
	if err != nil || m.Type > TypeSignal {
		return
	}
	data = bytes.Clone(data)
	data[2] = 0 // godbus refuses flags that are unknown
	// A dict in godbus is a map, which keeps each NaN.
	if bytes.Contains(data, []byte("{d")) || bytes.Contains(data, []byte("{g")) {
		return
	}
	want, err := decodeByOther(data)
	if err != nil {
		if s := err.Error(); !strings.Contains(s, "invalid header") && !strings.Contains(s, "depth") {
			t.Fatalf("only we accept %+v: %v", m, err)
		}
		return
	}
	if canon(m.Body) != canon(want.Body) {
		t.Fatalf("body\n got %v\nwant %v", canon(m.Body), canon(want.Body))
	}
	if again, err := m.Encode(); err == nil {
		if m2, err := Read(bytes.NewReader(again)); err != nil || canon(m2.Body) != canon(m.Body) {
			t.Fatalf("sent again: %+v, %v", m2, err)
		}
	}
}
