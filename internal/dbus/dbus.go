// Package dbus turns D-Bus messages into bytes and back, as the D-Bus
// Specification 0.43 has them ("spec" below), and reads and writes single values
// in GVariant's text format (GLib, "GVariant Text Format").
//
// It deliberately does not
//   - connect, authenticate, or match replies with calls;
//   - pass descriptors: a value of type h is a number;
//   - send maps, or anything else whose signature its Go type does not tell;
//   - check bus names, or what flags a message has;
//   - read structs, dicts, variants and maybes from text.
package dbus

import (
	"errors"
	"fmt"
	"strings"
)

// The specification's limits ("Message Format", "Marshaling").
const (
	maxMessage = 1 << 27 // bytes
	maxArray   = 1 << 26 // bytes of the elements
	maxDepth   = 64      // containers and variants within each other
)

// ObjectPath is a value of type o: names between slashes, as "/org/freedesktop"
// (spec, "Valid Object Paths").
type ObjectPath string

// Signature is a value of type g: a list of types, see ValidSignature.
type Signature string

// Pair is an entry of a decoded dict: a{sv} is []Pair, in the sender's order.
type Pair struct{ Key, Value any }

// Error is an error reply.
type Error struct {
	Name string // as "org.freedesktop.systemd1.NoSuchUnit"
	Body []any
}

// Error is the text that comes with most errors, otherwise the error's name.
func (e Error) Error() string {
	if len(e.Body) > 0 {
		if text, ok := e.Body[0].(string); ok {
			return text
		}
	}
	return e.Name
}

// Type is the kind of a message.
type Type byte

// The types that there are (spec, "Message Format"). Messages of others are to be
// ignored.
const (
	TypeMethodCall Type = 1 + iota
	TypeMethodReply
	TypeError
	TypeSignal
)

// Message is a message with its header fields (spec, "Header Fields"). One that is
// empty or 0 is not there. A call needs Path and Member, a reply ReplySerial, an
// error ErrorName and ReplySerial, a signal Path, Interface and Member, and each a
// Serial. The field with the signature is made of Body and checked against it.
type Message struct {
	Type        Type
	Serial      uint32
	ReplySerial uint32 // the Serial of the call that this answers
	Path        ObjectPath
	Interface   string
	Member      string
	ErrorName   string
	Destination string
	Sender      string
	Body        []any
}

// check finds what no message may lack or have, sent or received.
func (m *Message) check() error {
	var lacks bool
	switch m.Type {
	case 0:
		return errors.New("malformed message: its type is 0")
	case TypeMethodCall:
		lacks = m.Path == "" || m.Member == ""
	case TypeMethodReply:
		lacks = m.ReplySerial == 0
	case TypeError:
		lacks = m.ReplySerial == 0 || m.ErrorName == ""
	case TypeSignal:
		lacks = m.Path == "" || m.Interface == "" || m.Member == ""
	}
	if lacks || m.Serial == 0 {
		return fmt.Errorf("malformed message: one of type %d lacks a header field", m.Type)
	}
	for _, name := range []string{m.Interface, m.ErrorName} {
		if name != "" && !validName(name, true) {
			return fmt.Errorf("malformed message: %.99q is not the name of an interface or error", name)
		}
	}
	if m.Member != "" && !validName(m.Member, false) {
		return fmt.Errorf("malformed message: %.99q is not the name of a member", m.Member)
	}
	return nil
}

// fields points to the values of the header fields, whose codes begin at 1 (spec,
// "Header Fields"). The last, the number of descriptors, is of no interest.
func (m *Message) fields(body *Signature) []any {
	return []any{&m.Path, &m.Interface, &m.Member, &m.ErrorName, &m.ReplySerial, &m.Destination, &m.Sender, body, new(uint32)}
}

// validName tells the name of an interface or error, which has elements between
// dots, or of a member, which is one (spec, "Valid Names").
func validName(name string, dots bool) bool {
	for e := range strings.SplitSeq(name, ".") {
		if !validElement(e) || e[0] >= '0' && e[0] <= '9' {
			return false
		}
	}
	return len(name) <= 255 && strings.Contains(name, ".") == dots
}

func validPath(path string) bool {
	elements, ok := strings.CutPrefix(path, "/")
	if !ok || elements == "" {
		return ok
	}
	for e := range strings.SplitSeq(elements, "/") {
		if !validElement(e) {
			return false
		}
	}
	return true
}

func validElement(e string) bool {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
	return e != "" && strings.Trim(e, letters) == ""
}
