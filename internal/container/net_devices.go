package container

import "tongs/internal/netdev"

// moveNetDevices moves linux.netDevices. If the creation fails later, they come
// back: the kernel would remove those that are virtual with the namespace.
func (c *creation) moveNetDevices() error { return c.moveNetDevicesTo(c.stub.PID, c.stub.PidFD) }

func (c *creation) moveNetDevicesTo(pid, pidfd int) error {
	undo, err := netdev.Move(pid, pidfd, c.b.Spec.Linux.NetDevices)
	if err == nil {
		c.onFailure(undo)
	}
	return err
}
