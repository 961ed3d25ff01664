package bundle

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// at writes the path of a field: a string is a key, an int an index.
//
//	at("mounts", 3, "options")      mounts[3].options
//	at("linux.sysctl", key("a.b"))  linux.sysctl["a.b"]
//
// The first string is taken as it is, so it may be a path already.
func at(parts ...any) string {
	var b strings.Builder
	for i, part := range parts {
		switch part := part.(type) {
		case int:
			b.WriteString("[" + strconv.Itoa(part) + "]")
		case key:
			writeKey(&b, string(part))
		case string:
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(part)
		}
	}
	return b.String()
}

// key is a part of a path that comes from the input, not from our code.
type key string

// maxKeyShown bounds what one hostile key can add to a message, in bytes.
const maxKeyShown = 80

// writeKey appends one key: with a dot if it looks like a field's name, else
// quoted in brackets, so that a path always tells where a key ends.
func writeKey(b *strings.Builder, name string) {
	if !isName(name) {
		b.WriteString("[" + quote(name) + "]")
		return
	}
	if b.Len() > 0 {
		b.WriteByte('.')
	}
	b.WriteString(name)
}

func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && len(s) <= maxKeyShown
}

// quote quotes input for a message, and cuts what is too long to be read.
func quote(s string) string {
	if len(s) <= maxKeyShown {
		return strconv.Quote(s)
	}
	cut := maxKeyShown
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strconv.Quote(s[:cut]) + "…"
}
