package dbus

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode"

	oracle "github.com/godbus/dbus/v5"
)

func decodeByOther(data []byte) (m *oracle.Message, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return oracle.DecodeMessage(bytes.NewReader(data))
}

// parseByOther: godbus panics for "[]" if the signature is no array.
func parseByOther(text, signature string) (v oracle.Variant, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return oracle.ParseVariant(text, oracle.ParseSignatureMust(signature))
}

// Both have the same value, or none.
func TestParseAsOther(t *testing.T) {
	texts := []string{"", " ", "0", "1", "-1", "255", "256", "-128", "32767", "32768", "-32768", "-32769", "65535", "65536", "2147483647", "2147483648",
		"-2147483648", "4294967295", "4294967296", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "18446744073709551615",
		"18446744073709551616", "0x10", "0xff", "0X10", "010", "00", "0x", "0b1", "1_0x", "1.5", "1.", ".", "1e3", "1E3", "1e", "-1.5e-3", "1e400", "0x1p3", "0x1.8",
		"--1", "+-1", "-", "true", "false", "True", "yes", `"abc"`, `'abc'`, `"a'b"`, `'a"b'`, `"abc`, `"abc\"`, `abc`, `"\a\b\f\n\r\t\\\"\'\q"`, "\"a\\\nb\"",
		`"\u00e4\U0001f603"`, `"\u00e"`, `"\uzzzz"`, `"\U0001f60"`, `"ä"`, "\"\xff\"", `"/a/b"`, `"/"`, `"as"`, `""`, "[]", "[ ]", "[1]", "[1, 2,3 , 4]", "[1,]", "[,1]",
		"[1 2]", "[1", "[", "]", "[1, 2.5]", `["a", 'b']`, `["a", 1]`, "[true, false]", "[true, 1]", "[byte 3]", "[byte 3, 4]", "[3, byte 4]", "[byte 3, int16 4]",
		"[@t 1, 2]", `[@o "/a", "/b"]`, `[objectpath "/a", "b"]`, "uint64 5", "byte 3", "boolean true", "boolean 1", "int16 -5", "uint16 5", "int32 5", "uint32 5", "int64 5", `string "x"`,
		`objectpath "/x"`, `signature "as"`, "uint64 -5", "uint64", "uint64 uint64 5", "@t 5", "@t5", "@as []", `@as ["a"]`, "@ay [1, 2]", "@ay [1, 256]", "@ay []", "@as [1]", "@s 5",
		`@t "5"`, "@x true", "@b true", "uint64[1]", "@ay[1]", "byte [1]", "  5  ", "\t5\n", " [ 1 , 2 ] ", `b'abc'`, `b"abc"`, `b''`, `b'\x41\0101\a\b\f\n\r\t\'\q'`, `b'\x4'`, `b'\0777'`,
		"b'\xff'", `b'abc`, `@ay b'x'`, `@as b'x'`, `[b'x', b'y']`, "[[1], [2, 3]]", "[[1], []]", "[[], [1]]", "[[1], 2]", "@aai [[1], []]", "5 uint32", "[1}"}
	for _, signature := range signatures() {
		for _, text := range texts {
			if knownDifference(text) {
				t.Errorf("%q is here and a known difference", text)
			}
			compareParse(t, text, signature)
		}
	}
}

// signatures are those of settable properties, and the others that are parsable.
func signatures() []string {
	list := []string{"", "aas", "aay"}
	for _, c := range strings.Replace(basic, "h", "", 1) {
		list = append(list, string(c), "a"+string(c))
	}
	return list
}

func compareParse(t *testing.T, text, signature string) {
	t.Helper()
	got, err := Parse(text, signature)
	want, otherErr := parseByOther(text, signature)
	if (err == nil) != (otherErr == nil) {
		if err != nil && refusedByUs.MatchString(err.Error()) {
			return
		}
		if signature != "" {
			signature = "a" + signature
		}
		if _, nested := parseByOther("["+text+"]", signature); err != nil && nested != nil {
			return // godbus does not look at what follows a value, except in an array
		}
		t.Errorf("Parse(%q, %q): got %v, %v, want %v, %v", text, signature, got, err, want, otherErr)
		return
	}
	if err == nil && (got.Signature() != want.Signature().String() || canon(got.Value()) != canon(want.Value())) {
		t.Errorf("Parse(%q, %q): got %v, want %v", text, signature, got, want)
	}
}

