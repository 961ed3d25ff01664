package cgroup

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"tongs/internal/dbus"
)

// propertyPrefix begins annotations that are properties of the systemd unit, with
// the text form of a D-Bus value, as runc has them.
const propertyPrefix = "org.systemd.property."

// settable lists the properties that an annotation may set, with their types.
// Annotations come from whoever may start a container, and many properties mean
// root on the host: ExecStopPost executes programs, PIDs takes processes, Slice,
// User and Delegate give cgroups away, OnFailure or Conflicts start and stop
// other units, BPFProgram loads programs (CVE-2024-3154). So these are limits,
// how the unit's own processes end, and its place in the order of units.
func settable() map[string]string {
	return map[string]string{
		"AllowedCPUs": "ay", "AllowedMemoryNodes": "ay", "StartupAllowedCPUs": "ay", "StartupAllowedMemoryNodes": "ay",
		"CPUAccounting": "b", "CPUQuotaPerSecUSec": "t", "CPUQuotaPeriodUSec": "t", "CPUShares": "t", "CPUWeight": "t",
		"StartupCPUShares": "t", "StartupCPUWeight": "t",
		"BlockIOAccounting": "b", "BlockIOWeight": "t", "IOAccounting": "b", "IOWeight": "t", "StartupBlockIOWeight": "t", "StartupIOWeight": "t",
		"DefaultMemoryLow": "t", "DefaultMemoryMin": "t", "MemoryAccounting": "b", "MemoryHigh": "t", "MemoryLimit": "t", "MemoryLow": "t",
		"MemoryMax": "t", "MemoryMin": "t", "MemorySwapMax": "t", "MemoryZSwapMax": "t",
		"ManagedOOMMemoryPressure": "s", "ManagedOOMMemoryPressureLimit": "u", "ManagedOOMPreference": "s", "ManagedOOMSwap": "s", "OOMPolicy": "s",
		"TasksAccounting": "b", "TasksMax": "t", "IPAccounting": "b",
		"CollectMode": "s", "FinalKillSignal": "i", "KillMode": "s", "KillSignal": "i", "RestartKillSignal": "i", "RuntimeMaxUSec": "t",
		"RuntimeRandomizedExtraUSec": "t", "SendSIGHUP": "b", "SendSIGKILL": "b", "TimeoutStopUSec": "t", "WatchdogSignal": "i",
		"After": "as", "Before": "as", "DefaultDependencies": "b", "Description": "s", "IgnoreOnIsolate": "b",
	}
}

// annotated reads the properties that annotations set.
func annotated(annotations map[string]string) ([]property, error) {
	var list []property
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		name, ok := strings.CutPrefix(key, propertyPrefix)
		if !ok {
			continue
		}
		p, err := parseProperty(name, annotations[key])
		if err != nil {
			return nil, fmt.Errorf("annotations[%q]: %w", key, err)
		}
		list = append(list, p)
	}
	return list, nil
}

// parseProperty reads a property by its type. A name that ends in Sec means
// seconds, and the property is the one that ends in USec.
func parseProperty(name, text string) (p property, err error) {
	known := settable()
	p.Name = name
	unit := strings.TrimSuffix(name, "Sec")
	seconds := unit != name && !strings.HasSuffix(unit, "U")
	if seconds {
		p.Name = unit + "USec"
	}
	kind := known[p.Name]
	if kind == "" {
		return p, fmt.Errorf("%q is not a property that a container may set", name)
	}
	if seconds {
		n, err := parseSeconds(text)
		if err != nil {
			return p, err
		}
		p.Value = dbus.MakeVariant(n)
		return p, nil
	}
	if p.Value, err = dbus.Parse(text, kind); err != nil {
		return p, fmt.Errorf("cannot understand %q as a value of type %q: %w", text, kind, err)
	}
	return p, nil
}

// parseSeconds reads a number of any type and gives microseconds.
func parseSeconds(text string) (uint64, error) {
	v, err := dbus.Parse(text, "")
	if err != nil {
		return 0, fmt.Errorf("cannot understand %q as a number of seconds: %w", text, err)
	}
	var s float64
	switch n := v.Value().(type) {
	case float64:
		s = n
	case byte:
		s = float64(n)
	case int16:
		s = float64(n)
	case uint16:
		s = float64(n)
	case int32:
		s = float64(n)
	case uint32:
		s = float64(n)
	case int64:
		s = float64(n)
	case uint64:
		s = float64(n)
	default:
		return 0, fmt.Errorf("%q is not a number of seconds", text)
	}
	// Up to here a float is exact enough; what is more means for ever anyway.
	const most = 1 << 40
	if !(s >= 0 && s <= most) {
		return 0, fmt.Errorf("%q is not a number of seconds between 0 and %d", text, uint64(most))
	}
	return uint64(s * 1_000_000), nil
}
