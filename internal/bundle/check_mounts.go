package bundle

import (
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// checkMounts checks what does not depend on how options are understood: that
// is the business of the code that mounts. A relative destination means one
// below "/" (config § Mounts) and gets a warning.
func checkMounts(c *checker, mounts []specs.Mount) {
	for i := range mounts {
		m := &mounts[i]
		if m.Destination == "" {
			c.Addf(at("mounts", i, "destination"), "required")
		}
		for _, text := range [...]struct{ name, value string }{
			{"destination", m.Destination}, {"type", m.Type}, {"source", m.Source},
		} {
			if strings.IndexByte(text.value, 0) >= 0 {
				checkNUL(c, at("mounts", i, text.name), text.value)
			}
		}
		checkEachNUL(c, m.Options, "mounts", i, "options")
		if len(m.UIDMappings) == 0 && len(m.GIDMappings) == 0 {
			continue
		}
		switch { // a MUST of config § Mounts
		case len(m.UIDMappings) == 0:
			c.Addf(at("mounts", i, "uidMappings"), "required with gidMappings")
		case len(m.GIDMappings) == 0:
			c.Addf(at("mounts", i, "gidMappings"), "required with uidMappings")
		}
		checkMappings(c, at("mounts", i, "uidMappings"), m.UIDMappings)
		checkMappings(c, at("mounts", i, "gidMappings"), m.GIDMappings)
	}
}
