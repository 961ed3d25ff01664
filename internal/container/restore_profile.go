package container

import (
	"fmt"
	"os"
	"strings"
)

// loadedProfiles is AppArmor's list, a line for each: "NAME (MODE)".
const loadedProfiles = "/sys/kernel/security/apparmor/profiles"

// checkProfile refuses a profile of AppArmor that is not loaded. A CRIU whose
// process cannot take it waits for ever (3.17).
func (r *restoration) checkProfile() error {
	name, err := profileToRestore(r.o.LSMProfile, r.b.Spec.Process.ApparmorProfile)
	if err != nil || name == "" {
		return err
	}
	list, err := os.ReadFile(loadedProfiles)
	if err == nil && !hasProfile(string(list), name) {
		return fmt.Errorf("the AppArmor profile %q is not loaded", name)
	}
	return nil // which it is, or that cannot be seen
}

// profileToRestore is the profile of AppArmor that will be applied, "" if there is
// none that could be looked for: it may be of a namespace, or several at once.
func profileToRestore(option, configured string) (string, error) {
	name := configured
	if option != "" {
		kind, n, ok := strings.Cut(option, ":")
		if !ok || kind != "apparmor" && kind != "selinux" {
			return "", fmt.Errorf("--lsm-profile: %q is neither apparmor:NAME nor selinux:LABEL", option)
		}
		if name = n; kind == "selinux" {
			return "", nil
		}
	}
	if name == "unconfined" || strings.HasPrefix(name, ":") || strings.Contains(name, "//&") {
		return "", nil
	}
	return name, nil
}

func hasProfile(list, name string) bool {
	for line := range strings.Lines(list) {
		if i := strings.LastIndex(line, " ("); i >= 0 && line[:i] == name {
			return true
		}
	}
	return false
}
