package setup

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
		"linux.intelRdt":          "applied to the process by package resctrl, before its first call",
		"solaris":                 "of another system",
		"windows":                 "of another system",
		"vm":                      "of another system",
		"zos":                     "of another system",
		"freebsd":                 "of another system",
	}
}
