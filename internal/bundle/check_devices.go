package bundle

import (
	"maps"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Largest device numbers: the kernel has 12 and 20 bits (MINORBITS). mknod(2)
// would make another device of a larger one, without an error.
const (
	maxMajor = 1<<12 - 1
	maxMinor = 1<<20 - 1
)

func checkDevices(c *checker, devices []specs.LinuxDevice) {
	for i := range devices {
		dev := &devices[i]
		switch {
		case dev.Path == "":
			c.Addf(at("linux.devices", i, "path"), "required")
		case dev.Path[0] != '/':
			// config-linux § Devices wants the full path. runc takes any, by
			// joining it to the root's path.
			c.Addf(at("linux.devices", i, "path"), "%s is not an absolute path", quote(dev.Path))
		default:
			checkNUL(c, at("linux.devices", i, "path"), dev.Path)
		}
		switch dev.Type {
		case "c", "b", "u":
			checkDeviceNumber(c, i, dev)
		case "p": // a FIFO has no number
		case "":
			c.Addf(at("linux.devices", i, "type"), "required")
		default:
			c.Addf(at("linux.devices", i, "type"), "unknown type %s; known are c, b, u and p", quote(dev.Type))
		}
	}
}

func checkDeviceNumber(c *checker, i int, dev *specs.LinuxDevice) {
	// The specification's type cannot tell an absent number from 0. Nothing
	// answers at 0:0 (as a character device it is overlayfs' whiteout).
	if dev.Major == 0 && dev.Minor == 0 {
		c.Addf(at("linux.devices", i), "major and minor are required for type %q", dev.Type)
	}
	if dev.Major < 0 || dev.Major > maxMajor {
		c.Addf(at("linux.devices", i, "major"), "%d is outside 0 to %d", dev.Major, maxMajor)
	}
	if dev.Minor < 0 || dev.Minor > maxMinor {
		c.Addf(at("linux.devices", i, "minor"), "%d is outside 0 to %d", dev.Minor, maxMinor)
	}
}

// checkNetDevices: config-linux § Network Devices. A device can be moved only
// into a network namespace that is not ours.
func checkNetDevices(c *checker, linux *specs.Linux) {
	const path = "linux.netDevices"
	if len(linux.NetDevices) == 0 {
		return
	}
	if namespace(linux, specs.NetworkNamespace) == nil {
		c.Addf(path, "needs a network namespace in linux.namespaces")
	}
	from := make(map[string]string) // name in the container → on the host
	for _, host := range slices.Sorted(maps.Keys(linux.NetDevices)) {
		if !isDeviceName(host) {
			c.Addf(path, "%s is not the name of a network device", quote(host))
		}
		name := linux.NetDevices[host].Name
		switch {
		case name == "":
			name = host
		case !isDeviceName(name):
			c.Addf(at(path, key(host), "name"), "%s is not the name of a network device", quote(name))
		}
		if other, ok := from[name]; ok {
			c.Addf(at(path, key(host)), "would have the name %s, as %s", quote(name), quote(other))
		}
		from[name] = host
	}
}

// isDeviceName follows the kernel's dev_valid_name: 1 to 15 bytes, no white
// space (the byte 0xa0 among it, even within UTF-8), slash or colon, not a
// directory's own entries. A "%d" in a new name is legal and numbers the device.
func isDeviceName(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case c == '/' || c == ':' || c == 0 || c == ' ' || c == 0xa0 || '\t' <= c && c <= '\r':
			return false
		}
	}
	return name != "" && len(name) <= 15 && name != "." && name != ".."
}
