package setup

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mountOptions is what the options of one mount mean (runtime-spec 1.3,
// config § Mounts; mount(8)).
type mountOptions struct {
	set, clear       uint64 // mount attributes of the top mount (mount_setattr(2))
	recSet, recClear uint64 // of the mount and all below it
	alone            uint64 // of a new mount, which has none below: both kinds in one
	propagation      []propagation
	bind, recursive  bool
	copyUp           bool
	copyLink         bool // a source that is a symbolic link is made anew
	linkSource       bool // … is mounted itself
	linkDestination  bool // a destination that is one is mounted on itself
	idmap, ridmap    bool
	flags            []string // flags that every file system knows
	super            []string // options of the file system: "key" or "key=value"
}

type propagation struct {
	kind      uint64
	recursive bool
}

// unfitForRoot reports whether the options make a mount something that the
// container's root cannot be before the end (shareRoot).
func (o *mountOptions) unfitForRoot() bool {
	return slices.ContainsFunc(o.propagation, func(p propagation) bool { return p.kind == unix.MS_SHARED || p.kind == unix.MS_UNBINDABLE })
}

// parseOptions sorts the options. Of contradicting ones the last wins; what
// is not known goes to the file system.
func parseOptions(list []string, fstype string) mountOptions {
	var o mountOptions
	for _, s := range list {
		if !o.word(s) {
			o.super = append(o.super, splitData(s, fstype == "overlay")...)
		}
	}
	return o
}

// word takes an option that is not the file system's.
func (o *mountOptions) word(s string) bool {
	switch s {
	case "bind":
		o.bind = true
	case "rbind":
		o.bind, o.recursive = true, true
	case "tmpcopyup":
		o.copyUp = true
	case "copy-symlink": // these three are crun's
		o.copyLink = true
	case "src-nofollow":
		o.linkSource = true
	case "dest-nofollow":
		o.linkDestination = true
	case "idmap", "ridmap":
		o.idmap, o.ridmap = s == "idmap", s == "ridmap"
	case "", "defaults", "remount", "async", "norelatime", "rnorelatime", "silent", "loud", "nomand", "nolazytime", "iversion", "noiversion":
		// The state that a new mount is in, or nothing at all: norelatime
		// only takes back what was not asked for; silent and iversion do not
		// exist for fsconfig(2), whose messages are always asked for, and whose
		// file systems keep versions if they can.
	case "nostrictatime": // takes back strictatime, and alone is no request
		if o.set&unix.MOUNT_ATTR_STRICTATIME != 0 {
			o.attribute("relatime")
		}
	case "rnostrictatime":
		if o.recSet&unix.MOUNT_ATTR_STRICTATIME != 0 {
			o.attribute("rrelatime")
		}
	case "dirsync", "lazytime", "mand", "sync":
		o.flags = append(o.flags, s)
	default:
		return o.propagate(s) || o.attribute(s)
	}
	return true
}

func (o *mountOptions) propagate(s string) bool {
	kind, recursive := s, false
	if strings.HasPrefix(s, "r") {
		kind, recursive = s[1:], true
	}
	var flag uint64
	switch kind {
	case "private":
		flag = unix.MS_PRIVATE
	case "shared":
		flag = unix.MS_SHARED
	case "slave":
		flag = unix.MS_SLAVE
	case "unbindable":
		flag = unix.MS_UNBINDABLE
	default:
		return false
	}
	o.propagation = append(o.propagation, propagation{flag, recursive})
	return true
}

// attribute takes a mount attribute, or its recursive form with a leading r.
func (o *mountOptions) attribute(s string) bool {
	if set, clear, ok := attribute(s); ok {
		o.set, o.clear, o.alone = o.set&^clear|set, o.clear&^set|clear, o.alone&^clear|set
		return true
	}
	if name, ok := strings.CutPrefix(s, "r"); ok {
		if set, clear, ok := attribute(name); ok {
			o.recSet, o.recClear, o.alone = o.recSet&^clear|set, o.recClear&^set|clear, o.alone&^clear|set
			return true
		}
	}
	return false
}

// attribute is the meaning of one option as bits to set and to clear. Access
// times are a choice of one of several: the kernel wants the whole group
// cleared when one of it is set.
func attribute(s string) (set, clear uint64, ok bool) {
	switch s {
	case "ro":
		return unix.MOUNT_ATTR_RDONLY, 0, true
	case "rw":
		return 0, unix.MOUNT_ATTR_RDONLY, true
	case "nosuid":
		return unix.MOUNT_ATTR_NOSUID, 0, true
	case "suid":
		return 0, unix.MOUNT_ATTR_NOSUID, true
	case "nodev":
		return unix.MOUNT_ATTR_NODEV, 0, true
	case "dev":
		return 0, unix.MOUNT_ATTR_NODEV, true
	case "noexec":
		return unix.MOUNT_ATTR_NOEXEC, 0, true
	case "exec":
		return 0, unix.MOUNT_ATTR_NOEXEC, true
	case "nodiratime":
		return unix.MOUNT_ATTR_NODIRATIME, 0, true
	case "diratime":
		return 0, unix.MOUNT_ATTR_NODIRATIME, true
	case "nosymfollow":
		return unix.MOUNT_ATTR_NOSYMFOLLOW, 0, true // 5.14
	case "symfollow":
		return 0, unix.MOUNT_ATTR_NOSYMFOLLOW, true
	case "noatime":
		return unix.MOUNT_ATTR_NOATIME, unix.MOUNT_ATTR__ATIME &^ unix.MOUNT_ATTR_NOATIME, true
	case "strictatime":
		return unix.MOUNT_ATTR_STRICTATIME, unix.MOUNT_ATTR__ATIME &^ unix.MOUNT_ATTR_STRICTATIME, true
	case "atime": // no more than it says: what strictatime has set stays
		return 0, unix.MOUNT_ATTR_NOATIME, true
	case "relatime":
		return 0, unix.MOUNT_ATTR__ATIME, true
	}
	return 0, 0, false
}

// attrs returns what mount_setattr(2) is given. Whoever sets one kind of
// access times must name the whole group as cleared.
func attrs(set, clear uint64) (uint64, uint64) {
	if (set|clear)&unix.MOUNT_ATTR__ATIME != 0 {
		clear |= unix.MOUNT_ATTR__ATIME
	}
	return set, clear &^ (set &^ unix.MOUNT_ATTR__ATIME)
}

// splitData splits options of a file system at commas. A label of SELinux has
// commas within double quotes, as in context="system_u:object_r:x:s0:c1,c2",
// which fsconfig(2) does not want. With escapes a comma behind a backslash is a
// part of a name; the kernel takes the backslash away (overlayfs). Lists of nodes
// have commas, too (inNodes).
func splitData(s string, escapes bool) []string {
	var list []string
	var part strings.Builder
	end := func() {
		if part.Len() > 0 {
			list = append(list, part.String())
		}
		part.Reset()
	}
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' && (quoted || isLabel(part.String())):
			quoted = !quoted
		case c == ',' && !quoted && !inNodes(part.String(), s[i+1:]):
			end()
		case c == '\\' && escapes && i+1 < len(s):
			i++
			part.WriteString(s[i-1 : i+1])
		default:
			part.WriteByte(c)
		}
	}
	end()
	return list
}

// inNodes reports whether a comma between an option up to here and the rest parts
// two NUMA nodes: before a digit it does, no option begins with one (tmpfs(5),
// mpol=).
func inNodes(option, rest string) bool {
	return strings.HasPrefix(option, "mpol=") && rest != "" && '0' <= rest[0] && rest[0] <= '9'
}

// isLabel reports whether an option up to here is that of a label (mount(8),
// context=).
func isLabel(s string) bool {
	switch s {
	case "context=", "fscontext=", "defcontext=", "rootcontext=":
		return true
	}
	return false
}
