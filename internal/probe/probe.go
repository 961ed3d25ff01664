// Package probe asks a machine what it really allows: the kernel's calls, user
// namespaces, cgroups, seccomp, device programs, the service manager, security
// modules. Each answer has a reason, and a remedy where there is one.
//
// What it deliberately does not do:
//   - It does not compare versions where it can try: distributions backport, and
//     sandboxes forbid.
//   - It changes nothing: what it makes ends with the processes that it asked for.
//   - No container depends on it; it is for `features --probe` and `doctor`.
package probe

import (
	"errors"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// Finding is one thing that was looked at.
type Finding struct {
	Name     string `json:"name"`
	Serves   string `json:"serves"`   // what needs it, in the user's words
	Required bool   `json:"required"` // no container of this user can do without
	OK       bool   `json:"ok"`
	Detail   string `json:"detail,omitempty"` // what was found
	Reason   string `json:"reason,omitempty"` // why not
	Remedy   string `json:"remedy,omitempty"`
}

// World is what the probes are given.
type World struct {
	Root  string   // the state directory
	Paths []string // for idmapped mounts; usual places if empty
	// Lend runs f with a process in no container, which ends with it.
	Lend func(f func(k kernel.Kernel, pid int) error) error
	// Devices tries the program that limits devices in a cgroup (v2).
	Devices func() error

	user   bool // not root
	nested bool // in a user namespace that is not the host's
}

// Look asks everything, in the order in which a reader wants it.
func Look(w *World) []Finding {
	w.user, w.nested = unix.Geteuid() != 0, nested()
	var list []Finding
	for _, ask := range []func() []Finding{w.kernelCalls, w.mounts, w.namespaces, w.userNamespaces, w.identities, w.cgroups, w.devices, w.serviceManager,
		seccomp, securityModules, w.idmaps, w.machine} {
		list = append(list, ask()...)
	}
	return list
}

// nested compares with the user namespace that the kernel begins with
// (PROC_USER_INIT_INO, 3.8).
func nested() bool {
	const first = 0xEFFFFFFD
	var st unix.Stat_t
	return unix.Stat("/proc/self/ns/user", &st) == nil && st.Ino != first
}

// of completes a finding with what came out.
func (f Finding) of(err error) Finding {
	f.OK = err == nil
	if err != nil {
		f.Reason = reason(err)
	} else {
		f.Remedy = ""
	}
	return f
}

// reason is the text of an error; an errno has its name besides.
func reason(err error) string {
	var e unix.Errno
	var c *kernel.CallError
	if !errors.As(err, &c) && errors.As(err, &e) && unix.ErrnoName(e) != "" {
		return err.Error() + " (" + unix.ErrnoName(e) + ")"
	}
	return err.Error()
}

// one is a list of one.
func one(f Finding, err error) []Finding { return []Finding{f.of(err)} }
