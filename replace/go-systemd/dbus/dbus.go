// Package dbus stands for the package of coreos/go-systemd of that name, of
// which opencontainers/cgroups names one type in a field that tongs leaves empty.
// The real one would bring godbus/dbus, net and crypto into tongs, whose
// initialisation every command would wait for (docs/dependencies.md).
package dbus

// Property is the type of the unused field.
type Property struct{}