// refusedByUs are errors about what godbus accepts: what follows a value, paths
// and signatures that it refuses only when it sends them, NULs, surrogates and
// what is not a character, types that need no text form, and deep arrays.
var refusedByUs = regexp.MustCompile(`after the end of the value|is not an object path|is not a signature|has a NUL|digits of a character|has no text form|have no text form|too deep|nested`)

// knownDifference tells text that has something that godbus reads otherwise, or
// not, although the format has it.
func knownDifference(text string) bool {
	for _, r := range text {
		if r > unicode.MaxASCII && unicode.IsNumber(r) {
			return true // godbus does not come to an end
		}
	}
	return differs.MatchString(text)
}

var differs = regexp.MustCompile(strings.Join([]string{
	`[+-]0[0-9x]`,                           // a sign before hexadecimal and octal numbers
	`\+[0-9]`,                               // + before unsigned numbers
	`0x0[0-9a-fA-F]`,                        // read as octal
	`0x[0-9a-fA-F]*e`,                       // read as a double
	`(^|[^0-9a-zA-Z.])0[0-7]*\.?[0-7]*[89]`, // ends before 8 and 9: 0.9 is 0
	`(^|[^0-9])\.[0-9]`,                     // only -.5 and +.5 are numbers
	`inf`, `nan`, `double`,                  // not known, or by the wrong name
	`\\v`,                      // is v
	`@\s`,                      // no type is a type
	`\[\s*\[[\[\],\s]*\]\s*\]`, // arrays of empty arrays only are empty
	`[<{(]`,                    // variants, dicts and structs need no text form
}, "|"))

// What the format has and godbus does not read as it says.
func TestParseDifferences(t *testing.T) {
	for _, c := range []struct {
		text, signature string
		want            any
	}{
		{"double 5", "", 5.0},
		{"double 5", "d", 5.0},
		{"@d 5", "d", 5.0},
		{"inf", "", math.Inf(1)},
		{"-infinity", "d", math.Inf(-1)},
		{"[1, inf]", "", []float64{1, math.Inf(1)}},
		{"+5", "t", uint64(5)},
		{"+5", "i", int32(5)},
		{"-0x10", "i", int32(-16)},
		{"-010", "i", int32(-8)},
		{"-0x80000000", "i", int32(math.MinInt32)},
		{"0x010", "t", uint64(16)},
		{"0x0f", "y", byte(15)},
		{"[0x0e, 0x1e]", "ay", []byte{14, 30}},
		{"0x1e", "", int32(30)},
		{"0.9", "", 0.9},
		{".5", "", 0.5},
		{"08.5", "d", 8.5},
		{`"\v"`, "s", "\v"},
		{`b'\v'`, "ay", []byte("\v\x00")},
		{"[[]]", "aas", [][]string{{}}},
	} {
		got, err := Parse(c.text, c.signature)
		if err != nil || !reflect.DeepEqual(got.Value(), c.want) {
			t.Errorf("Parse(%q, %q): got %v, %v, want %v", c.text, c.signature, got, err, c.want)
		}
	}
	if v, err := Parse("nan", ""); err != nil || !math.IsNaN(v.Value().(float64)) {
		t.Errorf("nan: got %v, %v", v, err)
	}
	deep := func(n int) string { return strings.Repeat("[", n) + "1" + strings.Repeat("]", n) }
	if _, err := Parse(deep(maxTextDepth), ""); err != nil {
		t.Error(err)
	}
	for text, signature := range map[string]string{
		"5 5": "", "5 rubbish": "t", "5]": "", "true5": "", `"a" "b"`: "s", `"abc" "`: "s", "08": "", "1_0": "t", "½": "", "-0": "t", "0x10": "d", "[]": "",
		`"x"`: "o", `"a"`: "g", `'/a/'`: "ao", `"\u0000"`: "", "\"a\x00\"": "s", `"\ud800"`: "s", `"\U00110000"`: "s", `"\Uffffffff"`: "s", "int32 5": "t", "<5>": "v", "{}": "a{sv}",
		"(1, 2)": "(ii)", "just 5": "mi", "5": "h", "@mi 5": "", "@v <5>": "", "<1>": "", "{'a': 1}": "", "@ 5": "", "[[]]": "as", "@zz 5": "", "[@ay [], 5]": "", "[[], 5]": "",
		deep(maxTextDepth + 1): ""} {
		if v, err := Parse(text, signature); err == nil {
			t.Errorf("Parse(%q, %q): got %v", text, signature, v)
		}
	}
}

