package container

import (
	"os"
	"strconv"
)

// rootless reads --rootless, which the command line has checked: whether
// cgroups may be forbidden, or only may be if this is root of a user namespace.
func rootless(flag string) (yes, inUserNamespace bool) {
	if yes, err := strconv.ParseBool(flag); err == nil {
		return yes, false
	}
	return os.Geteuid() != 0, true
}
