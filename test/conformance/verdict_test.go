package conformance

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// verdict is what a program has found wrong, each once: the descriptions of TAP's
// lines, and exited or complained for what it did not put into such a line.
type verdict struct {
	failures []string
	output   string
}

const (
	exited     = "exit"     // it could not go on
	complained = "error"    // a diagnostic that belongs to no test
	anything   = "anything" // in the list
)

func (v verdict) fails(what string) bool {
	if what == anything {
		return len(v.failures) > 0
	}
	return slices.Contains(v.failures, what)
}

// judge reads the Test Anything Protocol, version 13.
func judge(text string, err error) verdict {
	var v verdict
	bad := regexp.MustCompile(`^not ok( \d+)?( - )?`)
	tests := 0
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if found := bad.FindString(line); found != "" {
			v.failures = append(v.failures, strings.TrimPrefix(line, found))
		}
		if strings.HasPrefix(line, "ok") || strings.HasPrefix(line, "not ok") {
			tests++
		}
		if tests == 0 && strings.HasPrefix(line, `    "error":`) {
			v.failures = append(v.failures, complained)
		}
	}
	if err != nil {
		v.failures = append(v.failures, exited)
	}
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		v.failures = append(v.failures, err.Error())
	}
	slices.Sort(v.failures)
	v.failures = slices.Compact(v.failures)
	return v
}

// brief leaves out what went well.
func brief(text string) string {
	var out strings.Builder
	wrong := true
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "ok") || strings.HasPrefix(line, "not ok") {
			wrong = strings.HasPrefix(line, "not ok")
		}
		if wrong {
			out.WriteString(line)
		}
	}
	return out.String()
}

// row is a line of the table in docs/conformance.md.
type row struct {
	program, where, fails, reason, runc string
}

const same = "the same"

// readList reads the rows of the table whose first column is "Program".
func readList(t *testing.T, file string) []row {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	inTable := false
	for line := range strings.Lines(string(data)) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		switch {
		case strings.HasPrefix(line, "| Program | "):
			inTable = true
		case !strings.HasPrefix(line, "|"):
			inTable = false
		case inTable && !strings.HasPrefix(line, "|---"):
			if len(cells) != 5 {
				t.Fatalf("%s: %q has not five columns", file, line)
			}
			r := row{strings.TrimPrefix(cells[0], "| "), cells[1], cells[2], cells[3], strings.TrimSuffix(cells[4], " |")}
			if r.reason == "" || r.runc != same && r.runc != "passes" {
				t.Errorf("%s: %q lacks a reason, or does not say what runc does: %q or \"passes\"", file, line, same)
			}
			rows = append(rows, r)
		}
	}
	if len(rows) == 0 {
		t.Fatalf("%s has no table", file)
	}
	return rows
}

// applies decides on the column "Where".
func (r row) applies(t *testing.T, h *linuxtest.Host) bool {
	t.Helper()
	missing := func(path string) bool {
		_, err := os.Stat("/sys/fs/cgroup/" + path)
		return !h.V2 && err != nil
	}
	switch r.where {
	case "everywhere":
		return true
	case "cgroup v1":
		return !h.V2
	case "cgroup v2":
		return h.V2
	case "v1 without blkio.leaf_weight":
		return missing("blkio/blkio.leaf_weight")
	case "v1 without hugetlb":
		return missing("hugetlb")
	case "v1 without net_cls":
		return missing("net_cls")
	case "no CAP_SYS_RESOURCE":
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_RESOURCE, 0, 0, 0)
		return err != nil || has == 0
	}
	t.Errorf("docs/conformance.md: nobody knows where %q is", r.where)
	return false
}
