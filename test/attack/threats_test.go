package attack

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each row of docs/threats.md has a test that exists, or a reason.
func TestThreatsAreTested(t *testing.T) {
	data, err := os.ReadFile("../../docs/threats.md")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile("`([a-z/]+)\\.((?:Test|Fuzz)[A-Za-z0-9]+)`")
	rows, named := 0, map[string]bool{}
	for line := range strings.Lines(string(data)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		verdict := strings.TrimSpace(cells[len(cells)-1])
		if len(cells) < 2 || verdict == "test" || strings.HasPrefix(verdict, "---") {
			continue
		}
		rows++
		tests := name.FindAllStringSubmatch(verdict, -1)
		if len(tests) == 0 && !strings.HasPrefix(verdict, "covered by ") {
			t.Errorf("no test and no reason: %s", line)
		}
		for _, m := range tests {
			named[m[1]+"."+m[2]] = true
			if !exists(t, m[1], m[2]) {
				t.Errorf("%s.%s does not exist: %s", m[1], m[2], line)
			}
		}
	}
	if rows < 55 {
		t.Errorf("only %d rows", rows)
	}
	// The other way round: what is played here is in the table.
	for _, own := range functions(t, ".") {
		if own != "TestMain" && own != "TestThreatsAreTested" && !named["test/attack."+own] {
			t.Errorf("docs/threats.md does not name %s", own)
		}
	}
}

func exists(t *testing.T, dir, test string) bool {
	t.Helper()
	for _, f := range functions(t, filepath.Join("../..", dir)) {
		if f == test {
			return true
		}
	}
	return false
}

// functions lists the tests of a package.
func functions(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	test := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9]+)\(`)
	var list []string
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range test.FindAllStringSubmatch(string(data), -1) {
			list = append(list, m[1])
		}
	}
	return list
}
