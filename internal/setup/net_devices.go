package setup

import "errors"

var errNotOwnDevices = errors.New("linux.netDevices: an ordinary user cannot move network devices of the host")

// moveNetDevices has the host's network devices moved into the container's
// network namespace, in which the process must be (runtime-spec 1.3,
// config-linux § Network Devices).
func moveNetDevices(e *Env) error {
	if e.Spec.Linux == nil || len(e.Spec.Linux.NetDevices) == 0 {
		return nil
	}
	if e.UID != 0 {
		return errNotOwnDevices
	}
	if err := e.run(); err != nil {
		return err
	}
	return e.NetDevices()
}
