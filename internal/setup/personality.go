package setup

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// setPersonality sets the execution domain that linux.personality names
// (runtime-spec 1.3, config-linux § Personality; personality(2)). No flags are
// defined; they were warned of when the configuration was read.
func setPersonality(e *Env) error {
	if e.Spec.Linux == nil || e.Spec.Linux.Personality == nil {
		return nil
	}
	const linux32 = 8 // PER_LINUX32; PER_LINUX is 0
	domain := uint64(0)
	switch d := e.Spec.Linux.Personality.Domain; d {
	case specs.PerLinux:
	case specs.PerLinux32:
		domain = linux32
	default:
		return fmt.Errorf("linux.personality.domain: unknown domain %q", d)
	}
	e.B.For("linux.personality", "cannot set the execution domain")
	e.B.Personality(domain)
	return nil
}
