package setup

import (
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/bundle"
	"tongs/internal/seccomp"
)

// An architecture that bundle.Check accepts can be compiled, and no other.
func TestArchitecturesChecked(t *testing.T) {
	accepted := 0
	for name := range strings.FieldsSeq("X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB") {
		spec, err := mergedSpec("")
		if err != nil {
			t.Fatal(err)
		}
		spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.Arch("SCMP_ARCH_" + name)}}
		refused := bundle.Check(spec)
		if refused != nil && !strings.Contains(refused.Error(), "linux.seccomp.architectures[0]: there is no table") {
			t.Errorf("%s: %v", name, refused)
		}
		if refused == nil {
			accepted++
		}
		if _, err := seccomp.Compile(spec.Linux.Seccomp); (err == nil) != (refused == nil) {
			t.Errorf("%s: compiled: %v, checked: %v", name, err, refused)
		}
	}
	if accepted < 7 {
		t.Errorf("only %d architectures are accepted", accepted)
	}
}
