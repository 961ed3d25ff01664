package dbus

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"reflect"
)

// malformed is the error of a peer that does not keep to the specification.
func malformed(format string, args ...any) error {
	return fmt.Errorf("malformed message: "+format, args...)
}

// Read reads one message, and no byte more. Values of the body are
//
//	bool, byte, int16, uint16, int32, uint32, int64, uint64, float64, string,
//	ObjectPath, Signature, Variant
//	h   the index of a descriptor, as uint32
//	( ) []any
//	{ } Pair
//	a   a slice of these: [][]any for a(sv), []Pair for a{sv}, []byte for ay
//
// If there is no message, the error is io.EOF; if it ends too early, it is
// io.ErrUnexpectedEOF; other errors of r are returned as they are. The message is
// not trusted: memory is taken as bytes come, and what breaks the specification is
// an error, except for unknown flags, fields and types of messages, which it says
// to ignore.
func Read(r io.Reader) (*Message, error) {
	var head [16]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	d := decoder{order: binary.LittleEndian}
	switch head[0] {
	case 'l':
	case 'B':
		d.order = binary.BigEndian
	default:
		return nil, malformed("%q is not a byte order", head[0])
	}
	if head[3] != 1 {
		return nil, malformed("version %d of the protocol is unknown", head[3])
	}
	m := &Message{Type: Type(head[1]), Serial: d.order.Uint32(head[8:])}
	fields, body := int64(d.order.Uint32(head[12:])), int64(d.order.Uint32(head[4:]))
	rest := (fields+7)&^7 + body
	if fields > maxArray || rest > maxMessage-int64(len(head)) {
		return nil, malformed("it is too long")
	}
	var data bytes.Buffer
	data.Write(head[:])
	if _, err := io.CopyN(&data, r, rest); err == io.EOF {
		return nil, io.ErrUnexpectedEOF
	} else if err != nil {
		return nil, err
	}
	d.pos = 12 // the length of the array of header fields
	d.data = data.Bytes()[:int64(len(head))+fields]
	signature, err := d.fields(m)
	if err != nil {
		return nil, err
	}
	d.data = data.Bytes()
	if err := d.align(8); err != nil {
		return nil, err
	}
	if m.Body, err = d.values(string(signature)); err != nil {
		return nil, err
	}
	if d.pos != len(d.data) {
		return nil, malformed("its body is longer than its signature %q", signature)
	}
	return m, m.check()
}

// decoder reads values, up to the end of data. Its order and pos count from the
// start of the message, as alignment does.
type decoder struct {
	data  []byte
	pos   int
	order binary.ByteOrder
	depth int // containers and variants around pos
}

// fields sets what the header fields say, and returns the body's signature.
func (d *decoder) fields(m *Message) (body Signature, err error) {
	list, err := d.value("a(yv)")
	if err != nil {
		return "", err
	}
	targets := m.fields(&body)
	for _, f := range list.([][]any) {
		code, v := f[0].(byte), f[1].(Variant)
		if int(code) > len(targets) {
			continue
		}
		bad := code == 0 || v.value == ""
		if !bad {
			target := reflect.ValueOf(targets[code-1]).Elem()
			bad = !target.IsZero() || v.signature != string(codeOf(target.Type()))
			if !bad {
				target.Set(reflect.ValueOf(v.value))
			}
		}
		if bad {
			return "", malformed("header field %d is empty, twice there, or of type %q", code, v.signature)
		}
	}
	return body, nil
}

// values reads one value for each type of a valid signature.
func (d *decoder) values(signature string) ([]any, error) {
	var list []any
	for signature != "" {
		n := complete(signature, 32, 32)
		v, err := d.value(signature[:n])
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		signature = signature[n:]
	}
	return list, nil
}

