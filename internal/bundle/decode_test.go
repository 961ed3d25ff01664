package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// encode is a configuration as JSON.
func encode(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// filler fills every field of a type, or a random part of them.
type filler struct {
	rand *rand.Rand // nil: everything, with numbers counting up
	n    uint64
}

func (f *filler) number() uint64 {
	if f.rand != nil {
		return f.rand.Uint64() >> f.rand.UintN(64)
	}
	f.n++
	return f.n
}

func (f *filler) length() int {
	if f.rand != nil {
		return f.rand.IntN(7)
	}
	return 2
}

func (f *filler) text() string {
	n := f.number()
	return []string{"text", "line\nfeed", "\"\\/\b\f\r\t\x01", "ä€😀", "<&>\u2028\x7f", "", "a.b"}[n%7] + fmt.Sprint(n)
}

func (f *filler) fill(v reflect.Value) {
	if f.rand != nil && f.rand.UintN(4) == 0 {
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString(f.text())
	case reflect.Int, reflect.Int32, reflect.Int64:
		n := int64(f.number())
		for v.OverflowInt(n) {
			n >>= 1
		}
		if f.rand != nil && n%2 == 0 {
			n = -n
		}
		v.SetInt(n)
	case reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n := f.number()
		for v.OverflowUint(n) {
			n >>= 1
		}
		v.SetUint(n)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			f.fill(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), f.length(), 8))
		for i := range v.Len() {
			f.fill(v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range f.length() {
			value := reflect.New(v.Type().Elem()).Elem()
			f.fill(value)
			v.SetMapIndex(reflect.ValueOf(f.text()), value)
		}
	case reflect.Interface:
		v.Set(reflect.ValueOf(map[string]any{"a": []any{1.5, "x", true, nil, map[string]any{}}}))
	default:
		panic("cannot fill " + v.Type().String())
	}
}

func maximalSpec() *specs.Spec {
	spec := new(specs.Spec)
	new(filler).fill(reflect.ValueOf(spec).Elem())
	return spec
}

// same decodes data both ways and compares.
func same(t *testing.T, name string, data []byte) {
	t.Helper()
	var want specs.Spec
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatalf("%s: encoding/json: %v", name, err)
	}
	got, warnings, err := Decode(data)
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, data)
	}
	if len(warnings) > 0 {
		t.Errorf("%s: warnings %q", name, warnings)
	}
	if !reflect.DeepEqual(got, &want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, encode(t, got), encode(t, want))
	}
}

func TestDecodeLikeEncodingJSON(t *testing.T) {
	same(t, "example", encode(t, Example()))
	same(t, "rootless example", encode(t, ExampleRootless(1000, 1000)))
	maximal := maximalSpec()
	same(t, "maximal", encode(t, maximal))
	got, _, err := Decode(encode(t, maximal))
	if err != nil || !reflect.DeepEqual(got, maximal) {
		t.Errorf("maximal does not come back: %v\n%s", err, encode(t, got))
	}
	for seed := range uint64(300) {
		spec := new(specs.Spec)
		f := filler{rand: rand.New(rand.NewPCG(seed, 1))}
		f.fill(reflect.ValueOf(spec).Elem())
		same(t, fmt.Sprint("random ", seed), encode(t, spec))
	}
}

// TestDecodeParts does the same for the two other documents.
func TestDecodeParts(t *testing.T) {
	spec := maximalSpec()
	process, warnings, err := DecodeProcess(encode(t, spec.Process))
	if err != nil || len(warnings) > 0 || !reflect.DeepEqual(process, spec.Process) {
		t.Errorf("process: %v %q\n%s", err, warnings, encode(t, process))
	}
	resources, warnings, err := DecodeResources(encode(t, spec.Linux.Resources))
	if err != nil || len(warnings) > 0 || !reflect.DeepEqual(resources, spec.Linux.Resources) {
		t.Errorf("resources: %v %q\n%s", err, warnings, encode(t, resources))
	}
}

