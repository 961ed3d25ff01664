package bundle

import (
	"fmt"
	"strings"
)

// ErrorList is several errors that were found together. It is never empty
// where this package returns it.
type ErrorList []error

// Error is the text of each error, one a line: a single error is one line.
func (l ErrorList) Error() string {
	lines := make([]string, len(l))
	for i, err := range l {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.Is and errors.As the single errors.
func (l ErrorList) Unwrap() []error { return l }

// checker collects what the checks find. Paths are made where there is
// something to say, so a good configuration costs no text.
type checker struct {
	errs ErrorList
}

// Addf adds an error about the field at path.
func (c *checker) Addf(path, format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...)))
}

// result returns what was found as an error, nil when there is nothing.
func (c *checker) result() error {
	if len(c.errs) == 0 {
		return nil // not an ErrorList(nil) in an interface, which is not nil
	}
	return c.errs
}
