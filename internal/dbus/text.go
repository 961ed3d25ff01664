package dbus

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxTextDepth bounds arrays within each other.
const maxTextDepth = 16

// Parse reads a value in GVariant's text format, of a type that is basic except h,
// or an array of those. With a signature the text has to be a value of that type;
// with "" its type is what the text says, and otherwise i for integers, d for other
// numbers, and s for text in quotes. See GLib, "GVariant Text Format"; where that
// leaves a choice, this is what runc accepts in annotations org.systemd.property.*:
// a type is followed by a blank, and in b'…' an octal number is written \0ooo. The
// value has the Go type that Read gives, so []uint64 for at.
func Parse(text, signature string) (Variant, error) {
	if signature != "" && !parsable(signature) {
		return Variant{}, fmt.Errorf("values of type %q have no text form here", signature)
	}
	p := parser{text}
	n, err := p.node(0)
	if err != nil {
		return Variant{}, err
	}
	if p.blank(); p.rest != "" {
		return Variant{}, fmt.Errorf("%.99q is after the end of the value", p.rest)
	}
	if signature == "" {
		if len(n.types) == 0 {
			return Variant{}, fmt.Errorf("nothing tells the type of %q", text)
		}
		signature = n.types[0]
	}
	v, err := n.value(signature)
	if err != nil {
		return Variant{}, err
	}
	return Variant{signature, v}, nil
}

func parsable(signature string) bool {
	element := strings.TrimLeft(signature, "a")
	return len(element) == 1 && element != "h" && strings.Contains(basic, element) && len(signature) <= maxTextDepth+1
}

// node is a value whose type may not be known yet. Of its types the first is the
// one that it has if nothing else decides; an empty array without a type has none.
type node struct {
	types    []string
	kind     byte   // 'b' a boolean, '0' a number, 's' text, 'y' a byte string, 'a' an array
	text     string // what the value says, without quotes
	elements []node
}

type parser struct{ rest string }

func (p *parser) blank() { p.rest = strings.TrimLeftFunc(p.rest, unicode.IsSpace) }

// until passes over what is before a character for which f holds.
func (p *parser) until(f func(rune) bool) string {
	word := p.rest
	if i := strings.IndexFunc(word, f); i >= 0 {
		word = word[:i]
	}
	p.rest = p.rest[len(word):]
	return word
}

// node reads a value in as many arrays, with its type before it if there is one.
func (p *parser) node(depth int) (node, error) {
	p.blank()
	before := p.rest
	kind := p.annotation()
	if p.rest == before {
		return p.plain(depth)
	}
	if !parsable(kind) {
		return node{}, fmt.Errorf("values of type %q have no text form here", kind)
	}
	p.blank()
	n, err := p.plain(depth)
	if err != nil {
		return n, err
	}
	if len(n.types) > 0 && !slices.Contains(n.types, kind) {
		return n, fmt.Errorf("what is after %q is not of this type", kind)
	}
	n.types = []string{kind}
	return n, nil
}

// annotation reads a type, "@t" or "uint64", if there is one.
func (p *parser) annotation() string {
	if strings.HasPrefix(p.rest, "@") {
		return p.until(unicode.IsSpace)[1:]
	}
	for name, kind := range map[string]string{"boolean": "b", "byte": "y", "int16": "n", "uint16": "q", "int32": "i", "uint32": "u", "int64": "x",
		"uint64": "t", "double": "d", "string": "s", "objectpath": "o", "signature": "g"} {
		after, ok := strings.CutPrefix(p.rest, name)
		if ok && strings.IndexFunc(after[:min(len(after), utf8.UTFMax)], unicode.IsSpace) == 0 {
			p.rest = after
			return kind
		}
	}
	return ""
}

// plain reads a value without a type before it.
func (p *parser) plain(depth int) (node, error) {
	switch {
	case p.rest == "":
		return node{}, errors.New("the text ends where a value should be")
	case p.rest[0] == '[':
		return p.array(depth + 1)
	case p.rest[0] == '"' || p.rest[0] == '\'':
		quoted, err := p.quoted()
		if err != nil {
			return node{}, err
		}
		text, err := unescape(quoted, false)
		return node{kind: 's', text: text, types: []string{"s", "o", "g"}}, err
	case strings.HasPrefix(p.rest, `b"`) || strings.HasPrefix(p.rest, `b'`):
		p.rest = p.rest[1:]
		quoted, err := p.quoted()
		if err != nil {
			return node{}, err
		}
		text, err := unescape(quoted, true)
		return node{kind: 'y', text: text + "\x00", types: []string{"ay"}}, err
	}
	word := p.until(func(c rune) bool { return unicode.IsSpace(c) || strings.ContainsRune(`,:[](){}<>@"'`, c) })
	digits := strings.TrimLeft(word, "+-")
	switch {
	case word == "true" || word == "false":
		return node{kind: 'b', text: word, types: []string{"b"}}, nil
	case !special(digits) && strings.IndexAny(digits, "0123456789.") != 0:
		return node{}, fmt.Errorf("%.99q is not a value (text needs quotes)", word+p.rest)
	case special(digits), strings.Contains(word, "."), strings.Contains(word, "e") && !strings.HasPrefix(digits, "0x"):
		return node{kind: '0', text: word, types: []string{"d"}}, nil
	}
	return node{kind: '0', text: word, types: []string{"i", "y", "n", "q", "u", "x", "t", "d"}}, nil
}

