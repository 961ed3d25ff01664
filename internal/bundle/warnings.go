package bundle

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Warnings lists what is legal in a configuration, but will not do what it
// says. Each line begins with the field's path.
func Warnings(spec *specs.Spec) []string {
	var w []string
	if spec.Process != nil {
		w = warnCapabilities(w, spec.Process.Capabilities)
	}
	for i := range spec.Mounts {
		// runtime-spec 1.3, config § Mounts: it MUST be taken relative to "/".
		if to := spec.Mounts[i].Destination; to != "" && to[0] != '/' {
			w = warnf(w, at("mounts", i, "destination"), "%s is not absolute; used as %s", quote(to), quote("/"+to))
		}
	}
	if spec.Linux == nil {
		return w
	}
	if p := spec.Linux.Personality; p != nil && len(p.Flags) > 0 {
		w = warnf(w, "linux.personality.flags", "ignored: no flags are defined")
	}
	if spec.Linux.Resources != nil {
		w = warnResources(w, spec.Linux.Resources)
	}
	return w
}

func warnf(w []string, path, format string, args ...any) []string {
	return append(w, path+": "+fmt.Sprintf(format, args...))
}

// warnCapabilities: config § Linux Process says that a capability which cannot
// be granted MUST be a warning, so that a configuration may name newer ones.
func warnCapabilities(w []string, caps *specs.LinuxCapabilities) []string {
	if caps == nil {
		return w
	}
	for _, set := range [...]struct {
		name  string
		names []string
	}{
		{"bounding", caps.Bounding},
		{"effective", caps.Effective},
		{"inheritable", caps.Inheritable},
		{"permitted", caps.Permitted},
		{"ambient", caps.Ambient},
	} {
		for i, name := range set.names {
			if !isCapability(name) {
				w = warnf(w, at("process.capabilities", set.name, i), "unknown capability %s, ignored", quote(name))
			}
		}
	}
	return w
}

func warnResources(w []string, r *specs.LinuxResources) []string {
	// Out of range the kernel (cgroup v1) or the conversion to a weight (v2)
	// takes the nearest number. 0 means that none is given.
	if r.CPU != nil && r.CPU.Shares != nil {
		if n := *r.CPU.Shares; n == 1 || n > 262144 {
			w = warnf(w, "linux.resources.cpu.shares", "%d is outside 2 to 262144; cgroup v2 takes the nearest", n)
		}
	}
	// Limits on kernel memory are gone since 5.4 and 5.16.
	if r.Memory != nil && r.Memory.Kernel != nil {
		w = warnf(w, "linux.resources.memory.kernel", "ignored: the kernel has no such limit any more")
	}
	if r.Memory != nil && r.Memory.KernelTCP != nil {
		w = warnf(w, "linux.resources.memory.kernelTCP", "ignored: cgroup v2 has no such limit")
	}
	return w
}

// isCapability knows the names of capabilities(7), up to 5.9, the last that
// added one.
func isCapability(name string) bool {
	switch name {
	case "CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_AUDIT_WRITE",
		"CAP_BLOCK_SUSPEND", "CAP_BPF", "CAP_CHECKPOINT_RESTORE", "CAP_CHOWN",
		"CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID",
		"CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_KILL", "CAP_LEASE",
		"CAP_LINUX_IMMUTABLE", "CAP_MAC_ADMIN", "CAP_MAC_OVERRIDE", "CAP_MKNOD",
		"CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST",
		"CAP_NET_RAW", "CAP_PERFMON", "CAP_SETFCAP", "CAP_SETGID",
		"CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_ADMIN", "CAP_SYS_BOOT",
		"CAP_SYS_CHROOT", "CAP_SYS_MODULE", "CAP_SYS_NICE", "CAP_SYS_PACCT",
		"CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_SYS_RESOURCE", "CAP_SYS_TIME",
		"CAP_SYS_TTY_CONFIG", "CAP_SYSLOG", "CAP_WAKE_ALARM":
		return true
	}
	return false
}
