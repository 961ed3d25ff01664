package dbus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"
)

// field is a header field as it is sent.
type field struct {
	Code  byte
	Value Variant
}

// Encode is the message as it is sent: in little endian, version 1 of the
// protocol, without flags. Its body may have values of type bool, byte, int16,
// uint16, int32, uint32, int64, uint64, float64, string, ObjectPath, Signature and
// Variant, and slices and structs of them. Structs need to have all their fields
// exported, and are sent in their order: a slice of
//
//	struct{ Name string; Value Variant }
//
// is a(sv). Errors are values of other types, text that is not UTF-8 or has a NUL,
// invalid names and paths, missing fields of the header, a message of more than
// 128 MiB, and an array of more than 64 MiB.
func (m *Message) Encode() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	var signature []byte
	var err error
	for _, v := range m.Body {
		if signature, err = appendSignature(signature, reflect.TypeOf(v)); err != nil {
			return nil, err
		}
	}
	var fields []field
	body := Signature(signature)
	for i, p := range m.fields(&body) {
		if v := reflect.ValueOf(p).Elem(); !v.IsZero() {
			fields = append(fields, field{byte(1 + i), MakeVariant(v.Interface())})
		}
	}
	const flags, version = 0, 1
	e := encoder{'l', byte(m.Type), flags, version, 0, 0, 0, 0}
	e = binary.LittleEndian.AppendUint32(e, m.Serial)
	if err := e.value(reflect.ValueOf(fields), 0); err != nil {
		return nil, err
	}
	e.align(8)
	start := len(e)
	for _, v := range m.Body {
		if err := e.value(reflect.ValueOf(v), 0); err != nil {
			return nil, err
		}
	}
	if len(e) > maxMessage {
		return nil, fmt.Errorf("a message of %d bytes is too long", len(e))
	}
	binary.LittleEndian.PutUint32(e[4:], uint32(len(e)-start))
	return e, nil
}

// encoder is a message up to where it is encoded.
type encoder []byte

func (e *encoder) align(n int) {
	for len(*e)%n != 0 {
		*e = append(*e, 0)
	}
}

// value appends a value in as many containers.
func (e *encoder) value(v reflect.Value, depth int) error {
	code := codeOf(v.Type())
	if strings.IndexByte("av(", code) >= 0 && depth == maxDepth {
		return errors.New("a value is nested too deep")
	}
	switch code {
	case 'b':
		var n uint32
		if v.Bool() {
			n = 1
		}
		return e.number(n)
	case 's', 'o', 'g':
		return e.text(v.String(), code)
	case 'v':
		return e.variant(v.Interface().(Variant), depth)
	case 'a':
		return e.array(v, depth)
	case '(':
		e.align(8)
		for i := range v.NumField() {
			if err := e.value(v.Field(i), depth+1); err != nil {
				return err
			}
		}
	default:
		return e.number(v.Interface())
	}
	return nil
}

func (e *encoder) number(n any) (err error) {
	e.align(alignment(codeOf(reflect.TypeOf(n))))
	*e, err = binary.Append(*e, binary.LittleEndian, n)
	return err
}

func (e *encoder) text(s string, code byte) error {
	if err := checkText(s, code); err != nil {
		return err
	}
	if code == 'g' {
		*e = append(*e, byte(len(s)))
	} else {
		e.number(uint32(len(s)))
	}
	*e = append(append(*e, s...), 0)
	return nil
}

// checkText finds what strings, object paths and signatures may not have.
func checkText(s string, code byte) error {
	switch {
	case code == 'o' && !validPath(s):
		return fmt.Errorf("%.99q is not an object path", s)
	case code == 'g' && !ValidSignature(s):
		return fmt.Errorf("%.99q is not a signature", s)
	case !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0:
		return fmt.Errorf("%.99q is not text: it has a NUL or is not UTF-8", s)
	}
	return nil
}

// variant refuses what was received with a type that the Go type does not tell.
func (e *encoder) variant(v Variant, depth int) error {
	signature, err := appendSignature(nil, reflect.TypeOf(v.value))
	if err != nil {
		return err
	}
	if string(signature) != v.signature {
		return fmt.Errorf("cannot send %T as a value of type %q", v.value, v.signature)
	}
	if err := e.text(v.signature, 'g'); err != nil {
		return err
	}
	return e.value(reflect.ValueOf(v.value), depth+1)
}

func (e *encoder) array(v reflect.Value, depth int) error {
	e.number(uint32(0))
	length := len(*e) - 4
	code := codeOf(v.Type().Elem())
	e.align(alignment(code)) // also if there is no element
	start := len(*e)
	if code == 'y' {
		*e = append(*e, v.Bytes()...)
	} else {
		for i := range v.Len() {
			if err := e.value(v.Index(i), depth+1); err != nil {
				return err
			}
		}
	}
	if len(*e)-start > maxArray {
		return fmt.Errorf("an array of %d bytes is too long", len(*e)-start)
	}
	binary.LittleEndian.PutUint32((*e)[length:], uint32(len(*e)-start))
	return nil
}
