package setup

// The lists below are how a container comes to be, in execution order.
// Read them first. A step's reasons for its place are beside it.

// HostOrder runs in tongs, before the container's process exists. What it
// opens is inherited by that process.
func HostOrder() []Step {
	return []Step{
		{"mapped owners", nil, refuseMapped},
		{"long options", nil, refuseLong},
		{"host", nil, lookAtHost},                                            // what tongs may depends on its user namespace
		{"namespaces to join", []string{"linux.namespaces"}, openNamespaces}, // before the sources, whose owners one may map
		{"trees of the host", nil, openTrees},                                // TreeOrder
		{"labels", []string{"linux.mountLabel"}, lookForLabels},
		{"standard streams", nil, lookAtStdio},
	}
}

// TreeOrder opens all that the container gets of the host's file systems, each
// as a detached copy that has no name any more. Copies are made by whoever may:
// by tongs on the host, before the container's namespaces exist, if it is
// privileged; a source that the container's user cannot reach works then. For an
// ordinary user only the container's process may, as the root of its own mount
// namespace: there the same rows run as a part of CreateOrder.
func TreeOrder() []Step {
	return []Step{
		{"root tree", []string{"root.path"}, openRoot}, // first: it shows whether tongs may
		{"cgroup directories", nil, (*Env).openCgroups},
		{"devices of the host", nil, openDevices},
		{"null device", nil, openNull},
		{"bind sources", nil, openSources},
	}
}

