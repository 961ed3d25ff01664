package container

import "tongs/internal/netdev"

// moveNetDevices moves linux.netDevices. If the creation fails later, they come
// back: the kernel would remove those that are virtual with the namespace.
func (c *creation) moveNetDevices() error {
	undo, err := netdev.Move(c.stub.PID, c.stub.PidFD, c.b.Spec.Linux.NetDevices)
	if err == nil {
		c.onFailure(undo)
	}
	return err
}
