package vm

// tests is a package that is tested in the virtual machine.
type tests struct {
	Package   string   // directory below the module's
	Arguments []string // of the test program: "-test.run=…"
	Seconds   int      // it may take, at most
}

// list is what runs there. Packages below inside are all in it; of others, which
// run on the host as well, those that say something new on a host with systemd,
// AppArmor, nothing but cgroup v2, and an older kernel.
func list() []tests {
	return []tests{
		{Package: "test/vm/inside/smoke", Seconds: 120},
		{Package: "test/vm/inside/labels", Seconds: 120},
		{Package: "test/vm/inside/cgroup", Seconds: 600},
		{Package: "test/vm/inside/exec", Seconds: 60},
		{Package: "test/resources", Arguments: []string{"-test.run=^(TestStats|TestEventsOfMemory|TestUpdateV2)$"}, Seconds: 200}, // on v2 with controllers
		{Package: "test/engines", Arguments: []string{"-test.run=^(TestDocker|TestPodman)$/^systemd$"}, Seconds: 400},
		{Package: "test/vm/inside/checkpoint", Arguments: []string{"-test.skip=^TestV1$"}, Seconds: 1800}, // minutes, since CRIU works through every page
		{Package: "test/devices", Arguments: []string{"-test.run=^TestLists$"}, Seconds: 180},
		{Package: "test/agent", Arguments: []string{"-test.run=^TestAgent$"}, Seconds: 120}, // tracing beside AppArmor
	}
}
