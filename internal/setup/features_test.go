package setup

import (
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/seccomp"
)

// What features says is recognized is recognized.
func TestFeatures(t *testing.T) {
	f := Features()
	for _, o := range f.MountOptions {
		for _, text := range []string{o, strings.ToUpper(o)} {
			p := parseOptions([]string{text}, "ext4")
			if known := len(p.super) == 0; known != (text == o) {
				t.Errorf("mount option %s: recognized %v", text, known)
			}
		}
	}
	for _, n := range f.Linux.Namespaces {
		if NamespaceFlag(specs.LinuxNamespaceType(n)) == 0 {
			t.Errorf("namespace %s", n)
		}
	}
	for _, m := range f.Linux.MemoryPolicy.Modes {
		if _, ok := memoryMode(specs.MemoryPolicyModeType(m)); !ok {
			t.Errorf("memory policy %s", m)
		}
	}
	for _, m := range f.Linux.MemoryPolicy.Flags {
		if _, ok := memoryFlag(specs.MemoryPolicyFlagType(m)); !ok {
			t.Errorf("memory policy flag %s", m)
		}
	}
	for _, a := range f.Linux.Seccomp.Actions {
		compile(t, a, &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.LinuxSeccompAction(a)}}})
	}
	for _, o := range f.Linux.Seccomp.Operators {
		compile(t, o, &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Op: specs.LinuxSeccompOperator(o)}}}}})
	}
	for _, a := range f.Linux.Seccomp.Archs {
		compile(t, a, &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: []specs.Arch{specs.Arch(a)}})
	}
	for _, flag := range f.Linux.Seccomp.KnownFlags {
		compile(t, flag, &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlag(flag)}})
	}
	for _, list := range [][]string{f.MountOptions, f.Linux.Namespaces, f.Linux.Seccomp.Actions, f.Linux.Seccomp.Archs} {
		if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
			t.Errorf("not sorted, or twice the same: %q", list)
		}
	}
}

func compile(t *testing.T, name string, s *specs.LinuxSeccomp) {
	t.Helper()
	if f, err := seccomp.Compile(s); err != nil || len(f.Program) == 0 {
		t.Errorf("seccomp: %s: %v", name, err)
	}
}
