package vm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// result is a test that has run in the machine.
type result struct {
	name     string // of this test alone
	action   string // pass, fail, skip; empty if it did not end
	output   strings.Builder
	children []*result
}

// readResults understands the output of a test program.
func readResults(output []byte) (*result, error) {
	cmd := exec.Command("go", "tool", "test2json")
	cmd.Stdin = bytes.NewReader(output)
	events, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("cannot read the output of tests: %v", err)
	}
	top := new(result)
	known := map[string]*result{"": top}
	for line := range bytes.Lines(events) {
		var e struct{ Action, Test, Output string }
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("cannot read the output of tests: %v: %s", err, line)
		}
		r := known[e.Test]
		if r == nil {
			r = add(known, e.Test)
		}
		switch e.Action {
		case "output":
			r.output.WriteString(e.Output)
		case "pass", "fail", "skip":
			r.action = e.Action
		}
	}
	return top, nil
}

// add puts a test below the one whose name its own begins with.
func add(known map[string]*result, test string) *result {
	above := test
	for known[above] == nil {
		above = above[:max(0, strings.LastIndexByte(above, '/'))]
	}
	r := &result{name: strings.TrimPrefix(strings.TrimPrefix(test, above), "/")}
	known[above].children = append(known[above].children, r)
	known[test] = r
	return r
}

// replay makes each test of the machine a subtest here, with the same outcome.
func (r *result) replay(t *testing.T) {
	for _, c := range r.children {
		t.Run(c.name, func(t *testing.T) {
			c.replay(t)
			switch c.action {
			case "pass":
			case "skip":
				t.Skip(c.output.String())
			case "fail":
				t.Error(c.output.String())
			default:
				t.Errorf("it did not end:\n%s", c.output.String())
			}
		})
	}
}
