package bundle

import (
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// The files in testdata are the output of Debian's runc 1.1.5, `spec` and
// `spec --rootless`, as root on a host without a pure cgroup v2.
func TestExampleLikeRunc(t *testing.T) {
	tests := []struct {
		file string
		got  *specs.Spec
	}{
		{"testdata/runc_spec.json", example(false)},
		{"testdata/runc_spec_rootless.json", withoutCgroup(ExampleRootless(0, 0))},
	}
	for _, test := range tests {
		data, err := os.ReadFile(test.file)
		if err != nil {
			t.Fatal(err)
		}
		want, warnings, err := Decode(data)
		if err != nil || len(warnings) > 0 {
			t.Fatalf("%s: %v %q", test.file, err, warnings)
		}
		want.Version = "1.3.0"
		want.Process.Capabilities.Ambient = nil // see Example
		if !reflect.DeepEqual(test.got, want) {
			t.Errorf("%s: got\n%s\nwant\n%s", test.file, encode(t, test.got), encode(t, want))
		}
	}
}

// withoutCgroup removes what depends on the host of the test.
func withoutCgroup(spec *specs.Spec) *specs.Spec {
	spec.Linux.Namespaces = slices.DeleteFunc(spec.Linux.Namespaces, func(ns specs.LinuxNamespace) bool {
		return ns.Type == specs.CgroupNamespace
	})
	return spec
}

func TestExampleCgroupNamespace(t *testing.T) {
	for _, with := range []bool{false, true} {
		if got := namespace(example(with).Linux, specs.CgroupNamespace) != nil; got != with {
			t.Errorf("got %v, want %v", got, with)
		}
	}
}

func TestExampleIsGood(t *testing.T) {
	for name, spec := range map[string]*specs.Spec{
		"example": Example(), "example with cgroup": example(true), "rootless": ExampleRootless(1000, 1001),
	} {
		if err := Check(spec); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if w := Warnings(spec); len(w) > 0 {
			t.Errorf("%s: %q", name, w)
		}
	}
	linux := ExampleRootless(1000, 1001).Linux
	if linux.UIDMappings[0].HostID != 1000 || linux.GIDMappings[0].HostID != 1001 {
		t.Errorf("mappings %v %v", linux.UIDMappings, linux.GIDMappings)
	}
}
