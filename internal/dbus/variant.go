package dbus

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Variant is a value of type v: any value together with its type.
type Variant struct {
	signature string
	value     any
}

// MakeVariant wraps a value that Encode can send. Another one, including nil, has
// the signature "", and Encode refuses it.
func MakeVariant(v any) Variant {
	signature, err := appendSignature(nil, reflect.TypeOf(v))
	if err != nil {
		return Variant{"", v}
	}
	return Variant{string(signature), v}
}

// Value is what the variant holds: what MakeVariant was given, or of the Go type
// that Read gives to its signature.
func (v Variant) Value() any { return v.value }

// Signature is the type of the value, a single complete one (spec, "Type System").
func (v Variant) Signature() string { return v.signature }

// String is the value in GVariant's text format, with its type in front where the
// text does not tell it. Parse gives back a value of a type that it knows.
func (v Variant) String() string {
	if v.signature == "" {
		return fmt.Sprint(v.value)
	}
	text, plain := format(reflect.ValueOf(v.value), v.signature)
	if plain {
		return text
	}
	return "@" + v.signature + " " + text
}

// format is the text of a value, and whether that tells its type.
func format(v reflect.Value, signature string) (text string, plain bool) {
	switch signature[0] {
	case 'b', 'i':
		return fmt.Sprint(v), true
	case 's':
		return quote(v.String()), true
	case 'o', 'g':
		return quote(v.String()), false
	case 'y':
		return fmt.Sprintf("%#x", v.Uint()), false
	case 'd':
		return strings.ToLower(strings.TrimPrefix(fmt.Sprint(v), "+")), false
	case 'v':
		return "<" + v.Interface().(Variant).String() + ">", true
	case 'a':
		plain = v.Len() > 0
		var list []string
		for i := range v.Len() {
			text, known := format(v.Index(i), signature[1:])
			list = append(list, text)
			plain = plain && known
		}
		return "[" + strings.Join(list, ", ") + "]", plain
	}
	return fmt.Sprint(v), false
}

// quote writes what is not printable as \u… or \U…: the text format has no \x….
func quote(s string) string {
	out := []byte{'"'}
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			out = append(out, '\\', byte(c))
		case strconv.IsPrint(c):
			out = utf8.AppendRune(out, c)
		case c <= math.MaxUint16:
			out = fmt.Appendf(out, `\u%04x`, c)
		default:
			out = fmt.Appendf(out, `\U%08x`, c)
		}
	}
	return string(append(out, '"'))
}
