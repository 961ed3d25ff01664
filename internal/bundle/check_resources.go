package bundle

import (
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// checkResources checks the form of linux.resources. Whether a limit can be
// met, and what only one of the two cgroup versions has, is found out where
// it is written.
func checkResources(c *checker, r *specs.LinuxResources) {
	checkDeviceRules(c, r.Devices)
	if r.Memory != nil {
		checkMemory(c, r.Memory)
	}
	// cpu.idle takes 0 and 1; the kernel says EINVAL to others.
	if r.CPU != nil && r.CPU.Idle != nil && *r.CPU.Idle != 0 && *r.CPU.Idle != 1 {
		c.Addf("linux.resources.cpu.idle", "%d is neither 0 nor 1", *r.CPU.Idle)
	}
	if r.CPU != nil {
		checkNUL(c, "linux.resources.cpu.cpus", r.CPU.Cpus)
		checkNUL(c, "linux.resources.cpu.mems", r.CPU.Mems)
	}
	// Every number is a pids.limit: runc takes 0 and negative ones for
	// "unlimited", in ways that are up to the cgroup code.
	if r.BlockIO != nil {
		checkBlockIO(c, r.BlockIO)
	}
	for i := range r.HugepageLimits {
		if size := r.HugepageLimits[i].Pagesize; !isPageSize(size) {
			c.Addf(at("linux.resources.hugepageLimits", i, "pageSize"),
				"%s is not a size as 64KB, 2MB or 1GB", quote(size))
		}
	}
	if r.Network != nil {
		for i := range r.Network.Priorities {
			if name := r.Network.Priorities[i].Name; !isDeviceName(name) {
				c.Addf(at("linux.resources.network.priorities", i, "name"),
					"%s is not the name of a network device", quote(name))
			}
		}
	}
	if _, ok := r.Rdma[""]; ok {
		c.Addf("linux.resources.rdma", "a key is empty")
	}
	checkUnified(c, r.Unified)
}

func checkDeviceRules(c *checker, rules []specs.LinuxDeviceCgroup) {
	const path = "linux.resources.devices"
	for i := range rules {
		rule := &rules[i]
		switch rule.Type {
		case "", "a", "b", "c":
		default:
			c.Addf(at(path, i, "type"), "unknown type %s; known are a, b and c", quote(rule.Type))
		}
		if rule.Access == "" { // runc refuses it too: a rule about nothing
			c.Addf(at(path, i, "access"), "required")
		} else if strings.Trim(rule.Access, "rwm") != "" {
			c.Addf(at(path, i, "access"), "%s is not made of r, w and m", quote(rule.Access))
		}
		if rule.Major != nil && *rule.Major < -1 { // -1 stands for every one
			c.Addf(at(path, i, "major"), "%d is below -1", *rule.Major)
		}
		if rule.Minor != nil && *rule.Minor < -1 {
			c.Addf(at(path, i, "minor"), "%d is below -1", *rule.Minor)
		}
	}
}

func checkMemory(c *checker, m *specs.LinuxMemory) {
	const path = "linux.resources.memory"
	for _, f := range [...]struct {
		name  string
		value *int64
	}{
		{"limit", m.Limit}, {"reservation", m.Reservation}, {"swap", m.Swap},
	} {
		if f.value != nil && *f.value < -1 { // -1 means unlimited
			c.Addf(at(path, f.name), "%d is below -1", *f.value)
		}
	}
	// swap is memory and swap together, so it cannot be the smaller one.
	if m.Limit != nil && m.Swap != nil && *m.Swap > 0 && *m.Limit > *m.Swap {
		c.Addf(path+".swap", "%d is below the memory limit %d, which it includes", *m.Swap, *m.Limit)
	}
	// The range in config-linux § Memory.
	if m.Swappiness != nil && *m.Swappiness > 100 {
		c.Addf(path+".swappiness", "%d is outside 0 to 100", *m.Swappiness)
	}
}

func checkBlockIO(c *checker, b *specs.LinuxBlockIO) {
	const path = "linux.resources.blockIO"
	checkWeight(c, path+".weight", b.Weight)
	checkWeight(c, path+".leafWeight", b.LeafWeight)
	for i := range b.WeightDevice {
		dev := &b.WeightDevice[i]
		checkBlockDevice(c, path+".weightDevice", i, &dev.LinuxBlockIODevice)
		checkWeight(c, at(path, "weightDevice", i, "weight"), dev.Weight)
		checkWeight(c, at(path, "weightDevice", i, "leafWeight"), dev.LeafWeight)
	}
	for _, f := range [...]struct {
		name    string
		devices []specs.LinuxThrottleDevice
	}{
		{"throttleReadBpsDevice", b.ThrottleReadBpsDevice},
		{"throttleWriteBpsDevice", b.ThrottleWriteBpsDevice},
		{"throttleReadIOPSDevice", b.ThrottleReadIOPSDevice},
		{"throttleWriteIOPSDevice", b.ThrottleWriteIOPSDevice},
	} {
		for i := range f.devices {
			checkBlockDevice(c, at(path, f.name), i, &f.devices[i].LinuxBlockIODevice)
		}
	}
}

// checkWeight: the range of config-linux § Block IO, and 0, by which engines
// say that there is none. Converted for cgroup v2, 1 to 9 would wrap around.
func checkWeight(c *checker, path string, weight *uint16) {
	if weight != nil && *weight != 0 && (*weight < 10 || *weight > 1000) {
		c.Addf(path, "%d is outside 10 to 1000", *weight)
	}
}

func checkBlockDevice(c *checker, path string, i int, dev *specs.LinuxBlockIODevice) {
	if dev.Major < 0 {
		c.Addf(at(path, i, "major"), "%d is below 0", dev.Major)
	}
	if dev.Minor < 0 {
		c.Addf(at(path, i, "minor"), "%d is below 0", dev.Minor)
	}
}

// isPageSize follows the pattern in the specification's schema: the names of
// the kernel's hugetlb files have no other form.
func isPageSize(s string) bool {
	number, ok := strings.CutSuffix(s, "B")
	if !ok || number == "" || !strings.ContainsRune("KMG", rune(number[len(number)-1])) {
		return false
	}
	number = number[:len(number)-1]
	return isVersionNumber(number) && number != "0"
}

// checkUnified: keys are names of files in the cgroup's directory.
func checkUnified(c *checker, unified map[string]string) {
	const path = "linux.resources.unified"
	for _, name := range slices.Sorted(maps.Keys(unified)) {
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
			c.Addf(path, "%s is not the name of a file in a cgroup", quote(name))
		}
	}
}
