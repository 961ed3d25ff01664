package criu

import (
	"encoding/binary"
	"errors"
	"math"
)

// Wire types of the protocol buffers encoding: what follows a field's key.
const (
	wireVarint = 0
	wire64     = 1
	wireBytes  = 2
	wire32     = 5
)

// encoder writes a message. A field that is zero is left out: CRIU's default is
// the same, but for images_dir_fd.
type encoder struct {
	buf []byte
}

func (e *encoder) key(field, kind int) {
	e.buf = binary.AppendUvarint(e.buf, uint64(field)<<3|uint64(kind))
}

// int writes a number, negative ones as ten bytes.
func (e *encoder) int(field int, n int64) {
	e.key(field, wireVarint)
	e.buf = binary.AppendUvarint(e.buf, uint64(n))
}

func (e *encoder) bool(field int, set bool) {
	if set {
		e.int(field, 1)
	}
}

func (e *encoder) string(field int, s string) {
	if s != "" {
		e.bytes(field, []byte(s))
	}
}

func (e *encoder) bytes(field int, data []byte) {
	e.key(field, wireBytes)
	e.buf = binary.AppendUvarint(e.buf, uint64(len(data)))
	e.buf = append(e.buf, data...)
}

func (e *encoder) message(field int, fill func(*encoder)) {
	var m encoder
	fill(&m)
	e.bytes(field, m.buf)
}

var errDamaged = errors.New("the message is damaged")

// fields calls f for each field of a message, with the number or the bytes that
// it has. What f does not know it passes over.
func fields(data []byte, f func(field int, n int64, bytes []byte) error) error {
	for len(data) > 0 {
		key, size := binary.Uvarint(data)
		if size <= 0 || key>>3 == 0 || key>>3 > math.MaxInt32 {
			return errDamaged
		}
		data = data[size:]
		var n uint64
		var bytes []byte
		switch key & 7 {
		case wireVarint:
			if n, size = binary.Uvarint(data); size <= 0 {
				return errDamaged
			}
		case wire64:
			size = 8
		case wire32:
			size = 4
		case wireBytes:
			if n, size = binary.Uvarint(data); size <= 0 || n > uint64(len(data)-size) {
				return errDamaged
			}
			bytes = data[size : size+int(n)]
			size += int(n)
		default:
			return errDamaged
		}
		if size > len(data) {
			return errDamaged
		}
		data = data[size:]
		if err := f(int(key>>3), int64(n), bytes); err != nil {
			return err
		}
	}
	return nil
}
