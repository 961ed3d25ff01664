package bundle

import (
	"slices"
	"strconv"
	"strings"
)

// The functions here decode one value of a type that the specification uses.
// Generated code calls them, with the function for the inner type where there
// is one. A null leaves the value as it is, which is zero: no key comes twice.

// once marks the key that was just read, number bit of its struct, as seen.
func (d *decoder) once(seen *uint64, bit uint) {
	if *seen&(1<<bit) != 0 {
		d.duplicate()
	}
	*seen |= 1 << bit
}

func (d *decoder) duplicate() { d.fail(d.keyPos, "duplicate key") }

func decodeBool(d *decoder, v *bool) {
	switch {
	case d.null():
	case d.literal("true"):
		*v = true
	case d.literal("false"):
		*v = false
	default:
		d.mismatch("true or false")
	}
}

func decodeString[T ~string](d *decoder, v *T) {
	switch d.peek() {
	case '"':
		*v = T(d.scanString())
	default:
		if !d.null() {
			d.mismatch("a string")
		}
	}
}

func decodeInt[T ~int | ~int8 | ~int16 | ~int32 | ~int64](d *decoder, v *T) {
	what := func() string { return "a signed " + strconv.Itoa(bits(^T(0))) + "-bit number" }
	begin, text, ok := d.integer(what)
	if !ok {
		return
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || int64(T(n)) != n {
		d.fail(begin, "number %s is out of range for %s", quoteNumber(text), what())
		return
	}
	*v = T(n)
}

func decodeUint[T ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64](d *decoder, v *T) {
	what := func() string { return "an unsigned " + strconv.Itoa(bits(^T(0))) + "-bit number" }
	begin, text, ok := d.integer(what)
	if !ok {
		return
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || uint64(T(n)) != n {
		d.fail(begin, "number %s is out of range for %s", quoteNumber(text), what())
		return
	}
	*v = T(n)
}

// bits is the size of an integer of which all bits are set.
func bits[T ~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64](all T) int {
	n := 0
	for ; all != 0; all <<= 1 {
		n++
	}
	return n
}

// integer reads a number that has neither fraction nor exponent. It reports
// false for a null and for an error.
func (d *decoder) integer(what func() string) (begin int, text string, ok bool) {
	c := d.peek()
	if c != '-' && (c < '0' || c > '9') {
		if !d.null() {
			d.mismatch(what())
		}
		return 0, "", false
	}
	begin = d.pos
	text = d.scanNumber()
	if strings.ContainsAny(text, ".eE") {
		d.fail(begin, "expected %s, found %s with a fraction or exponent", what(), quoteNumber(text))
		return 0, "", false
	}
	return begin, text, text != ""
}

// scanNumber reads a number by the grammar of RFC 8259 § 6. It returns "" after
// an error.
func (d *decoder) scanNumber() string {
	begin := d.pos
	if d.data[d.pos] == '-' {
		d.pos++
	}
	whole := d.digits()
	if whole == 0 || whole > 1 && d.data[d.pos-whole] == '0' {
		d.fail(begin, "malformed number")
		return ""
	}
	if strings.HasPrefix(d.data[d.pos:], ".") {
		d.pos++
		if d.digits() == 0 {
			d.fail(begin, "malformed number")
			return ""
		}
	}
	if d.pos < len(d.data) && d.data[d.pos]|0x20 == 'e' {
		d.pos++
		if d.pos < len(d.data) && (d.data[d.pos] == '+' || d.data[d.pos] == '-') {
			d.pos++
		}
		if d.digits() == 0 {
			d.fail(begin, "malformed number")
			return ""
		}
	}
	return d.data[begin:d.pos]
}

func (d *decoder) digits() int {
	begin := d.pos
	for d.pos < len(d.data) && '0' <= d.data[d.pos] && d.data[d.pos] <= '9' {
		d.pos++
	}
	return d.pos - begin
}

// quoteNumber cuts a number that is too long to be read.
func quoteNumber(text string) string {
	if len(text) <= maxKeyShown {
		return text
	}
	return text[:maxKeyShown] + "…"
}

// decodePtr decodes a value whose absence means something.
func decodePtr[T any](d *decoder, v **T, f func(*decoder, *T)) {
	if d.null() {
		return
	}
	p := new(T)
	f(d, p)
	*v = p
}

// decodeSlice decodes an array. An empty one is not nil: for some fields, as
// seccomp.flags, the two differ.
func decodeSlice[T any](d *decoder, v *[]T, f func(*decoder, *T)) {
	if !d.openArray() {
		return
	}
	s := []T{}
	for d.nextElement() {
		if len(s) == cap(s) {
			s = slices.Grow(s, max(4, 3*len(s))) // most lists are short, and the others long
		}
		var zero T
		s = append(s, zero)
		f(d, &s[len(s)-1])
	}
	*v = s
}

// decodeMap decodes an object whose keys are data.
func decodeMap[T any](d *decoder, v *map[string]T, f func(*decoder, *T)) {
	if !d.openObject() {
		return
	}
	m := make(map[string]T)
	for d.nextKey() {
		name := d.key
		if _, ok := m[name]; ok {
			d.duplicate()
			return
		}
		var value T
		f(d, &value)
		m[name] = value
	}
	*v = m
}

// decodeAny decodes a value without a type (windows.credentialSpec) into what
// encoding/json makes of it.
func decodeAny(d *decoder, v *any) {
	switch c := d.peek(); {
	case c == '{':
		var m map[string]any
		decodeMap(d, &m, decodeAny)
		*v = m
	case c == '[':
		var s []any
		decodeSlice(d, &s, decodeAny)
		*v = s
	case c == '"':
		*v = d.scanString()
	case c == 't' || c == 'f':
		var b bool
		decodeBool(d, &b)
		*v = b
	case c == '-' || '0' <= c && c <= '9':
		begin := d.pos
		n, err := strconv.ParseFloat(d.scanNumber(), 64)
		if err != nil {
			d.fail(begin, "number is out of range for a 64-bit float")
			return
		}
		*v = n
	default:
		if !d.null() {
			d.mismatch("a value")
		}
	}
}
