// Command summary reads the output of go test -json, prints one line for each
// package, the output of tests that failed, the reasons of skips, and the
// numbers. It fails when a test or package failed, when nothing ran, or when
// there were more skips than its argument allows.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// event is a line of go test -json; see `go doc test2json`.
type event struct {
	Action, Package, ImportPath, Test, Output, FailedBuild string
}

// counter collects what the events say.
type counter struct {
	passed, failed, skipped int
	output                  map[string]*strings.Builder // of a test, until it ends
	withFailure             map[string]bool             // packages with a failed test
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go test -json | summary SKIPS")
		os.Exit(2)
	}
	allowed, err := strconv.Atoi(strings.TrimSpace(os.Args[1]))
	if err != nil {
		fmt.Fprintf(os.Stderr, "summary: %q is not a number of skips\n", os.Args[1])
		os.Exit(2)
	}
	c := &counter{output: make(map[string]*strings.Builder), withFailure: make(map[string]bool)}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var e event
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			fmt.Println(in.Text()) // not go test's own: show it
			continue
		}
		c.add(e)
	}
	if err := in.Err(); err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
		c.failed++
	}
	os.Exit(c.finish(allowed))
}

func (c *counter) add(e event) {
	key := e.Package + e.ImportPath + " " + e.Test
	text := c.output[key]
	switch e.Action {
	case "output", "build-output":
		if text == nil {
			text = new(strings.Builder)
			c.output[key] = text
		}
		text.WriteString(e.Output)
		return
	case "pass", "fail", "skip", "build-fail":
	default:
		return
	}
	delete(c.output, key)
	said := ""
	if text != nil {
		said = text.String()
	}
	switch {
	case e.Action == "build-fail":
		fmt.Print(said)
	case e.Test == "":
		c.addPackage(e, said)
	case e.Action == "pass":
		c.passed++
	case e.Action == "skip":
		c.skipped++
		fmt.Print(said)
	default:
		c.failed++
		c.withFailure[e.Package] = true
		fmt.Print(said)
	}
}

// addPackage counts a package that fails by itself (it does not compile, or
// its process died) as one failure.
func (c *counter) addPackage(e event, said string) {
	lines := strings.Split(strings.TrimSuffix(said, "\n"), "\n")
	if e.Action != "fail" {
		fmt.Println(lines[len(lines)-1])
		return
	}
	if !c.withFailure[e.Package] {
		c.failed++
	}
	fmt.Print(said)
}

func (c *counter) finish(allowed int) int {
	code := 0
	if c.failed > 0 {
		code = 1
	}
	if c.passed == 0 {
		fmt.Println("no test passed: something is wrong with the run itself")
		code = 1
	}
	if c.skipped > allowed {
		fmt.Printf("%d tests were skipped, and test/skips allows %d\n", c.skipped, allowed)
		code = 1
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", c.passed, c.failed, c.skipped)
	return code
}
