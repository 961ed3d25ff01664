package setup

import (
	"errors"
	"fmt"
)

// unsupported lists the fields that this version refuses instead of ignoring
// them: a container without the protection or effect that its configuration
// asks for must not start.
func unsupported() []string {
	return []string{"linux.intelRdt"}
}

// Ignored lists the fields that need no step, each with the reason.
func Ignored() map[string]string {
	return map[string]string{
		"ociVersion":              "checked when the configuration is read",
		"annotations":             "kept in the state",
		"hooks.poststart":         "run when the program has begun",
		"hooks.poststop":          "run when the container is gone",
		"process.user.username":   "of Windows",
		"process.commandLine":     "of Windows",
		"process.execCPUAffinity": "for exec only",
		"linux.resources":         "applied to the cgroup before the process starts",
		"linux.cgroupsPath":       "where the cgroup is made",
		"solaris":                 "of another system",
		"windows":                 "of another system",
		"vm":                      "of another system",
		"zos":                     "of another system",
		"freebsd":                 "of another system",
	}
}

func refuseUnsupported(e *Env) error {
	var errs []error
	if l := e.Spec.Linux; l != nil {
		errs = append(errs,
			refuse(l.IntelRdt != nil, "linux.intelRdt"))
	}
	for _, m := range e.plan() {
		if m.idmapped() && !m.opt.bind {
			errs = append(errs, fmt.Errorf("%s.options: only bind mounts can have mapped owners", m.field))
		}
	}
	return errors.Join(errs...)
}

// refuse is the error for a field that is set, nil for one that is not.
func refuse(set bool, path string) error {
	if !set {
		return nil
	}
	return fmt.Errorf("%s: not supported by this version of tongs", path)
}
