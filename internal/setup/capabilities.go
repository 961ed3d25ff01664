package setup

import (
	"errors"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

var errNotNull = errors.New("/dev/null of the container is not the null device")

// lastCapability bounds the loop over the bounding set: the kernel answers
// EINVAL beyond the last one that it has (capabilities(7)).
const lastCapability = 63

// capabilityNumber is the number of a capability by name, -1 if it is unknown.
func capabilityNumber(name string) int {
	for i, n := range capabilityNames() {
		if n == name {
			return i
		}
	}
	return -1
}

// capabilityNames lists the capabilities of linux/capability.h in order of
// their numbers.
func capabilityNames() []string {
	return []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
		"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
		"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE",
		"CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME",
		"CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP",
		"CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ",
		"CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE"}
}

// mask is a set of capabilities as bits; unknown names were warned of when
// the configuration was read.
func mask(names []string) uint64 {
	var m uint64
	for _, n := range names {
		if i := capabilityNumber(n); i >= 0 {
			m |= 1 << i
		}
	}
	return m
}

func (e *Env) capabilities() *specs.LinuxCapabilities { return e.Spec.Process.Capabilities }

// dropBounding removes what is not in the bounding set. Without
// process.capabilities nothing is touched.
func dropBounding(e *Env) error {
	c := e.capabilities()
	if c == nil {
		return nil
	}
	bounding := mask(c.Bounding)
	e.B.For("process.capabilities.bounding", "cannot drop a capability")
	for i := range lastCapability + 1 {
		if bounding&(1<<i) == 0 {
			e.B.Prctl(unix.PR_CAPBSET_DROP, uint64(i))
			if i >= len(capabilityNames()) || i > 37 {
				e.B.Allow(unix.EINVAL) // the kernel may be older than the name
			}
		}
		if i > len(capabilityNames())+2 {
			break
		}
	}
	return nil
}

// setCapabilities sets the other four sets, each exactly as configured. An
// ambient capability that is not permitted and inheritable is a warning at
// most for other runtimes: the kernel refuses it, and so it is left out.
// Without process.capabilities a user who is not root has none.
func setCapabilities(e *Env) error {
	c, kept := e.capabilities(), e.keptForSeccomp()
	if c == nil {
		if kept != 0 && e.Spec.Process.User.UID != 0 {
			e.B.For("linux.seccomp", "cannot keep the capability to load the filter")
			e.B.Capset(kept, kept, 0)
		}
		return nil
	}
	e.B.For("process.capabilities", "cannot set the capabilities")
	e.B.Capset(mask(c.Effective)|kept, mask(c.Permitted)|kept, mask(c.Inheritable))
	e.B.For("process.capabilities.ambient", "cannot set the ambient capabilities")
	e.B.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL)
	ambient := mask(c.Ambient)
	for i := range lastCapability {
		if ambient&(1<<i) != 0 {
			e.B.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uint64(i))
			e.B.Allow(unix.EPERM)
		}
	}
	return nil
}
