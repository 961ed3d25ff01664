package bundle

import (
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Check examines the shape of a configuration for a Linux container to be
// created: everything that can be judged without the host. It returns an
// ErrorList with all that is wrong, in the order of the specification's
// fields, or nil. What runc accepts is refused only where it could not work,
// would mean something else than it says, or the specification has a MUST;
// the check says which.
func Check(spec *specs.Spec) error {
	var c checker
	checkVersion(&c, spec.Version)
	if spec.Process == nil {
		c.Addf("process", "required")
	} else {
		checkProcess(&c, spec.Process)
	}
	checkRoot(&c, spec.Root)
	checkHostNames(&c, spec)
	checkMounts(&c, spec.Mounts)
	if spec.Hooks != nil {
		checkHooks(&c, spec.Hooks)
	}
	if _, ok := spec.Annotations[""]; ok {
		// A MUST of runtime-spec 1.3, config § Annotations.
		c.Addf("annotations", "a key is empty")
	}
	if spec.Linux != nil {
		before := len(c.errs)
		checkLinux(&c, spec.Linux)
		if len(c.errs) == before { // with wrong mappings it would be a guess
			checkMappedUser(&c, spec)
		}
	}
	return c.result()
}

// CheckProcess examines a process alone (exec), as Check does; paths begin
// with "process".
func CheckProcess(process *specs.Process) error {
	var c checker
	checkProcess(&c, process)
	return c.result()
}

// CheckResources examines resources alone (update), as Check does; paths begin
// with "linux.resources".
func CheckResources(resources *specs.LinuxResources) error {
	var c checker
	checkResources(&c, resources)
	return c.result()
}

func checkLinux(c *checker, linux *specs.Linux) {
	checkNamespaces(c, linux)
	checkUserMappings(c, linux)
	checkTimeOffsets(c, linux)
	checkDevices(c, linux.Devices)
	checkNetDevices(c, linux)
	checkCgroupsPath(c, linux.CgroupsPath)
	if linux.Resources != nil {
		checkResources(c, linux.Resources)
	}
	checkIntelRdt(c, linux.IntelRdt)
	checkMemoryPolicy(c, linux.MemoryPolicy)
	checkSysctl(c, linux)
	if linux.Seccomp != nil {
		checkSeccomp(c, linux.Seccomp)
	}
	checkPropagation(c, linux.RootfsPropagation)
	checkHiddenPaths(c, linux)
	checkPersonality(c, linux.Personality)
}

// checkVersion accepts every SemVer 2.0.0 text of major version 1, with
// pre-release and build metadata: what runc itself wrote was "1.0.2-dev" for
// years, and a later minor version only adds what is ignored when unknown.
func checkVersion(c *checker, version string) {
	const path = "ociVersion"
	if version == "" {
		c.Addf(path, "required")
		return
	}
	core, build, hasBuild := strings.Cut(version, "+")
	core, pre, hasPre := strings.Cut(core, "-")
	numbers := strings.Split(core, ".")
	good := len(numbers) == 3 &&
		(!hasBuild || isVersionTail(build)) && (!hasPre || isVersionTail(pre))
	for _, n := range numbers {
		good = good && isVersionNumber(n)
	}
	switch {
	case !good:
		c.Addf(path, "%s is not a version as in SemVer 2.0.0", quote(version))
	case numbers[0] != "1":
		c.Addf(path, "version %s is not supported; supported is 1.x", quote(version))
	}
}

func isVersionNumber(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s == "0" || s != "" && s[0] != '0'
}

// isVersionTail takes dot-separated identifiers. A leading zero in a numeric
// one, which SemVer forbids in a pre-release, harms nobody.
func isVersionTail(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		for i := range len(part) {
			c := part[i] | 0x20
			if (c < 'a' || c > 'z') && (part[i] < '0' || part[i] > '9') && part[i] != '-' {
				return false
			}
		}
		if part == "" {
			return false
		}
	}
	return true
}

func checkRoot(c *checker, root *specs.Root) {
	switch {
	case root == nil:
		c.Addf("root", "required")
	case root.Path == "":
		c.Addf("root.path", "required")
	default:
		checkNUL(c, "root.path", root.Path)
	}
}

// checkHostNames: a name can only be set in a UTS namespace that the container
// has, be it new or joined; without one it would change the host's.
func checkHostNames(c *checker, spec *specs.Spec) {
	names := [...]struct{ path, value string }{
		{"hostname", spec.Hostname},
		{"domainname", spec.Domainname},
	}
	for _, name := range names {
		if name.value == "" {
			continue
		}
		checkNUL(c, name.path, name.value)
		if len(name.value) > 64 { // __NEW_UTS_LEN: sethostname(2) says EINVAL above
			c.Addf(name.path, "%d bytes, more than the kernel's limit of 64", len(name.value))
		}
		if namespace(spec.Linux, specs.UTSNamespace) == nil {
			c.Addf(name.path, "needs a uts namespace in linux.namespaces")
		}
	}
}

// checkNUL refuses what the kernel would take for the end of the string. The
// decoder never lets it through; flags of a command might.
func checkNUL(c *checker, path, value string) {
	if strings.IndexByte(value, 0) >= 0 {
		c.Addf(path, "%s contains NUL", quote(value))
	}
}

// checkEachNUL does so for a list at the path that parts make.
func checkEachNUL(c *checker, values []string, parts ...any) {
	for i, value := range values {
		if strings.IndexByte(value, 0) >= 0 {
			checkNUL(c, at(append(parts, i)...), value)
		}
	}
}
