package bundle

import (
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// checkIntelRdt: config-linux § IntelRdt, and the kernel's resctrl.rst.
func checkIntelRdt(c *checker, rdt *specs.LinuxIntelRdt) {
	const path = "linux.intelRdt"
	if rdt == nil {
		return
	}
	// closID is the name of a directory; "/" stands for the default group.
	switch id := rdt.ClosID; id {
	case "", "/":
	case ".", "..":
		c.Addf(path+".closID", "%q is not the name of a group", id)
	case "info", "mon_data", "mon_groups":
		// They are there in the file system, but are not groups.
		c.Addf(path+".closID", "%q is reserved by the resctrl file system", id)
	default:
		if strings.ContainsAny(id, "/\n\x00") {
			c.Addf(path+".closID", "%s contains a slash, newline or NUL", quote(id))
		}
	}
	checkNUL(c, path+".l3CacheSchema", rdt.L3CacheSchema)
	// Both are a MUST: a further line would set what this field is not for.
	// (For l3CacheSchema it is a SHOULD; runc writes several lines.)
	if s := rdt.MemBwSchema; s != "" {
		if !strings.HasPrefix(s, "MB:") {
			c.Addf(path+".memBwSchema", "%s does not begin with \"MB:\"", quote(s))
		}
		if strings.ContainsAny(s, "\n\x00") {
			c.Addf(path+".memBwSchema", "%s contains a newline or NUL", quote(s))
		}
	}
	for i, s := range rdt.Schemata {
		if strings.ContainsAny(s, "\n\x00") {
			c.Addf(at(path, "schemata", i), "%s contains a newline or NUL", quote(s))
		}
	}
}

// checkPersonality: personality(2). Flags only warn, as in runc.
func checkPersonality(c *checker, p *specs.LinuxPersonality) {
	if p == nil {
		return
	}
	switch p.Domain {
	case specs.PerLinux, specs.PerLinux32:
	case "":
		c.Addf("linux.personality.domain", "required")
	default:
		c.Addf("linux.personality.domain", "unknown domain %s", quote(string(p.Domain)))
	}
}
