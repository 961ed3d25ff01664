package dbus

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// basic lists the types that are no containers.
const basic = "ybnqiuxtdhsog"

// ValidSignature tells whether s is a list of complete types, none of which is
// nested too deep: at most 255 bytes, 32 arrays and 32 structs within each other
// (spec, "Valid Signatures"). The empty list is valid.
func ValidSignature(s string) bool {
	if len(s) > 255 {
		return false
	}
	for s != "" {
		n := complete(s, 32, 32)
		if n == 0 {
			return false
		}
		s = s[n:]
	}
	return true
}

// complete is the length of the complete type that s begins with, or 0. So many
// arrays and structs may be within each other.
func complete(s string, arrays, structs int) int {
	switch {
	case s == "":
		return 0
	case s[0] == 'v' || strings.IndexByte(basic, s[0]) >= 0:
		return 1
	case s[0] == 'a' && arrays == 0, s[0] == '(' && structs == 0:
		return 0
	case strings.HasPrefix(s, "a{"):
		if len(s) < 3 || strings.IndexByte(basic, s[2]) < 0 {
			return 0
		}
		n := complete(s[3:], arrays-1, structs)
		if n == 0 || !strings.HasPrefix(s[3+n:], "}") {
			return 0
		}
		return 3 + n + 1
	case s[0] == 'a':
		n := complete(s[1:], arrays-1, structs)
		if n == 0 {
			return 0
		}
		return 1 + n
	case s[0] == '(':
		for i := 1; ; {
			n := complete(s[i:], arrays, structs-1)
			if i += n; n == 0 {
				return 0
			}
			if strings.HasPrefix(s[i:], ")") {
				return i + 1
			}
		}
	}
	return 0
}

// alignment of a type in bytes, by its first character (spec, "Marshaling"),
// and the size of those that are numbers.
func alignment(code byte) int {
	switch code {
	case 'n', 'q':
		return 2
	case 'b', 'i', 'u', 'h', 's', 'o', 'a':
		return 4
	case 'x', 't', 'd', '(', '{':
		return 8
	}
	return 1
}

// goTypes are the Go types of basic values and variants, in the order of goCodes.
// What is sent has the first of its codes.
func goTypes() [len(goCodes)]reflect.Type {
	return [...]reflect.Type{reflect.TypeFor[byte](), reflect.TypeFor[bool](), reflect.TypeFor[int16](), reflect.TypeFor[uint16](),
		reflect.TypeFor[int32](), reflect.TypeFor[uint32](), reflect.TypeFor[int64](), reflect.TypeFor[uint64](), reflect.TypeFor[float64](),
		reflect.TypeFor[uint32](), reflect.TypeFor[string](), reflect.TypeFor[ObjectPath](), reflect.TypeFor[Signature](), reflect.TypeFor[Variant]()}
}

const goCodes = basic + "v"

// typeOf is the Go type of decoded and parsed values of a complete type, or of a
// dict entry.
func typeOf(signature string) reflect.Type {
	switch signature[0] {
	case '{':
		return reflect.TypeFor[Pair]()
	case '(':
		return reflect.TypeFor[[]any]()
	case 'a':
		return reflect.SliceOf(typeOf(signature[1:]))
	}
	return goTypes()[strings.IndexByte(goCodes, signature[0])]
}

// codeOf is the first character of the signature that a Go type has when it is
// sent, or 0.
func codeOf(t reflect.Type) byte {
	if t == nil {
		return 0
	}
	types := goTypes()
	if i := slices.Index(types[:], t); i >= 0 {
		return goCodes[i]
	}
	switch t.Kind() {
	case reflect.Slice:
		return 'a'
	case reflect.Struct:
		return '('
	}
	return 0
}

// appendSignature appends the signature that a Go type has when it is sent. It
// ends at the length that is allowed: a type may contain itself.
func appendSignature(to []byte, t reflect.Type) ([]byte, error) {
	code := codeOf(t)
	if code == 0 || len(to) > 255 {
		return nil, fmt.Errorf("D-Bus has no type for %v", t)
	}
	to = append(to, code)
	switch code {
	case 'a':
		return appendSignature(to, t.Elem())
	case '(':
		if t.NumField() == 0 {
			return nil, fmt.Errorf("D-Bus has no type for %v, which is empty", t)
		}
		for i := range t.NumField() {
			f := t.Field(i)
			if !f.IsExported() {
				return nil, fmt.Errorf("cannot send %v: its %s is not exported", t, f.Name)
			}
			var err error
			if to, err = appendSignature(to, f.Type); err != nil {
				return nil, err
			}
		}
		to = append(to, ')')
	}
	return to, nil
}