// array reads elements, whose types are those that all of them can have.
func (p *parser) array(depth int) (node, error) {
	n := node{kind: 'a'}
	if depth > maxTextDepth {
		return n, errors.New("arrays are nested too deep")
	}
	p.rest = p.rest[1:]
	if p.blank(); strings.HasPrefix(p.rest, "]") {
		p.rest = p.rest[1:]
		return n, nil
	}
	for {
		element, err := p.node(depth)
		if err != nil {
			return n, err
		}
		n.elements = append(n.elements, element)
		if p.blank(); p.rest == "" || p.rest[0] != ',' && p.rest[0] != ']' {
			return n, fmt.Errorf("%.99q is where a comma or the end of the array should be", p.rest)
		}
		end := p.rest[0] == ']'
		p.rest = p.rest[1:]
		if end {
			break
		}
	}
	var common []string
	for _, e := range n.elements {
		if common == nil {
			common = slices.Clone(e.types)
		} else if e.types != nil {
			common = slices.DeleteFunc(common, func(kind string) bool { return !slices.Contains(e.types, kind) })
		}
		if common != nil && len(common) == 0 {
			return n, errors.New("elements of an array have different types")
		}
	}
	for _, kind := range common {
		n.types = append(n.types, "a"+kind)
	}
	return n, nil
}

// quoted reads what is in quotes.
func (p *parser) quoted() (string, error) {
	for i := 1; i < len(p.rest); i++ {
		switch p.rest[i] {
		case p.rest[0]:
			text := p.rest[1:i]
			p.rest = p.rest[i+1:]
			return text, nil
		case '\\':
			i++
		}
	}
	return "", errors.New("a quote has no end")
}

// control is the character that a letter after a backslash means; others mean
// themselves.
func control(c byte) byte {
	if i := strings.IndexByte("abtnvfr", c); i >= 0 {
		return "\a\b\t\n\v\f\r"[i]
	}
	return c
}

// unescape replaces what backslashes say in text, or in a byte string.
func unescape(s string, binary bool) (string, error) {
	var out []byte
	for {
		before, after, found := strings.Cut(s, `\`)
		if out = append(out, before...); !found {
			return string(out), nil
		}
		c := after[0] // one follows, see quoted
		s = after[1:]
		digits, base := 0, 16
		switch {
		case c == '\n' && !binary:
			continue
		case c == 'u' && !binary:
			digits = 4
		case c == 'U' && !binary:
			digits = 8
		case c == 'x' && binary:
			digits = 2
		case c == '0' && binary:
			digits, base = 3, 8
		default:
			out = append(out, control(c))
			continue
		}
		number := s[:min(digits, len(s))]
		n, err := strconv.ParseUint(number, base, 32)
		if err != nil || len(number) < digits || binary && n > math.MaxUint8 || n > unicode.MaxRune || !utf8.ValidRune(rune(n)) {
			return "", fmt.Errorf("after \\%c there are not %d digits of a character", c, digits)
		}
		if binary {
			out = append(out, byte(n))
		} else {
			out = utf8.AppendRune(out, rune(n))
		}
		s = s[digits:]
	}
}

// value is the value of a type that is parsable.
func (n *node) value(signature string) (any, error) {
	if len(n.types) > 0 && !slices.Contains(n.types, signature) || n.kind == 'a' && signature[0] != 'a' {
		return nil, fmt.Errorf("it is not of type %q", signature)
	}
	switch n.kind {
	case 'b':
		return n.text == "true", nil
	case '0':
		return number(n.text, signature)
	case 'y':
		return []byte(n.text), nil
	case 's':
		v := reflect.New(typeOf(signature)).Elem()
		v.SetString(n.text)
		return v.Interface(), checkText(n.text, signature[0])
	}
	list := reflect.MakeSlice(typeOf(signature), 0, len(n.elements))
	for _, e := range n.elements {
		v, err := e.value(signature[1:])
		if err != nil {
			return nil, err
		}
		list = reflect.Append(list, reflect.ValueOf(v))
	}
	return list.Interface(), nil
}

// number reads an integer in decimal, hexadecimal (0x) or octal (0), or a double
// in decimal.
func number(word, signature string) (any, error) {
	digits := strings.TrimLeft(word, "+-")
	sign := word[:len(word)-len(digits)]
	base := 10
	if hex, ok := strings.CutPrefix(digits, "0x"); ok {
		digits, base = hex, 16
	} else if len(digits) > 1 && digits[0] == '0' {
		base = 8
	}
	v := reflect.New(typeOf(signature)).Elem()
	var err error
	switch {
	case v.CanInt():
		var n int64
		n, err = strconv.ParseInt(sign+digits, base, v.Type().Bits())
		v.SetInt(n)
	case v.CanUint():
		var n uint64
		n, err = strconv.ParseUint(strings.TrimPrefix(sign, "+")+digits, base, v.Type().Bits())
		v.SetUint(n)
	default:
		var f float64
		f, err = strconv.ParseFloat(word, 64)
		v.SetFloat(f)
		if !special(digits) && strings.Trim(digits, "0123456789.eE+-") != "" { // hexadecimal
			err = strconv.ErrSyntax
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%q is not a number of type %q", word, signature)
	}
	return v.Interface(), nil
}

// special tells a double that is not a number in digits.
func special(word string) bool { return word == "inf" || word == "infinity" || word == "nan" }