func TestString(t *testing.T) {
	for want, v := range map[string]any{
		`1`: int32(1), `true`: true, `"a\"\\\u0007\u007fä\U000e0001"`: "a\"\\\a\x7fä\U000e0001", `@y 0x5`: byte(5), `@ay [0x1, 0xff]`: []byte{1, 255},
		`@as []`: []string{}, `["a", "b"]`: []string{"a", "b"}, `@t 5`: uint64(5), `@d 1.5`: 1.5, `@d -inf`: math.Inf(-1), `@d inf`: math.Inf(1), `@d nan`: math.NaN(),
		`@o "/a"`: ObjectPath("/a"), `@ag ["s"]`: []Signature{"s"}, `@aat [[], [1]]`: [][]uint64{{}, {1}}, `<@n 1>`: MakeVariant(int16(1)), `[<1>]`: []Variant{MakeVariant(int32(1))},
		`@(si) {a 1}`: struct {
			A string
			B int32
		}{"a", 1}, `<nil>`: nil, `map[]`: map[string]string{},
	} {
		if got := MakeVariant(v).String(); got != want {
			t.Errorf("%v: got %s, want %s", v, got, want)
		}
	}
}

// An element does not look at all of the rest, which would take minutes for a text
// of a megabyte.
func TestParseLongArray(t *testing.T) {
	const n = 20_000
	for text, signature := range map[string]string{"1": "at", "true": "ab", `"a"`: "as", "byte 1": "ay", "@q 1": "aq"} {
		v, err := Parse("["+strings.Repeat(text+",", n-1)+text+"]", signature)
		if err != nil || reflect.ValueOf(v.Value()).Len() != n {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// FuzzParse: Parse and godbus give the same, apart from the differences above.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"5", "-5", "0xff", "1.5e3", "true", `"a\n\u00e4"`, "'x'", "uint64 5", "@t 5", "[1, 2]", `@as ["a", 'b']`, "[byte 3, 4]", `b'\x41\0101'`, "[[1], []]", " [ ] "} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, signature := range signatures() {
			v, err := Parse(text, signature)
			if err == nil {
				checkAgain(t, v)
			}
			if !knownDifference(text) {
				compareParse(t, text, signature)
			}
		}
	})
}

// checkAgain reads the text form of a value again.
func checkAgain(t *testing.T, v Variant) {
	t.Helper()
	for _, signature := range []string{"", v.Signature()} {
		again, err := Parse(v.String(), signature)
		if err != nil || again.Signature() != v.Signature() || canon(again.Value()) != canon(v.Value()) {
			t.Errorf("%v with %q: got %v, %v", v, signature, again, err)
		}
	}
}

// FuzzRoundTrip: Parse gives back what String has written.
func FuzzRoundTrip(f *testing.F) {
	f.Add("a\"\\\x7f\u00ad\U000e0001", uint64(1<<63), 1e-7, []byte{0, 255})
	f.Add("", uint64(0), math.Inf(-1), []byte{})
	f.Fuzz(func(t *testing.T, s string, n uint64, d float64, b []byte) {
		s = strings.ReplaceAll(strings.ToValidUTF8(s, ""), "\x00", "")
		list := []any{n, int64(n), uint32(n), int32(n), uint16(n), int16(n), byte(n), n%2 == 1, s, []string{s, ""}, []bool{true}, b, []uint64{n}, []int32{int32(n)},
			[][]string{{}, {s}}, [][]byte{b}, ObjectPath("/a"), Signature("as"), []ObjectPath{"/", "/b"}, []string{}}
		if !math.IsNaN(d) {
			list = append(list, d, []float64{d, 1})
		}
		for _, v := range list {
			checkAgain(t, MakeVariant(v))
		}
	})
}
