package setup

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// claims lists who is responsible for which field.
func claims() map[string][]string {
	c := map[string][]string{}
	for _, order := range [][]Step{HostOrder(), TreeOrder(), CreateOrder(), TailOrder()} {
		for _, s := range order {
			for _, f := range s.Fields {
				who := "the step " + s.Name
				c[f] = append(c[f], who)
			}
		}
	}
	for f := range Ignored() {
		c[f] = append(c[f], "Ignored()")
	}
	return c
}

// leaves lists the paths of all fields of a type that hold no others.
func leaves(t reflect.Type, path string) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return []string{path}
	}
	var list []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			list = append(list, leaves(f.Type, path)...)
		case name == "-" || !f.IsExported():
		default:
			list = append(list, leaves(f.Type, strings.TrimPrefix(path+"."+name, "."))...)
		}
	}
	return list
}

// Each field of the specification's types has exactly one owner: a step, or
// the list of what needs no step. A field that a
// new release of the specification brings fails here until somebody decides.
func TestFieldsHaveOwners(t *testing.T) {
	all := leaves(reflect.TypeFor[specs.Spec](), "")
	if len(all) < 100 {
		t.Fatalf("only %d fields were found", len(all))
	}
	used := map[string]bool{}
	for _, leaf := range all {
		var owners []string
		for claim, who := range claims() {
			if leaf == claim || strings.HasPrefix(leaf, claim+".") {
				owners = append(owners, who...)
				used[claim] = true
			}
		}
		switch len(owners) {
		case 0:
			t.Errorf("%s: no step has it in Fields, and it is not in Ignored()", leaf)
		case 1:
		default:
			slices.Sort(owners)
			t.Errorf("%s: claimed by %s", leaf, strings.Join(owners, " and "))
		}
	}
	for claim, who := range claims() {
		if !used[claim] {
			t.Errorf("%s: claimed by %s, but the specification has no such field", claim, strings.Join(who, " and "))
		}
	}
}

func TestIgnoredHaveReasons(t *testing.T) {
	for path, reason := range Ignored() {
		if len(reason) < len("of Windows") {
			t.Errorf("%s: %q is no reason", path, reason)
		}
	}
}

func TestOrdersAreNamed(t *testing.T) {
	for _, order := range [][]Step{HostOrder(), TreeOrder(), CreateOrder(), TailOrder()} {
		for i, s := range order {
			if s.Name == "" || s.Run == nil {
				t.Errorf("row %d (%q) has no name or no function", i, s.Name)
			}
		}
	}
}
