package bundle

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// SysctlPath returns the path of a sysctl below /proc/sys. As in sysctl(8) the
// first "." or "/" of the name decides which of the two separates; in dotted
// form a "/" is a dot within a part:
//
//	net.ipv4.conf.eno2/100.forwarding  net/ipv4/conf/eno2.100/forwarding
//	net/ipv4/conf/eno2.100/forwarding  net/ipv4/conf/eno2.100/forwarding
//
// The path has no empty part, ".", ".." or control character: it cannot leave
// /proc/sys. A name which would is an error.
func SysctlPath(name string) (string, error) {
	i := strings.IndexAny(name, "./")
	path := name
	if i >= 0 && name[i] == '.' {
		swapped := []byte(name)
		for i, c := range swapped {
			switch c {
			case '.':
				swapped[i] = '/'
			case '/':
				swapped[i] = '.'
			}
		}
		path = string(swapped)
	}
	for part := range strings.SplitSeq(path, "/") {
		bad := strings.IndexFunc(part, func(r rune) bool { return r <= ' ' || r == 0x7f }) >= 0
		if part == "" || part == "." || part == ".." || bad {
			return "", fmt.Errorf("%s is not the name of a sysctl", quote(name))
		}
	}
	return path, nil
}

// checkSysctl lets through only what belongs to a namespace of the container
// (threat: kernel.core_pattern, set for the whole host). That a namespace joined by
// path is not the host's own is seen when it is opened.
func checkSysctl(c *checker, linux *specs.Linux) {
	const field = "linux.sysctl"
	if len(linux.Sysctl) == 0 {
		return
	}
	names := make(map[string]string) // path → name
	for _, name := range slices.Sorted(maps.Keys(linux.Sysctl)) {
		path, err := SysctlPath(name)
		if err != nil {
			c.Addf(field, "%v", err)
			continue
		}
		checkSysctlNamespace(c, at(field, key(name)), path, linux)
		// The kernel ends a string value at a newline, without an error.
		if strings.ContainsAny(linux.Sysctl[name], "\n\x00") {
			c.Addf(at(field, key(name)), "value contains a newline or NUL")
		}
		// Order is lost in an object, so one of the two would win by chance.
		if other, ok := names[path]; ok && linux.Sysctl[other] != linux.Sysctl[name] {
			c.Addf(at(field, key(name)), "contradicts %s, another spelling of it", quote(other))
		}
		names[path] = name
	}
}

func checkSysctlNamespace(c *checker, field, path string, linux *specs.Linux) {
	kind := SysctlNamespace(path)
	switch {
	case path == "kernel/hostname":
		c.Addf(field, "not allowed; use the field hostname")
	case kind == "":
		c.Addf(field, "not allowed: it belongs to no namespace, so it would change the host")
	case namespace(linux, kind) == nil:
		c.Addf(field, "needs a namespace of type %q in linux.namespaces", kind)
	}
}

// SysctlNamespace is the type of namespace that a sysctl belongs to, given its path
// below /proc/sys, and empty if there is one for the whole host.
func SysctlNamespace(path string) specs.LinuxNamespaceType {
	switch path {
	case "kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem",
		"kernel/shmall", "kernel/shmmax", "kernel/shmmni", "kernel/shm_rmid_forced":
		return specs.IPCNamespace
	case "kernel/domainname":
		return specs.UTSNamespace
	}
	switch {
	case strings.HasPrefix(path, "fs/mqueue/"):
		return specs.IPCNamespace
	case strings.HasPrefix(path, "net/"):
		return specs.NetworkNamespace
	case strings.HasPrefix(path, "user/"):
		return specs.UserNamespace
	}
	return ""
}
