package bundle

import (
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// checkPropagation knows the specification's four modes and runc's recursive
// ones.
func checkPropagation(c *checker, mode string) {
	switch mode {
	case "", "private", "rprivate", "slave", "rslave", "shared", "rshared",
		"unbindable", "runbindable":
	default:
		c.Addf("linux.rootfsPropagation", "unknown propagation %s", quote(mode))
	}
}

// checkHiddenPaths: config-linux § Masked Paths and § Readonly Paths say that
// the paths MUST be absolute. Without a mount namespace they would be hidden
// on the host.
func checkHiddenPaths(c *checker, linux *specs.Linux) {
	for _, field := range [...]struct {
		path   string
		values []string
	}{
		{"linux.maskedPaths", linux.MaskedPaths},
		{"linux.readonlyPaths", linux.ReadonlyPaths},
	} {
		if len(field.values) > 0 && namespace(linux, specs.MountNamespace) == nil {
			c.Addf(field.path, "needs a mount namespace in linux.namespaces")
		}
		for i, value := range field.values {
			if path.Clean(value) == "/" {
				c.Addf(at(field.path, i), "the root directory itself can be neither masked nor a read-only path; root.readonly makes it read-only")
			} else if !strings.HasPrefix(value, "/") {
				c.Addf(at(field.path, i), "%s is not an absolute path", quote(value))
			} else if strings.IndexByte(value, 0) >= 0 {
				checkNUL(c, at(field.path, i), value)
			}
		}
	}
}

// checkCgroupsPath refuses "..": runc cuts it off at the hierarchy's root, so
// that "../x" means another cgroup than it says. The systemd form
// slice:prefix:name has none either.
func checkCgroupsPath(c *checker, path string) {
	checkNUL(c, "linux.cgroupsPath", path)
	if strings.Contains(path, "..") && slices.Contains(strings.Split(path, "/"), "..") {
		c.Addf("linux.cgroupsPath", "%s contains \"..\"", quote(path))
	}
}