// TestDecodeMutations puts a value of every kind in every place of a document
// that has all fields. What is accepted there, and what it means, must be what
// encoding/json accepts: for single values there is no reason to be stricter.
func TestDecodeMutations(t *testing.T) {
	var document any
	decoder := json.NewDecoder(bytes.NewReader(encode(t, maximalSpec())))
	decoder.UseNumber()
	if err := decoder.Decode(&document); err != nil {
		t.Fatal(err)
	}
	var values []json.RawMessage
	for _, s := range []string{
		`null`, `true`, `"x"`, `""`, `[]`, `{}`, `[null]`, `{"":null}`, `0`, `-0`, `-1`, `1.0`, `1e3`,
		`65535`, `65536`, `4294967295`, `4294967296`, `2147483648`, `-2147483648`, `-2147483649`,
		`9223372036854775807`, `9223372036854775808`, `-9223372036854775808`, `-9223372036854775809`,
		`18446744073709551615`, `18446744073709551616`, `1e999`,
	} {
		values = append(values, json.RawMessage(s))
	}
	tried, accepted := 0, 0
	try := func(value json.RawMessage) {
		data, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		var want specs.Spec
		wantErr := json.Unmarshal(data, &want)
		got, _, err := Decode(data)
		tried++
		switch {
		case (err == nil) != (wantErr == nil):
			t.Errorf("value %s: got %v, encoding/json %v", value, err, wantErr)
		case err == nil && !reflect.DeepEqual(got, &want):
			t.Errorf("value %s: got\n%s\nwant\n%s", value, encode(t, got), encode(t, want))
		case err == nil:
			accepted++
		}
	}
	var walk func(node any)
	walk = func(node any) {
		switch node := node.(type) {
		case map[string]any:
			for k, old := range node {
				for _, value := range values {
					node[k] = value
					try(value)
				}
				node[k] = old
				walk(old)
			}
		case []any:
			if len(node) == 0 {
				return
			}
			old := node[0] // the others are of the same type
			for _, value := range values {
				node[0] = value
				try(value)
			}
			node[0] = old
			walk(old)
		}
	}
	// The sections of other systems have no type that linux has not.
	sections := document.(map[string]any)
	for _, name := range []string{"solaris", "vm", "zos", "freebsd"} {
		delete(sections, name)
	}
	walk(document)
	if tried < 5000 || accepted < 1000 {
		t.Errorf("only %d values tried, %d accepted", tried, accepted)
	}
}

