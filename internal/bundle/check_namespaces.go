package bundle

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// namespace returns the entry of a type, nil if there is none.
func namespace(linux *specs.Linux, kind specs.LinuxNamespaceType) *specs.LinuxNamespace {
	if linux == nil {
		return nil
	}
	for i := range linux.Namespaces {
		if linux.Namespaces[i].Type == kind {
			return &linux.Namespaces[i]
		}
	}
	return nil
}

func checkNamespaces(c *checker, linux *specs.Linux) {
	for i := range linux.Namespaces {
		ns := &linux.Namespaces[i]
		switch ns.Type {
		case specs.PIDNamespace, specs.NetworkNamespace, specs.MountNamespace,
			specs.IPCNamespace, specs.UTSNamespace, specs.UserNamespace,
			specs.CgroupNamespace, specs.TimeNamespace:
			if namespace(linux, ns.Type) != ns {
				c.Addf(at("linux.namespaces", i, "type"), "namespace %q is given twice", ns.Type)
			}
		case "":
			c.Addf(at("linux.namespaces", i, "type"), "required")
		default:
			c.Addf(at("linux.namespaces", i, "type"), "unknown namespace %s", quote(string(ns.Type)))
		}
		if ns.Path == "" {
			continue
		}
		// A MUST of config-linux § Namespaces. runc takes a relative path, by
		// the directory that it happens to be in.
		if ns.Path[0] != '/' {
			c.Addf(at("linux.namespaces", i, "path"), "%s is not an absolute path", quote(ns.Path))
		}
		checkNUL(c, at("linux.namespaces", i, "path"), ns.Path)
	}
}

// checkUserMappings checks linux.uidMappings and gidMappings with the user
// namespace that they are for.
func checkUserMappings(c *checker, linux *specs.Linux) {
	ns := namespace(linux, specs.UserNamespace)
	for _, m := range [...]struct {
		path     string
		mappings []specs.LinuxIDMapping
	}{
		{"linux.uidMappings", linux.UIDMappings},
		{"linux.gidMappings", linux.GIDMappings},
	} {
		switch {
		case ns == nil && len(m.mappings) > 0:
			c.Addf(m.path, "needs a user namespace in linux.namespaces")
		case ns != nil && ns.Path == "" && len(m.mappings) == 0:
			// runc demands only one of the two, then fails to become id 0.
			c.Addf(m.path, "required for a new user namespace")
		}
		before := len(c.errs)
		checkMappings(c, m.path, m.mappings)
		if ns != nil && ns.Path == "" && len(m.mappings) > 0 && len(c.errs) == before && !isMapped(m.mappings, 0) {
			c.Addf(m.path, "id 0 of the container is not mapped, as which it is set up")
		}
	}
}

// checkMappedUser: ids that a new user namespace does not have cannot be set
// (setresuid(2), EINVAL).
func checkMappedUser(c *checker, spec *specs.Spec) {
	ns := namespace(spec.Linux, specs.UserNamespace)
	if ns == nil || ns.Path != "" || spec.Process == nil {
		return
	}
	user, linux := &spec.Process.User, spec.Linux
	check := func(path string, id uint32, mappings []specs.LinuxIDMapping) {
		if id != noID && len(mappings) > 0 && !isMapped(mappings, id) {
			c.Addf(path, "%d is not mapped in the user namespace", id)
		}
	}
	check("process.user.uid", user.UID, linux.UIDMappings)
	check("process.user.gid", user.GID, linux.GIDMappings)
	for i, gid := range user.AdditionalGids {
		check(at("process.user.additionalGids", i), gid, linux.GIDMappings)
	}
}

func isMapped(mappings []specs.LinuxIDMapping, id uint32) bool {
	for _, m := range mappings {
		if id >= m.ContainerID && id-m.ContainerID < m.Size {
			return true
		}
	}
	return false
}

// checkMappings applies the rules of user_namespaces(7) for uid_map: the
// kernel answers each with a bare EINVAL, after the namespace was made.
func checkMappings(c *checker, path string, mappings []specs.LinuxIDMapping) {
	const maxExtents = 340 // UID_GID_MAP_MAX_EXTENTS since 4.15
	if len(mappings) > maxExtents {
		c.Addf(path, "%d entries, more than the kernel's limit of %d", len(mappings), maxExtents)
		return
	}
	text := 0
	for i, m := range mappings {
		text += len(fmt.Sprintln(m.ContainerID, m.HostID, m.Size))
		switch {
		case m.Size == 0:
			c.Addf(at(path, i, "size"), "must be above 0")
			continue
		case uint64(m.ContainerID)+uint64(m.Size) > noID:
			c.Addf(at(path, i), "ids %d+%d in the container run past 4294967294", m.ContainerID, m.Size)
			continue
		case uint64(m.HostID)+uint64(m.Size) > noID:
			c.Addf(at(path, i), "ids %d+%d on the host run past 4294967294", m.HostID, m.Size)
			continue
		}
		for j, other := range mappings[:i] {
			if overlap(m.ContainerID, m.Size, other.ContainerID, other.Size) {
				c.Addf(at(path, i), "overlaps entry %d in the container", j)
			}
			if overlap(m.HostID, m.Size, other.HostID, other.Size) {
				c.Addf(at(path, i), "overlaps entry %d on the host", j)
			}
		}
	}
	if size := os.Getpagesize(); text >= size {
		c.Addf(path, "%d bytes as the kernel reads them, which takes less than %d", text, size)
	}
}

// overlap reports whether two ranges of ids have one in common.
func overlap(a, sizeA, b, sizeB uint32) bool {
	return uint64(a) < uint64(b)+uint64(sizeB) && uint64(b) < uint64(a)+uint64(sizeA)
}

// checkTimeOffsets: time_namespaces(7). Offsets can be written only before the
// first process is in the namespace, so never to one that is joined.
func checkTimeOffsets(c *checker, linux *specs.Linux) {
	const path = "linux.timeOffsets"
	if len(linux.TimeOffsets) == 0 {
		return
	}
	switch ns := namespace(linux, specs.TimeNamespace); {
	case ns == nil:
		c.Addf(path, "needs a time namespace in linux.namespaces")
	case ns.Path != "":
		c.Addf(path, "cannot be set in a time namespace that is joined by path")
	}
	for _, clock := range slices.Sorted(maps.Keys(linux.TimeOffsets)) {
		if clock != "monotonic" && clock != "boottime" {
			c.Addf(at(path, key(clock)), "unknown clock %s", quote(clock))
		}
		if n := linux.TimeOffsets[clock].Nanosecs; n >= 1e9 {
			c.Addf(at(path, key(clock), "nanosecs"), "%d is more than 999999999", n)
		}
	}
}
