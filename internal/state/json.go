package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
)

// maxDepth bounds nesting, and with it the stack, for a hostile file.
const maxDepth = 32

// reader reads one JSON text (RFC 8259) from front to back. The first error
// sticks; after it every method returns a zero value at once. As in
// encoding/json, null leaves a field empty.
type reader struct {
	data  []byte
	pos   int
	depth int
	err   error
}

func (r *reader) fail(wanted string) {
	if r.err == nil {
		r.err = fmt.Errorf("expected %s at byte %d of %d", wanted, r.pos, len(r.data))
	}
	r.pos = len(r.data)
}

// peek gives the next byte that is not space, or 0 at the end.
func (r *reader) peek() byte {
	for r.pos < len(r.data) {
		switch c := r.data[r.pos]; c {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return c
		}
	}
	return 0
}

// accept takes the byte c if it is next.
func (r *reader) accept(c byte) bool {
	if r.peek() != c || r.pos == len(r.data) {
		return false
	}
	r.pos++
	return true
}

// word takes the literal s if it is next.
func (r *reader) word(s string) bool {
	r.peek()
	if !bytes.HasPrefix(r.data[r.pos:], []byte(s)) {
		return false
	}
	r.pos += len(s)
	return true
}

// end makes sure that nothing follows.
func (r *reader) end() {
	if r.peek(); r.pos < len(r.data) {
		r.fail("the end")
	}
}

// list reads open, items with commas in between, and close.
func (r *reader) list(open, close byte, what string, item func()) {
	if r.word("null") {
		return
	}
	if !r.accept(open) {
		r.fail(what)
		return
	}
	if r.depth++; r.depth > maxDepth {
		r.fail("less nesting")
		return
	}
	if !r.accept(close) {
		for {
			item()
			if r.accept(',') {
				continue
			}
			if !r.accept(close) {
				r.fail("a comma or the end of " + what)
			}
			break
		}
	}
	r.depth--
}

// object calls member for each key, which must read the value.
func (r *reader) object(member func(key string)) {
	r.list('{', '}', "an object", func() {
		if r.peek() != '"' {
			r.fail("a key")
			return
		}
		key := r.str()
		if !r.accept(':') {
			r.fail("a colon")
			return
		}
		member(key)
	})
}

func (r *reader) array(item func()) { r.list('[', ']', "an array", item) }

func (r *reader) strs() (list []string) {
	r.array(func() { list = append(list, r.str()) })
	return list
}

func (r *reader) strMap() map[string]string {
	if r.word("null") {
		return nil
	}
	m := make(map[string]string)
	r.object(func(key string) { m[key] = r.str() })
	return m
}

// str reads a string. Escapes and what is not ASCII are rare here, and left to
// encoding/json.
func (r *reader) str() (s string) {
	if r.word("null") {
		return ""
	}
	if !r.accept('"') {
		r.fail("a string")
		return ""
	}
	start, plain := r.pos, true
	for ; r.pos < len(r.data); r.pos++ {
		switch c := r.data[r.pos]; {
		case c == '"':
			r.pos++
			if plain {
				return string(r.data[start : r.pos-1])
			}
			if err := json.Unmarshal(r.data[start-1:r.pos], &s); err != nil {
				r.fail("a string without control characters")
			}
			return s
		case c == '\\':
			plain = false
			r.pos++
		case c < ' ' || c > '~':
			plain = false
		}
	}
	r.fail("the end of a string")
	return ""
}

func (r *reader) time() (t time.Time) {
	if r.word("null") {
		return t
	}
	pos := r.pos
	if s := r.str(); r.err == nil && t.UnmarshalText([]byte(s)) != nil {
		r.pos = pos
		r.fail("a time (RFC 3339)")
	}
	return t
}

func (r *reader) bool() bool {
	switch {
	case r.word("true"):
		return true
	case r.word("false"), r.word("null"):
	default:
		r.fail("true or false")
	}
	return false
}

// number gives the characters of a number.
func (r *reader) number() string {
	r.peek()
	start := r.pos
	for r.pos < len(r.data) && bytes.IndexByte([]byte("+-.0123456789Ee"), r.data[r.pos]) >= 0 {
		r.pos++
	}
	return string(r.data[start:r.pos])
}

func (r *reader) int() int64 {
	if r.word("null") {
		return 0
	}
	n, err := strconv.ParseInt(r.number(), 10, 64)
	if err != nil {
		r.fail("an integer")
	}
	return n
}

func (r *reader) uint() uint64 {
	if r.word("null") {
		return 0
	}
	n, err := strconv.ParseUint(r.number(), 10, 64)
	if err != nil {
		r.fail("an integer that is not negative")
	}
	return n
}

// skip reads a value of any type: keys of a later tongs, or of runc.
func (r *reader) skip() {
	switch c := r.peek(); {
	case c == '{':
		r.object(func(string) { r.skip() })
	case c == '[':
		r.array(r.skip)
	case c == '"':
		r.str()
	case c == 't', c == 'f', c == 'n':
		r.bool()
	default:
		if _, err := strconv.ParseFloat(r.number(), 64); errors.Is(err, strconv.ErrSyntax) {
			r.fail("a value")
		}
	}
}

// writer appends JSON. Its methods put the commas; who calls them pairs open
// with close and key with a value.
type writer struct {
	buf []byte
}

func (w *writer) open(c byte)  { w.buf = append(w.buf, c) }
func (w *writer) close(c byte) { w.buf = append(w.buf, c) }

// item begins an element of an array.
func (w *writer) item() *writer {
	if c := w.buf[len(w.buf)-1]; c != '[' && c != '{' {
		w.buf = append(w.buf, ',')
	}
	return w
}

// key begins a member of an object.
func (w *writer) key(k string) *writer {
	w.item().str(k)
	w.buf = append(w.buf, ':')
	return w
}

func (w *writer) null()         { w.buf = append(w.buf, "null"...) }
func (w *writer) bool(v bool)   { w.buf = strconv.AppendBool(w.buf, v) }
func (w *writer) int(v int64)   { w.buf = strconv.AppendInt(w.buf, v, 10) }
func (w *writer) uint(v uint64) { w.buf = strconv.AppendUint(w.buf, v, 10) }

func (w *writer) time(t time.Time) {
	w.buf = append(t.AppendFormat(append(w.buf, '"'), time.RFC3339Nano), '"')
}

// str leaves everything that needs thought to encoding/json.
func (w *writer) str(s string) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // a string cannot fail
			w.buf = append(w.buf, quoted...)
			return
		}
	}
	w.buf = append(append(append(w.buf, '"'), s...), '"')
}

func (w *writer) strs(list []string) {
	if list == nil {
		w.null()
		return
	}
	w.open('[')
	for _, s := range list {
		w.item().str(s)
	}
	w.close(']')
}

func (w *writer) strMap(m map[string]string) {
	if m == nil {
		w.null()
		return
	}
	w.open('{')
	for _, k := range slices.Sorted(maps.Keys(m)) {
		w.key(k).str(m[k])
	}
	w.close('}')
}
