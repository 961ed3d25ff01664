package resctrl

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// schema is one line for the file schemata, and the field that has it.
type schema struct{ field, line string }

// schemas lists the lines in the order in which the specification wants them
// written: l3CacheSchema, memBwSchema, schemata.
func (g *Group) schemas() []schema {
	var list []schema
	add := func(name, text string) {
		for line := range strings.SplitSeq(text, "\n") { // l3CacheSchema may have several
			if strings.TrimSpace(line) != "" {
				list = append(list, schema{field + "." + name, line})
			}
		}
	}
	add("l3CacheSchema", g.rdt.L3CacheSchema)
	add("memBwSchema", g.rdt.MemBwSchema)
	for i, line := range g.rdt.Schemata {
		add("schemata["+strconv.Itoa(i)+"]", line)
	}
	return list
}

// writeSchemas writes each line by itself, so that an error is about one.
func (g *Group) writeSchemas() error {
	for _, s := range g.schemas() {
		if err := write(filepath.Join(g.dir, "schemata"), s.line+"\n"); err != nil {
			return fmt.Errorf("%s: cannot set %q: %w%s", s.field, s.line, err, g.status())
		}
	}
	return nil
}

// compare wants a group that others have made to have the schemas that the
// configuration asks for (config-linux § IntelRdt).
func (g *Group) compare() error {
	wanted := g.schemas()
	if len(wanted) == 0 {
		return nil
	}
	have, err := g.readSchemata(g.dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range wanted {
		resource, domains := parseSchema(s.line)
		for domain, value := range domains {
			if got := have[resource][domain]; !sameValue(resource, got, value) {
				errs = append(errs, fmt.Errorf("%s: group %q exists and has another schema: %s of domain %s is %q, not %q", s.field, g.dir, resource, domain, got, value))
			}
		}
	}
	return errors.Join(errs...)
}

// readSchemata gives the values of a group by resource and domain.
func (g *Group) readSchemata(dir string) (map[string]map[string]string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "schemata"))
	if err != nil {
		return nil, fmt.Errorf("%s: cannot read schemata: %w", field, err)
	}
	all := make(map[string]map[string]string)
	for line := range strings.Lines(string(text)) {
		if resource, domains := parseSchema(line); resource != "" {
			all[resource] = domains
		}
	}
	return all, nil
}

// parseSchema reads "L3:0=ff;1=f0" with any space around the parts.
func parseSchema(line string) (resource string, domains map[string]string) {
	resource, rest, _ := strings.Cut(line, ":")
	domains = make(map[string]string)
	for part := range strings.SplitSeq(rest, ";") {
		if domain, value, ok := strings.Cut(part, "="); ok {
			domains[strings.TrimSpace(domain)] = strings.TrimSpace(value)
		}
	}
	return strings.TrimSpace(resource), domains
}

// sameValue compares numbers: of bandwidth (MB, SMBA) decimal, of all others bit
// masks in hexadecimal.
func sameValue(resource, a, b string) bool {
	base := 16
	if strings.HasSuffix(resource, "MB") || strings.HasSuffix(resource, "MBA") {
		base = 10
	}
	x, errX := strconv.ParseUint(strings.TrimPrefix(strings.ToLower(a), "0x"), base, 64)
	y, errY := strconv.ParseUint(strings.TrimPrefix(strings.ToLower(b), "0x"), base, 64)
	return errX == nil && errY == nil && x == y || a == b && a != ""
}

// Open is New for a container that is in a group already, to change it.
func Open(root, dir string, l3CacheSchema, memBwSchema string) (*Group, error) {
	g := &Group{root: root, dir: dir, exists: true, fs: kernelFS(), rdt: &specs.LinuxIntelRdt{L3CacheSchema: l3CacheSchema, MemBwSchema: memBwSchema}}
	return g, g.checkSupport()
}

// Update writes the schemas of Open.
func (g *Group) Update() error { return g.writeSchemas() }