func TestDecodeErrors(t *testing.T) {
	deep := strings.Repeat(`[`, 100)
	tests := []struct{ name, data, want string }{
		{"nothing", ``, `config.json: the document is empty`},
		{"white space", " \n", `config.json: the document is empty`},
		{"byte order mark", "\xef\xbb\xbf{}", `config.json: starts with a byte order mark; write it as UTF-8 without one`},
		{"null document", `null`, `config.json: expected an object, found null (line 1, column 1)`},
		{"array document", `[]`, `config.json: expected an object, found array (line 1, column 1)`},
		{"UTF-16", "\xff\xfe{\x00}\x00", `config.json: expected an object, found byte 0xff (line 1, column 1)`},
		{"unfinished object", `{`, `config.json: expected a key in double quotes, found the end of the file (line 1, column 2)`},
		{"unfinished string", `{"root`, `config.json: the string that begins here has no end (line 1, column 2)`},
		{"no colon", `{"root" {}}`, `root: expected a colon after the key, found object (config.json line 1, column 9)`},
		{"no comma", "{\"hostname\":\"a\"\n\"root\":{}}", `hostname: expected a comma or "}", found string (config.json line 2, column 1)`},
		{"trailing comma", `{"hostname":"a",}`, `hostname: expected another value after the comma, found "}" (config.json line 1, column 17)`},
		{"trailing comma in array", `{"mounts":[{},]}`, `mounts[0]: expected another value after the comma, found "]" (config.json line 1, column 15)`},
		{"trailing data", "{}\n{}", `config.json: expected the end of the file, found object (line 2, column 1)`},
		{"trailing NUL", "{}\x00", `config.json: expected the end of the file, found '\x00' (line 1, column 3)`},
		{"comment", `{/**/}`, `config.json: expected a key in double quotes, found '/' (line 1, column 2)`},
		{"string for number", "{\n \"process\": {\"user\": {\"uid\": \"0\"}}}", `process.user.uid: expected an unsigned 32-bit number, found string (config.json line 2, column 30)`},
		{"fraction", `{"process":{"user":{"uid":1.0}}}`, `process.user.uid: expected an unsigned 32-bit number, found 1.0 with a fraction or exponent (config.json line 1, column 27)`},
		{"exponent", `{"process":{"user":{"uid":1e3}}}`, `process.user.uid: expected an unsigned 32-bit number, found 1e3 with a fraction or exponent (config.json line 1, column 27)`},
		{"too large", `{"process":{"user":{"uid":4294967296}}}`, `process.user.uid: number 4294967296 is out of range for an unsigned 32-bit number (config.json line 1, column 27)`},
		{"negative", `{"process":{"user":{"uid":-1}}}`, `process.user.uid: number -1 is out of range for an unsigned 32-bit number (config.json line 1, column 27)`},
		{"signed range", `{"process":{"scheduler":{"nice":2147483648}}}`, `process.scheduler.nice: number 2147483648 is out of range for a signed 32-bit number (config.json line 1, column 33)`},
		{"leading zero", `{"process":{"user":{"uid":01}}}`, `process.user.uid: malformed number (config.json line 1, column 27)`},
		{"lone minus", `{"process":{"user":{"uid":-}}}`, `process.user.uid: malformed number (config.json line 1, column 27)`},
		{"bare point", `{"x":1.}`, `x: malformed number (config.json line 1, column 6)`},
		{"bare exponent", `{"x":1e+}`, `x: malformed number (config.json line 1, column 6)`},
		{"long number", `{"process":{"user":{"uid":` + strings.Repeat("9", 100) + `}}}`, `process.user.uid: number ` + strings.Repeat("9", 80) + `… is out of range for an unsigned 32-bit number (config.json line 1, column 27)`},
		{"number for string", `{"process":{"args":["a",1]}}`, `process.args[1]: expected a string, found number (config.json line 1, column 25)`},
		{"string for boolean", `{"process":{"terminal":"true"}}`, `process.terminal: expected true or false, found string (config.json line 1, column 24)`},
		{"longer than true", `{"process":{"terminal":truex}}`, `process.terminal: expected true or false, found boolean (config.json line 1, column 24)`},
		{"object for array", `{"mounts":{}}`, `mounts: expected an array, found object (config.json line 1, column 11)`},
		{"array for object", `{"linux":[]}`, `linux: expected an object, found array (config.json line 1, column 10)`},
		{"word", `{"hostname":hello}`, `hostname: expected a string, found 'h' (config.json line 1, column 13)`},
		{"map value", `{"linux":{"sysctl":{"net.core.somaxconn":1}}}`, `linux.sysctl["net.core.somaxconn"]: expected a string, found number (config.json line 1, column 42)`},
		{"column in characters", `{"hostname":"äöü","root":1}`, `root: expected an object, found number (config.json line 1, column 26)`},
		{"duplicate key", `{"hostname":"a","hostname":"b"}`, `hostname: duplicate key (config.json line 1, column 17)`},
		{"duplicate key by escape", `{"hostname":"a","hostn\u0061me":"b"}`, `hostname: duplicate key (config.json line 1, column 17)`},
		{"duplicate null", `{"root":null,"root":null}`, `root: duplicate key (config.json line 1, column 14)`},
		{"duplicate in map", `{"annotations":{"a":"1","a":"2"}}`, `annotations.a: duplicate key (config.json line 1, column 25)`},
		{"duplicate unknown key", `{"x":1,"x":1}`, `x: duplicate key (config.json line 1, column 8)`},
		{"duplicate in unknown", `{"x":{"a":1,"b":{"c":1,"c":1}}}`, `x.b.c: duplicate key (config.json line 1, column 24)`},
		{"duplicate embedded", `{"linux":{"resources":{"blockIO":{"weightDevice":[{"major":1,"major":2}]}}}}`, `linux.resources.blockIO.weightDevice[0].major: duplicate key (config.json line 1, column 62)`},
		{"NUL", `{"process":{"cwd":"/a\u0000/b"}}`, `process.cwd: NUL (\u0000) in a string (config.json line 1, column 22)`},
		{"NUL in key", `{"a\u0000":1}`, `config.json: NUL (\u0000) in a string (line 1, column 4)`},
		{"raw NUL", "{\"hostname\":\"a\x00\"}", `hostname: control character 0x00 in a string must be escaped (config.json line 1, column 15)`},
		{"raw newline", "{\"hostname\":\"a\\\\\n\"}", `hostname: control character 0x0a in a string must be escaped (config.json line 1, column 17)`},
		{"invalid UTF-8", "{\"hostname\":\"a\xffb\"}", `hostname: invalid UTF-8 (byte 0xff) in a string (config.json line 1, column 15)`},
		{"invalid UTF-8 after escape", "{\"hostname\":\"\\t\xed\xa0\x80\"}", `hostname: invalid UTF-8 (byte 0xed) in a string (config.json line 1, column 16)`},
		{"lone surrogate", `{"hostname":"\ud83d"}`, `hostname: half of a UTF-16 surrogate pair in a string (config.json line 1, column 14)`},
		{"lone low surrogate", `{"hostname":"\ude00"}`, `hostname: half of a UTF-16 surrogate pair in a string (config.json line 1, column 14)`},
		{"unknown escape", `{"hostname":"\x"}`, `hostname: unknown escape in a string; a backslash is written \\ (config.json line 1, column 14)`},
		{"short escape", `{"hostname":"\u12"}`, `hostname: expected four hexadecimal digits after \u (config.json line 1, column 14)`},
		{"signed escape", `{"hostname":"\u+041"}`, `hostname: expected four hexadecimal digits after \u (config.json line 1, column 14)`},
		{"escape at end", `{"hostname":"\`, `hostname: unfinished escape in a string (config.json line 1, column 14)`},
		{"bad word in unknown", `{"x":{"y":[nul]}}`, `x.y[0]: expected a value, found 'n' (config.json line 1, column 12)`},
		{"bad word in any", `{"windows":{"credentialSpec":[tru]}}`, `windows.credentialSpec[0]: expected true or false, found 't' (config.json line 1, column 31)`},
		{"control after escape", "{\"hostname\":\"\\t\x01\"}", `hostname: control character 0x01 in a string must be escaped (config.json line 1, column 16)`},
		{"unfinished after escape", `{"hostname":"\t`, `hostname: the string that begins here has no end (config.json line 1, column 13)`},
		{"nested too deep", `{"x":` + deep, `x` + strings.Repeat("[0]", 63) + `: nested more than 64 deep (config.json line 1, column 69)`},
		{"long array", `{"x":[` + strings.Repeat("1,", maxMembers) + `1]}`, `x[524287]: more than 524288 values in one array or object (config.json line 1, column 1048583)`},
	}
	for _, test := range tests {
		spec, warnings, err := Decode([]byte(test.data))
		if err == nil || err.Error() != test.want || spec != nil || warnings != nil {
			t.Errorf("%s:\n got %v\nwant %s", test.name, err, test.want)
		}
	}
}

func TestDecodeLimits(t *testing.T) {
	many := `{"x":[` + strings.Repeat(`[`+strings.Repeat("1,", 60000)+`1],`, 20) + `1]}`
	if _, _, err := Decode([]byte(many)); err == nil || !strings.Contains(err.Error(), "more than 1048576 values in the document") {
		t.Errorf("many values: got %v", err)
	}
	large := `{"x":"` + strings.Repeat("x", maxSize) + `"}`
	if _, _, err := Decode([]byte(large)); err == nil || err.Error() != `config.json: 16777224 bytes, more than the limit of 16777216` {
		t.Errorf("large: got %v", err)
	}
}

func TestDecodePartErrors(t *testing.T) {
	_, _, err := DecodeProcess([]byte(`{"user":{"uid":true}}`))
	if want := `process.user.uid: expected an unsigned 32-bit number, found boolean (line 1, column 16)`; err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	_, _, err = DecodeResources(nil)
	if want := `linux.resources: the document is empty`; err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestDecodeWarnings(t *testing.T) {
	tests := []struct{ name, data, want string }{
		{"other case", `{"Process":{}}`, `Process: unknown key, ignored; did you mean "process"? (config.json line 1, column 2)`},
		{"long s", `{"proceſs":{}}`, `["proceſs"]: unknown key, ignored; did you mean "process"? (config.json line 1, column 2)`},
		{"slip", "{\"linux\":\n{\"maskedPath\":[]}}", `linux.maskedPath: unknown key, ignored; did you mean "maskedPaths"? (config.json line 2, column 2)`},
		{"in array", `{"mounts":[{},{"destinatoin":""}]}`, `mounts[1].destinatoin: unknown key, ignored; did you mean "destination"? (config.json line 1, column 16)`},
		{"unlike any", `{"x-vendor":{"a":[1,-2.5e3,"\u00e4",true,false,null,{}]}}`, `["x-vendor"]: unknown key, ignored (config.json line 1, column 2)`},
		{"short and unlike", `{"process":{"user":{"cid":1}}}`, `process.user.cid: unknown key, ignored; did you mean "uid"? (config.json line 1, column 21)`},
		{"long in the middle of a character", `{"x` + strings.Repeat("ä", 100) + `":1}`, `["x` + strings.Repeat("ä", 39) + `"…]: unknown key, ignored (config.json line 1, column 2)`},
		{"long", `{"` + strings.Repeat("x", 200) + `":1}`, `["` + strings.Repeat("x", 80) + `"…]: unknown key, ignored (config.json line 1, column 2)`},
	}
	for _, test := range tests {
		_, warnings, err := Decode([]byte(test.data))
		if err != nil || len(warnings) != 1 || warnings[0] != test.want {
			t.Errorf("%s:\n got %q, %v\nwant %q", test.name, warnings, err, test.want)
		}
	}
}

// TestDecodeManyUnknown: a hostile document cannot flood the log, and the
// search for duplicates is not quadratic.
func TestDecodeManyUnknown(t *testing.T) {
	var b strings.Builder
	for i := range 60000 {
		fmt.Fprintf(&b, `"k%d":0,`, i)
	}
	_, warnings, err := Decode([]byte(`{` + b.String() + `"last":0}`))
	if err != nil || len(warnings) != maxWarnings+1 || warnings[maxWarnings] != "59901 more unknown keys, ignored" {
		t.Errorf("got %d warnings, %v", len(warnings), err)
	}
	_, _, err = Decode([]byte(`{` + b.String() + `"k5":0}`))
	if err == nil || !strings.HasPrefix(err.Error(), "k5: duplicate key") {
		t.Errorf("got %v", err)
	}
}

// TestDecodeCase: with encoding/json the second would overwrite the first.
func TestDecodeCase(t *testing.T) {
	spec, warnings, err := Decode([]byte(`{"hostname":"a","Hostname":"b"}`))
	if err != nil || spec.Hostname != "a" || len(warnings) != 1 {
		t.Errorf("got %+v, %q, %v", spec, warnings, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(f, Example()))
	f.Add(encode(f, maximalSpec()))
	for _, seed := range []string{
		``, `null`, `{}`, `{"Process":null}`, `{"process":{"user":{"uid":1e3}}}`, `{"a":1,"a":2}`,
		`{"hostname":"\ud83d\ude00\u0000"}`, `{"linux":{"sysctl":{"a":"b"}}}`, "\xef\xbb\xbf{}",
		`{"windows":{"credentialSpec":{"a":[1.5,{}]}}}`, `{"x":[[[[{}]]]]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, warnings, err := Decode(data)
		if err != nil {
			if got != nil || warnings != nil || strings.Contains(err.Error(), "\n") {
				t.Fatalf("bad error %q", err)
			}
			return
		}
		if !json.Valid(data) {
			t.Fatal("accepted what is not JSON")
		}
		if Check(got) == nil && got.Process == nil {
			t.Fatal("no process and no error")
		}
		Warnings(got)
		var want specs.Spec
		err = json.Unmarshal(data, &want)
		if len(warnings) > 0 {
			return // encoding/json may take an unknown key for a known one
		}
		if err != nil {
			t.Fatalf("encoding/json: %v", err)
		}
		if !reflect.DeepEqual(got, &want) {
			t.Fatalf("got\n%s\nwant\n%s", encode(t, got), encode(t, &want))
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	data := encode(b, example(true))
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	spec := example(true)
	b.ReportAllocs()
	for b.Loop() {
		if err := Check(spec); err != nil {
			b.Fatal(err)
		}
	}
}