// value reads a value of a valid complete type, or a dict entry.
func (d *decoder) value(signature string) (any, error) {
	code := signature[0]
	switch code {
	case 's', 'o', 'g':
		return d.text(code)
	case 'b':
		n, err := d.length('u')
		if n > 1 {
			err = malformed("%d is not a boolean", n)
		}
		return n == 1, err
	case 'a', 'v', '(', '{':
	default:
		b, err := d.number(code)
		if err != nil {
			return nil, err
		}
		v := reflect.New(typeOf(signature))
		_, err = binary.Decode(b, d.order, v.Interface())
		return v.Elem().Interface(), err
	}
	d.depth++
	defer func() { d.depth-- }()
	if d.depth > maxDepth {
		return nil, malformed("it is nested too deep")
	}
	switch code {
	case 'v':
		return d.variant()
	case 'a':
		return d.array(signature[1:])
	}
	if err := d.align(8); err != nil {
		return nil, err
	}
	list, err := d.values(signature[1 : len(signature)-1])
	if err == nil && code == '{' {
		return Pair{list[0], list[1]}, nil
	}
	return list, err
}

// take passes over n bytes.
func (d *decoder) take(n uint64) ([]byte, error) {
	if n > uint64(len(d.data)-d.pos) {
		return nil, malformed("a value goes on after the end")
	}
	b := d.data[d.pos : d.pos+int(n)]
	d.pos += int(n)
	return b, nil
}

func (d *decoder) align(n int) error {
	padding, err := d.take(uint64(-d.pos & (n - 1)))
	for _, b := range padding {
		if b != 0 {
			return malformed("there is data between its values")
		}
	}
	return err
}

// number takes the bytes of a number.
func (d *decoder) number(code byte) ([]byte, error) {
	size := alignment(code)
	if err := d.align(size); err != nil {
		return nil, err
	}
	return d.take(uint64(size))
}

// length reads a number of type u or y.
func (d *decoder) length(code byte) (uint64, error) {
	b, err := d.number(code)
	switch {
	case err != nil:
		return 0, err
	case code == 'y':
		return uint64(b[0]), nil
	}
	return uint64(d.order.Uint32(b)), nil
}

func (d *decoder) text(code byte) (any, error) {
	kind := byte('u')
	if code == 'g' {
		kind = 'y'
	}
	n, err := d.length(kind)
	if err != nil {
		return nil, err
	}
	b, err := d.take(n + 1)
	if err != nil {
		return nil, err
	}
	if b[n] != 0 {
		return nil, malformed("a text does not end where it should")
	}
	s := string(b[:n])
	if err := checkText(s, code); err != nil {
		return nil, malformed("%w", err)
	}
	switch code {
	case 'o':
		return ObjectPath(s), nil
	case 'g':
		return Signature(s), nil
	}
	return s, nil
}

func (d *decoder) variant() (any, error) {
	s, err := d.text('g')
	if err != nil {
		return nil, err
	}
	signature := string(s.(Signature))
	if n := complete(signature, 32, 32); n == 0 || n != len(signature) {
		return nil, malformed("%q is not the type of one value", signature)
	}
	v, err := d.value(signature)
	return Variant{signature, v}, err
}

func (d *decoder) array(element string) (any, error) {
	n, err := d.length('u')
	if err != nil {
		return nil, err
	}
	if n > maxArray {
		return nil, malformed("an array of %d bytes is too long", n)
	}
	if err := d.align(alignment(element[0])); err != nil {
		return nil, err
	}
	if element == "y" {
		b, err := d.take(n)
		return bytes.Clone(b), err
	}
	end := d.pos + int(n)
	list := reflect.MakeSlice(reflect.SliceOf(typeOf(element)), 0, 0)
	for d.pos < end {
		v, err := d.value(element)
		if err != nil {
			return nil, err
		}
		list = reflect.Append(list, reflect.ValueOf(v))
	}
	if d.pos != end {
		return nil, malformed("an array does not end with an element")
	}
	return list.Interface(), nil
}
