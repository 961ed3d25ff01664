// Package resources compares limits, device rules and statistics of containers
// with those that Debian's runc sets and reports for the same configuration, and
// tries them from inside.
//
// What this machine's kernel has no controller for is tested in the virtual
// machine.
package resources

import (
	"testing"

	"tongs/internal/linuxtest"
)

func TestMain(m *testing.M) { linuxtest.Main(m) }

// forever is a program that waits to be killed.
func forever() linuxtest.Edit { return linuxtest.Args("/bin/sleep", "1000") }

// same fails the test if two values differ.
func same[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
