package bundle

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A decoder reads one JSON document (RFC 8259) from front to back. The first
// error sticks and moves pos to the end, where every further read is refused
// in turn: callers need not ask after each value whether there was one.
type decoder struct {
	data     string
	pos      int
	root     string // path of the document itself, "" for a config.json
	file     string // name in positions, "" if there is none
	path     []step // open objects and arrays
	key      string // the last key that nextKey read
	keyPos   int    // where it begins
	values   int    // members read so far, for maxValues
	err      error
	warnings []string
	unlisted int // warnings above maxWarnings
}

// A step is one open object or array and where in it we are.
type step struct {
	key   string // current key of an object
	count int    // members begun
	array bool
}

// fail records the first error, for the field that is being read.
func (d *decoder) fail(pos int, format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%s", d.message(pos, fmt.Sprintf(format, args...)))
	}
	d.pos = len(d.data)
}

// message puts the path of the current field before text and the position
// after it.
func (d *decoder) message(pos int, text string) string {
	var b strings.Builder
	b.WriteString(d.root)
	for _, s := range d.path {
		switch {
		case s.count == 0: // nothing of it has been read
		case s.array:
			b.WriteString("[" + strconv.Itoa(s.count-1) + "]")
		default:
			writeKey(&b, s.key)
		}
	}
	where := d.position(pos)
	switch {
	case d.file == "":
	case b.Len() == 0:
		b.WriteString(d.file)
	default:
		where = d.file + " " + where
	}
	return b.String() + ": " + text + " (" + where + ")"
}

// position is line and column of a byte, from 1, the column in characters.
func (d *decoder) position(pos int) string {
	before := d.data[:min(pos, len(d.data))]
	line := strings.Count(before, "\n") + 1
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	return fmt.Sprintf("line %d, column %d", line, column)
}

// mismatch is the error for a value of another type at pos.
func (d *decoder) mismatch(wanted string) {
	d.fail(d.pos, "expected %s, found %s", wanted, d.found())
}

// found names what stands at pos.
func (d *decoder) found() string {
	rest := d.data[d.pos:]
	if rest == "" {
		return "the end of the file"
	}
	switch c := rest[0]; {
	case c == '{':
		return "object"
	case c == '[':
		return "array"
	case c == '"':
		return "string"
	case c == '-' || '0' <= c && c <= '9':
		return "number"
	case strings.HasPrefix(rest, "true"), strings.HasPrefix(rest, "false"):
		return "boolean"
	case strings.HasPrefix(rest, "null"):
		return "null"
	}
	char, size := utf8.DecodeRuneInString(rest)
	if char == utf8.RuneError && size == 1 {
		return fmt.Sprintf("byte 0x%02x", rest[0])
	}
	return strconv.QuoteRune(char)
}

// peek skips white space and returns the next byte, 0 at the end.
func (d *decoder) peek() byte {
	for d.pos < len(d.data) {
		switch c := d.data[d.pos]; c {
		case ' ', '\t', '\n', '\r':
			d.pos++
		default:
			return c
		}
	}
	return 0
}

// end demands that the document ends here.
func (d *decoder) end() {
	d.peek()
	if d.pos < len(d.data) {
		d.fail(d.pos, "expected the end of the file, found %s", d.found())
	}
}

// null reads a null, if one is there.
func (d *decoder) null() bool { return d.peek() == 'n' && d.literal("null") }

// literal reads word, if it stands here and nothing that continues it.
func (d *decoder) literal(word string) bool {
	if !strings.HasPrefix(d.data[d.pos:], word) {
		return false
	}
	if next := d.pos + len(word); next < len(d.data) && isName(d.data[next:next+1]) {
		return false
	}
	d.pos += len(word)
	return true
}

// openObject reads the beginning of an object. It reports false for a null,
// which is read, and for an error; then there is nothing to iterate over.
func (d *decoder) openObject() bool { return d.open('{', "an object") }

// openArray does the same for an array.
func (d *decoder) openArray() bool { return d.open('[', "an array") }

func (d *decoder) open(c byte, what string) bool {
	switch {
	case d.null():
		return false
	case d.pos == len(d.data) || d.data[d.pos] != c:
		d.mismatch(what)
		return false
	case len(d.path) == maxDepth:
		d.fail(d.pos, "nested more than %d deep", maxDepth)
		return false
	}
	d.pos++
	d.path = append(d.path, step{array: c == '['})
	return true
}

// nextKey reads up to the value of the next member of the innermost object and
// leaves its name in key. It reports false at the end, which is read.
func (d *decoder) nextKey() bool {
	if !d.next('}') {
		return false
	}
	d.keyPos = d.pos
	if d.peek() != '"' {
		d.fail(d.pos, "expected a key in double quotes, found %s", d.found())
		return false
	}
	d.key = d.scanString()
	top := &d.path[len(d.path)-1]
	top.key = d.key
	top.count++
	if d.err == nil && d.peek() != ':' {
		d.fail(d.pos, "expected a colon after the key, found %s", d.found())
	}
	if d.err != nil {
		return false
	}
	d.pos++
	return true
}

// nextElement reads up to the next element of the innermost array. It reports
// false at the end, which is read.
func (d *decoder) nextElement() bool {
	if !d.next(']') {
		return false
	}
	d.path[len(d.path)-1].count++
	return true
}

// next reads the comma or closing bracket between members and counts them.
func (d *decoder) next(closing byte) bool {
	if d.err != nil {
		return false
	}
	c := d.peek()
	top := d.path[len(d.path)-1]
	switch {
	case c == closing:
		d.pos++
		d.path = d.path[:len(d.path)-1]
		return false
	case top.count == 0:
	case c != ',':
		d.fail(d.pos, "expected a comma or %q, found %s", string(closing), d.found())
		return false
	default:
		d.pos++
		if d.peek() == closing {
			d.fail(d.pos, "expected another value after the comma, found %q", string(closing))
			return false
		}
	}
	if d.values++; d.values > maxValues {
		d.fail(d.pos, "more than %d values in the document", maxValues)
		return false
	}
	if top.count == maxMembers {
		d.fail(d.pos, "more than %d values in one array or object", maxMembers)
		return false
	}
	return true
}
