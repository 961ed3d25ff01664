package cgroup

import (
	"fmt"
	"strconv"
	"strings"
)

// properties tells systemd of the rules, for cgroup v1: without, it would allow
// all devices there when it is reloaded. It has no words for exceptions from
// "all", and for a minor number of any major one; these are in force until then,
// as with runc.
func (p devicePolicy) properties() []property {
	if p.allow {
		return []property{prop("DevicePolicy", "auto")}
	}
	type allow struct{ Path, Access string }
	var list []allow
	for _, e := range p.except {
		if path := e.systemdPath(); path != "" {
			list = append(list, allow{path, e.access.String()})
		}
	}
	return []property{prop("DeviceAllow", list), prop("DevicePolicy", "strict")}
}

// systemdPath names devices as systemd.resource-control(5), DeviceAllow=, does.
func (d device) systemdPath() string {
	kind, section := "char", "Character"
	if d.kind == 'b' {
		kind, section = "block", "Block"
	}
	switch {
	case d.major == anyNumber && d.minor == anyNumber:
		return kind + "-*"
	case d.major == anyNumber:
		return ""
	case d.minor == anyNumber:
		name := driver(section, d.major)
		if name == "" {
			return ""
		}
		return kind + "-" + name
	}
	return fmt.Sprintf("/dev/%s/%d:%d", kind, d.major, d.minor)
}

// driver finds the name of a major number in /proc/devices.
func driver(section string, major int64) string {
	text, err := readFile("/proc", "devices")
	if err != nil {
		return ""
	}
	in := false
	for line := range strings.Lines(text) {
		if strings.HasSuffix(line, ":\n") {
			in = strings.HasPrefix(line, section)
		}
		number, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		if in && number == strconv.FormatInt(major, 10) {
			return name
		}
	}
	return ""
}
