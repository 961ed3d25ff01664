package bundle

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// scanString reads the string that begins at pos, which is at its quote. A
// string without escapes is a part of the document and costs no memory.
func (d *decoder) scanString() string {
	begin := d.pos + 1
	ascii := true
	for i := begin; i < len(d.data); i++ {
		switch c := d.data[i]; {
		case c == '"':
			s := d.data[begin:i]
			if !ascii && !d.validUTF8(begin, s) {
				return ""
			}
			d.pos = i + 1
			return s
		case c == '\\':
			return d.scanEscaped(begin, i)
		case c < ' ':
			d.fail(i, "control character 0x%02x in a string must be escaped", c)
			return ""
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	d.fail(begin-1, "the string that begins here has no end")
	return ""
}

// scanEscaped reads a string whose first escape is at i.
func (d *decoder) scanEscaped(begin, i int) string {
	var b strings.Builder
	b.WriteString(d.data[begin:i])
	for i < len(d.data) {
		switch c := d.data[i]; {
		case c == '"':
			// Escapes write valid UTF-8, so what is wrong is in the source.
			if s := b.String(); utf8.ValidString(s) || d.validUTF8(begin, d.data[begin:i]) {
				d.pos = i + 1
				return s
			}
			return ""
		case c == '\\':
			char, size := d.scanEscape(i)
			if size == 0 {
				return ""
			}
			b.WriteRune(char)
			i += size
		case c < ' ':
			d.fail(i, "control character 0x%02x in a string must be escaped", c)
			return ""
		default:
			b.WriteByte(c)
			i++
		}
	}
	d.fail(begin-1, "the string that begins here has no end")
	return ""
}

// validUTF8 checks the part s of the document, which begins at begin.
func (d *decoder) validUTF8(begin int, s string) bool {
	for i := 0; i < len(s); {
		char, size := utf8.DecodeRuneInString(s[i:])
		if char == utf8.RuneError && size == 1 {
			d.fail(begin+i, "invalid UTF-8 (byte 0x%02x) in a string", s[i])
			return false
		}
		i += size
	}
	return true
}

// scanEscape reads the escape at i and returns its character and length, which
// is 0 after an error.
func (d *decoder) scanEscape(i int) (rune, int) {
	if i+1 >= len(d.data) {
		d.fail(i, "unfinished escape in a string")
		return 0, 0
	}
	switch c := d.data[i+1]; c {
	case '"', '\\', '/':
		return rune(c), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		return d.scanUnicode(i)
	}
	d.fail(i, "unknown escape in a string; a backslash is written \\\\")
	return 0, 0
}

// scanUnicode reads the \uXXXX at i, and a second one if the two are a pair.
func (d *decoder) scanUnicode(i int) (rune, int) {
	char, ok := hex4(d.data, i)
	switch {
	case !ok:
		d.fail(i, "expected four hexadecimal digits after \\u")
	case char == 0:
		// NUL ends a string in the kernel: "/a\u0000/b" would be "/a" there.
		d.fail(i, "NUL (\\u0000) in a string")
	case !utf16.IsSurrogate(char):
		return char, 6
	default:
		low, _ := hex4(d.data, i+6)
		if pair := utf16.DecodeRune(char, low); pair != utf8.RuneError {
			return pair, 12
		}
		d.fail(i, "half of a UTF-16 surrogate pair in a string")
	}
	return 0, 0
}

// hex4 reads "\uXXXX" at i.
func hex4(s string, i int) (rune, bool) {
	if len(s) < i+6 || s[i] != '\\' || s[i+1] != 'u' {
		return 0, false
	}
	for _, c := range []byte(s[i+2 : i+6]) {
		if !isHex(c) {
			return 0, false // ParseUint alone would take a sign or an underscore
		}
	}
	n, err := strconv.ParseUint(s[i+2:i+6], 16, 32)
	return rune(n), err == nil
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
