package linuxtest

import (
	"slices"
	"strings"
	"testing"

	"tongs/test/inside/report"
)

// Equal wants two values to be the same.
func Equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// EqualList wants two lists to be the same.
func EqualList(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// Words joins what white space separates by single spaces.
func Words(s string) string { return strings.Join(strings.Fields(s), " ") }

// OwnNamespaces lists the namespaces of a container's process that are not the
// test's, in the order of their names.
func OwnNamespaces(t *testing.T, r *report.Report) string {
	t.Helper()
	var list []string
	for name, link := range r.Namespaces {
		if link != HostNamespace(t, name) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}
