package bundle

import (
	"fmt"
	"slices"
	"strings"
)

// maxWarnings bounds how many unknown keys are named one by one.
const maxWarnings = 100

// keySet finds a key that comes twice in an object which no struct describes.
type keySet struct {
	few  []string // enough for nearly all
	many map[string]struct{}
}

// add reports whether name is new.
func (s *keySet) add(name string) bool {
	if s.many != nil {
		_, found := s.many[name]
		s.many[name] = struct{}{}
		return !found
	}
	if slices.Contains(s.few, name) {
		return false
	}
	s.few = append(s.few, name)
	if len(s.few) > 16 { // from here on a linear search would be quadratic
		s.many = make(map[string]struct{}, 2*len(s.few))
		for _, name := range s.few {
			s.many[name] = struct{}{}
		}
	}
	return true
}

// unknown skips the value of the key that was just read, which is none of
// known, with a warning.
func (d *decoder) unknown(others *keySet, known ...string) {
	if !others.add(d.key) {
		d.duplicate()
		return
	}
	if len(d.warnings) < maxWarnings {
		text := "unknown key, ignored"
		if like := suggest(d.key, known); like != "" {
			text += fmt.Sprintf("; did you mean %q?", like)
		}
		d.warnings = append(d.warnings, d.message(d.keyPos, text))
	} else {
		d.unlisted++
	}
	d.skip()
}

// allWarnings is what the caller gets: the list, and a note if it was cut.
func (d *decoder) allWarnings() []string {
	if d.unlisted > 0 {
		return append(d.warnings, fmt.Sprintf("%d more unknown keys, ignored", d.unlisted))
	}
	return d.warnings
}

// skip reads one value of any kind. It is as strict about it as about others:
// what follows must not depend on how a reader takes a malformed part.
func (d *decoder) skip() {
	switch c := d.peek(); {
	case c == '{':
		var keys keySet
		if !d.openObject() {
			return
		}
		for d.nextKey() {
			if !keys.add(d.key) {
				d.duplicate()
				return
			}
			d.skip()
		}
	case c == '[':
		if !d.openArray() {
			return
		}
		for d.nextElement() {
			d.skip()
		}
	case c == '"':
		d.scanString()
	case c == '-' || '0' <= c && c <= '9':
		d.scanNumber()
	case d.null(), d.literal("true"), d.literal("false"):
	default:
		d.mismatch("a value")
	}
}

// suggest returns the one of known that name may be a slip for, or "".
func suggest(name string, known []string) string {
	const maxLength = 40 // the longest key of the specification has 26
	if len(name) > maxLength {
		return ""
	}
	for _, k := range known {
		if strings.EqualFold(name, k) {
			return k
		}
	}
	best, bestDistance := "", 3
	for _, k := range known {
		// In a short name two changes are another word: "uid" is not "cwd".
		if n := distance(name, k); n < bestDistance && 2*n < len(k) {
			best, bestDistance = k, n
		}
	}
	return best
}

// distance is the number of bytes to insert, remove or replace to come from a
// to b (Levenshtein), with regard to case.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
