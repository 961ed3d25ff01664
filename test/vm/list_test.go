package vm

// tests is a package that is tested in the virtual machine.
type tests struct {
	Package   string   // directory below the module's
	Arguments []string // of the test program: "-test.run=…"
	Seconds   int      // it may take, at most
}

// setup is a machine and what runs in it.
type setup struct {
	suite  string // of Debian, that the kernel is from
	append string // to the kernel's arguments
	tests  []tests
}

const bookworm = "bookworm"

// list is what runs there. Packages below inside are all in it; of others, which
// run on the host as well, those that say something new on a host with systemd,
// AppArmor, nothing but cgroup v2, and an older kernel.
func list() []tests {
	return []tests{
		{Package: "test/vm/inside/smoke", Seconds: 600},
		{Package: "test/vm/inside/labels", Seconds: 600},
		{Package: "test/vm/inside/cgroup", Seconds: 900},
		{Package: "test/vm/inside/exec", Seconds: 600},
		{Package: "test/resources", Arguments: []string{"-test.run=^(TestStats|TestEventsOfMemory|TestUpdateV2)$"}, Seconds: 900}, // on v2 with controllers
		{Package: "test/engines", Arguments: []string{"-test.run=^(TestDocker|TestPodman|TestPodmanRootless|TestContainerd)$/^systemd$"}, Seconds: 900},
		{Package: "test/vm/inside/checkpoint", Arguments: []string{"-test.skip=^TestV1$"}, Seconds: 1800}, // minutes, since CRIU works through every page
		{Package: "test/devices", Arguments: []string{"-test.run=^TestLists$"}, Seconds: 600},
		{Package: "test/agent", Arguments: []string{"-test.run=^TestAgent$"}, Seconds: 600}, // tracing beside AppArmor
	}
}

// listV1 is what runs on cgroup v1.
func listV1() []tests {
	return []tests{
		{Package: "test/resources", Arguments: []string{"-test.run=^(TestSettings|TestMistakes|TestUpdate)$/^v1$/" +
			"^(cgroupfs|systemd|huge|no_such|weight|leaf|priority|too_many)/^(default|memory_and|no_OOM|cpu_shares|cpu_quota|cpu_burst|cpu_idle|cpuset|pids_limit|block|device|huge|networks|RDMA)"}, Seconds: 600},
		{Package: "test/vm/inside/checkpoint", Arguments: []string{"-test.run=^(TestV1|TestBadCRIU)$"}, Seconds: 900},
	}
}

// listBackports is what runs on the newest kernel: a part of that which depends
// on it most.
func listBackports() []tests {
	return []tests{
		{Package: "test/vm/inside/cgroup", Arguments: []string{"-test.run=^(TestResources|TestForkBomb|TestPause|TestDelegatedCgroup)$/^systemd$"}, Seconds: 900},
		{Package: "test/lifecycle", Arguments: []string{"-test.run=^(TestLife|TestExecJoins|TestRunDetach|TestConsoleSocket|TestHooks)$"}, Seconds: 900},
		{Package: "test/mounts", Arguments: []string{"-test.run=^(TestBindDestinations|TestRecursiveFlags|TestMasksAndReadOnly|TestHostOnRoot|TestNoPivot)$"}, Seconds: 900},
	}
}
