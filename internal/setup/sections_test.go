package setup

import (
	"slices"
	"strings"
)

// sections is a golden file: text before the first marker, then its parts.
type sections struct {
	comment string
	names   []string
	text    map[string]string
}

func parseSections(data string) *sections {
	s := &sections{text: map[string]string{}}
	for line := range strings.Lines(data) {
		if name, ok := strings.CutPrefix(line, "-- "); ok && strings.HasSuffix(name, " --\n") {
			s.names = append(s.names, strings.TrimSuffix(name, " --\n"))
		} else if len(s.names) == 0 {
			s.comment += line
		} else {
			s.text[s.names[len(s.names)-1]] += line
		}
	}
	return s
}

func (s *sections) String() string {
	var b strings.Builder
	b.WriteString(s.comment)
	for _, name := range s.names {
		b.WriteString("-- " + name + " --\n" + s.text[name])
	}
	return b.String()
}

func (s *sections) set(name, text string) {
	if !slices.Contains(s.names, name) {
		s.names = append(s.names, name)
	}
	s.text[name] = text
}

// diff lists the lines that differ, each group below the round trip that it
// is in: a longest common subsequence, which is enough for some hundred lines.
func diff(from, to string) string {
	a, b := strings.SplitAfter(from, "\n"), strings.SplitAfter(to, "\n")
	common := make([][]int, len(a)+1)
	common[len(a)] = make([]int, len(b)+1)
	for i := len(a) - 1; i >= 0; i-- {
		common[i] = make([]int, len(b)+1)
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out strings.Builder
	head, same := "", true
	line := func(sign, s string) {
		if same && head != "" {
			out.WriteString(" " + head)
		}
		out.WriteString(sign + s)
		same = false
	}
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			if strings.HasPrefix(a[i], "# ") {
				head = a[i]
			}
			same = true
			i++
			j++
		case j < len(b) && (i == len(a) || common[i][j+1] >= common[i+1][j]):
			line("+", b[j])
			j++
		default:
			line("-", a[i])
			i++
		}
	}
	return out.String()
}
