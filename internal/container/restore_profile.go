package container

import (
	"errors"
	"fmt"
	"os"
	"strconv"
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

// checkLabels makes sure that the process has the label or profile that it is to
// have, before it goes on: a CRIU that is built without SELinux or AppArmor leaves
// it with that of CRIU, which is confined by nothing.
func (r *restoration) checkLabels() error {
	attr := "/proc/" + strconv.Itoa(r.pid) + "/attr/"
	label := r.b.Spec.Process.SelinuxLabel
	if l, ok := strings.CutPrefix(r.o.LSMProfile, "selinux:"); ok {
		label = l
	}
	if label != "" {
		got, err := readAttr(attr + "current")
		if err != nil || got != label {
			return errors.Join(err, fmt.Errorf("process.selinuxLabel: criu has made a process with the label %q, not %q", got, label))
		}
	}
	profile, err := profileToRestore(r.o.LSMProfile, r.b.Spec.Process.ApparmorProfile)
	if err != nil || profile == "" {
		return err
	}
	got, err := readAttr(attr + "apparmor/current")
	if i := strings.LastIndex(got, " ("); i >= 0 { // "NAME (MODE)"
		got = got[:i]
	}
	if err != nil || got != profile {
		return errors.Join(err, fmt.Errorf("process.apparmorProfile: criu has made a process with the profile %q, not %q", got, profile))
	}
	return nil
}

func readAttr(file string) (string, error) {
	data, err := os.ReadFile(file)
	return strings.TrimRight(string(data), "\x00\n"), err
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