// CreateOrder runs in the container's process, which is in its new namespaces
// and its cgroup, with all rights of tongs, and has executed nothing yet.
func CreateOrder() []Step {
	return []Step{
		{"out of memory score", []string{"process.oomScoreAdj"}, setOOMScore}, // by tongs: lowering needs the host's rights
		{"seccomp program", nil, prepareSeccomp},                              // by tongs, meanwhile
		{"many descriptors", nil, raiseFiles},
		{"bind sources", nil, openPlainSources}, // with all rights and the host's names, while nobody can see what the process holds; or with the root
		{"hold trees", nil, holdTrees},          // a user namespace gets its copies locked
		{"session", nil, newSession},
		{"join namespaces", nil, joinNamespaces}, // with tongs' rights: they may belong to the host's user namespace
		{"user namespace", []string{"linux.uidMappings", "linux.gidMappings"}, enterUserNamespace},
		{"join namespaces of the user", nil, joinDenied},              // those that an ordinary user may join only as its root
		{"keyring", nil, joinKeyring},                                 // what it opens later is charged to the new keyring
		{"new namespaces", nil, unshareNamespaces},                    // the process is in its cgroup, which becomes the root of a cgroup namespace
		{"locked copies", nil, copyLocked},                            // of what is held
		{"fork into namespaces", []string{"linux.timeOffsets"}, fork}, // before proc is mounted, which shows the PID namespace of who mounts it
		{"hide", nil, hide},                                           // nobody has to write the process's files in /proc any more
		{"session of the child", nil, newChildSession},
		{"host name", []string{"hostname"}, setHostname},
		{"domain name", []string{"domainname"}, setDomainname},
		{"umask 0", nil, clearUmask},           // modes are exact until the end
		{"trees inside", nil, openTreesInside}, // TreeOrder, if tongs may not; the names are still the host's

		{"root", []string{"linux.rootfsPropagation"}, attachRoot}, // over "/", whose mounts no longer propagate to the host
		{"mount points", nil, lookUpMountPoints},                  // all questions at once
		{"ask", nil, begin},                                       // tongs does the rest of its own work meanwhile
		{"loopback", nil, raiseLoopback},
		{"network devices", []string{"linux.netDevices"}, moveNetDevices}, // by tongs, which has rights in both namespaces
		{"mounts", []string{"mounts"}, addMounts},                         // strictly as listed; proc and sysfs while the old root is visible
		{"devices", []string{"linux.devices"}, makeDevices},
		{"device links", nil, linkDevices},
		// The environment is complete, and the host's paths are still there.
		{"verify name of the root", nil, verifyName}, // hooks look there
		{"hooks of the host", []string{"hooks.prestart", "hooks.createRuntime"}, runRuntimeHooks},
		{"hooks inside", []string{"hooks.createContainer"}, runCreateContainerHooks},
		{"labels of the process", []string{"process.apparmorProfile", "process.selinuxLabel"}, setLabels}, // not of hooks that act for the host
		{"pivot", nil, enterRoot},            // from here on no path of the host exists in the namespace
		{"verify mounts", nil, verifyMounts}, // before masks cover some
		{"null for standard streams", nil, replaceNull},
		{"console", []string{"process.terminal", "process.consoleSize"}, openConsole}, // from the container's own devpts
		{"controlling terminal", nil, controlTerminal},
		{"sysctl", []string{"linux.sysctl"}, writeSysctl}, // before masks, and before /proc/sys is read-only

		{"look up paths", []string{"linux.maskedPaths", "linux.readonlyPaths"}, lookUpPaths},
		{"look up working directory", nil, lookUpCwd},
		{"look up passwd", nil, lookUpPasswd},
		{"ask", nil, (*Env).Sync},
		{"read passwd", nil, readPasswd},                        // now that it is known what it is
		{"working directory", []string{"process.cwd"}, openCwd}, // made while the root is writable
		{"late read-only", nil, lockLate},                       // tmpfs and /dev, now that they are filled
		{"read-only root", []string{"root.readonly"}, lockRoot},
		{"read-only paths", nil, lockPaths},
		{"masked paths", nil, maskPaths}, // last of all mounts
		{"verify paths", nil, verifyPaths},
		{"propagation of the root", nil, shareRoot}, // last: what is unbindable can no longer be copied

		{"environment", []string{"process.env"}, setEnvironment},
		{"umask", []string{"process.user.umask"}, setUmask},
		{"streams' owner", nil, ownStreams},
		{"execution domain", []string{"linux.personality"}, setPersonality},
		{"memory policy", []string{"linux.memoryPolicy"}, setMemoryPolicy},
		{"scheduler", []string{"process.scheduler"}, setScheduler}, // needs CAP_SYS_NICE
		{"I/O priority", []string{"process.ioPriority"}, setIOPriority},
		{"limits", []string{"process.rlimits"}, setRlimits},              // raising needs a capability; nothing is opened any more
		{"bounding set", []string{"process.capabilities"}, dropBounding}, // needs CAP_SETPCAP, so before ids
		{"enter directory", nil, enterCwd},                               // with all rights; again with the user's
		{"user", []string{"process.user.uid", "process.user.gid", "process.user.additionalGids"}, setUser},
		{"capabilities", nil, setCapabilities},
		{"check directory", nil, checkCwd},
		{"no new privileges", []string{"process.noNewPrivileges"}, setNoNewPrivileges},
		{"processors", nil, freeProcessors},                          // late: until here the process is better off beside tongs
		{"look up program", []string{"process.args"}, lookUpProgram}, // with the user's rights
		{"ask", nil, (*Env).Sync},
		{"program", nil, chooseProgram},
		{"home directory", nil, setHome}, // from what was read
	}
}

// ShowOrder comes between CreateOrder or ExecOrder and TailOrder, when the process
// is to be traced by an ordinary user, and so can be by others.
func ShowOrder() []Step {
	return []Step{{"close descriptors", nil, closeAll}}
}

// TailOrder is what the container's process does without tongs: it is queued
// whole, and nothing of it can be decided later.
func TailOrder() []Step {
	return []Step{
		{"close descriptors", nil, closeAll}, // nothing is opened any more
		{"report", nil, report},              // create: tongs may leave
		{"wait for start", nil, waitFifo},    // create: `start` writes one byte
		{"hooks of the start", []string{"hooks.startContainer"}, queueStartContainerHooks},
		{"seccomp", []string{"linux.seccomp"}, loadSeccomp}, // last: the filter judges what comes after it
		{"execute", nil, execute},
	}
}
