package netdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// device is a network device as it was on the host.
type device struct {
	field     string // linux.netDevices.eth0
	name      string
	index     int32
	up        bool
	addresses [][]byte // requests to add them again, with the host's index

	inside     int32 // index in the container
	insideName string
}

// mover has a socket on each side.
type mover struct {
	host, inside *conn
	pid          int
	moved        []*device
}

// Move moves devices into the network namespace of a process, renames them,
// adds their addresses again, which the kernel drops, and brings them up. undo
// takes them back; when Move fails, it has been called.
func Move(pid, pidfd int, devices map[string]specs.LinuxNetDevice) (undo func(), err error) {
	m := &mover{pid: pid}
	if m.host, err = dial(); err != nil {
		return nil, fmt.Errorf("linux.netDevices: %w", err)
	}
	if m.inside, err = dialIn(pidfd); err != nil {
		m.host.close()
		return nil, fmt.Errorf("linux.netDevices: %w", err)
	}
	if err = m.move(devices); err != nil {
		m.undo()
		return nil, err
	}
	return m.undo, nil
}

// move looks at all before it moves the first.
func (m *mover) move(devices map[string]specs.LinuxNetDevice) error {
	there, err := m.inside.links()
	if err != nil {
		return fmt.Errorf("linux.netDevices: cannot list the container's network devices: %w", err)
	}
	var list []*device
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		d := &device{field: "linux.netDevices." + name, name: name, insideName: devices[name].Name}
		if d.insideName == "" {
			d.insideName = name
		}
		if _, taken := there[d.insideName]; taken {
			errs = append(errs, fmt.Errorf("%s: the container has a network device %q already", d.field, d.insideName))
		} else if err := m.look(d); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", d.field, err))
		}
		list = append(list, d)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, d := range list {
		if err := m.moveOne(d, there); err != nil {
			return fmt.Errorf("%s: %w", d.field, err)
		}
	}
	return nil
}

// look finds a device on the host, and its addresses.
func (m *mover) look(d *device) error {
	found, err := m.host.ask(unix.RTM_GETLINK, 0, attr(make([]byte, unix.SizeofIfInfomsg), unix.IFLA_IFNAME, text(d.name)))
	if errors.Is(err, unix.ENODEV) || err == nil && len(found) == 0 {
		return fmt.Errorf("there is no network device %q", d.name)
	}
	if err != nil {
		return fmt.Errorf("cannot find the network device %q: %w", d.name, err)
	}
	if len(found[0].body) < unix.SizeofIfInfomsg {
		return errors.New("netlink: a message is too short")
	}
	d.index = int32(binary.NativeEndian.Uint32(found[0].body[4:]))
	d.up = binary.NativeEndian.Uint32(found[0].body[8:])&unix.IFF_UP != 0
	all, err := m.host.ask(unix.RTM_GETADDR, unix.NLM_F_DUMP, make([]byte, unix.SizeofIfAddrmsg))
	if err != nil {
		return fmt.Errorf("cannot list the addresses of %q: %w", d.name, err)
	}
	for _, a := range all {
		if r := keptAddress(a.body, d.index); r != nil {
			d.addresses = append(d.addresses, r)
		}
	}
	return nil
}

// keptAddress makes the request that adds an address again, nil for one of
// another device or that the specification does not want to be kept: those that
// are of a narrower scope or were learned for a time.
func keptAddress(body []byte, index int32) []byte {
	if len(body) < unix.SizeofIfAddrmsg || int32(binary.NativeEndian.Uint32(body[4:])) != index || body[3] != unix.RT_SCOPE_UNIVERSE {
		return nil
	}
	a := attrs(body[unix.SizeofIfAddrmsg:])
	flags := uint32(body[2])
	if f := a[unix.IFA_FLAGS]; len(f) == 4 {
		flags = binary.NativeEndian.Uint32(f)
	}
	if flags&unix.IFA_F_PERMANENT == 0 {
		return nil
	}
	r := append([]byte(nil), body[:unix.SizeofIfAddrmsg]...)
	r[2] = 0
	// The label of an IPv4 address has the device's old name in it.
	for _, kind := range []uint16{unix.IFA_ADDRESS, unix.IFA_LOCAL, unix.IFA_BROADCAST, unix.IFA_RT_PRIORITY} {
		if v, ok := a[kind]; ok {
			r = attr(r, kind, v)
		}
	}
	const kept = unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_MANAGETEMPADDR | unix.IFA_F_HOMEADDRESS | unix.IFA_F_NODAD | unix.IFA_F_MCAUTOJOIN
	return attr(r, unix.IFA_FLAGS, number(flags&kept))
}

// links lists the devices of a namespace: name to index.
func (c *conn) links() (map[string]int32, error) {
	list, err := c.ask(unix.RTM_GETLINK, unix.NLM_F_DUMP, make([]byte, unix.SizeofIfInfomsg))
	if err != nil {
		return nil, err
	}
	names := map[string]int32{}
	for _, l := range list {
		if l.kind == unix.RTM_NEWLINK && len(l.body) >= unix.SizeofIfInfomsg {
			name := attrs(l.body[unix.SizeofIfInfomsg:])[unix.IFLA_IFNAME]
			names[strings.TrimRight(string(name), "\x00")] = int32(binary.NativeEndian.Uint32(l.body[4:]))
		}
	}
	return names, nil
}

// moveOne moves a device. It gets an index that is free, so that it can be told
// whatever name a template (net%d) gives it.
func (m *mover) moveOne(d *device, there map[string]int32) error {
	d.inside = d.index
	for _, used := range there {
		d.inside = max(d.inside, used+1)
	}
	request := link(d.index, 0, 0)
	request = attr(request, unix.IFLA_NET_NS_PID, number(uint32(m.pid)))
	request = attr(request, unix.IFLA_NEW_IFINDEX, number(uint32(d.inside)))
	request = attr(request, unix.IFLA_IFNAME, text(d.insideName))
	m.moved = append(m.moved, d) // the kernel may move it and then not rename it
	if _, err := m.host.ask(unix.RTM_SETLINK, 0, request); err != nil {
		return fmt.Errorf("cannot move the network device %q into the container's network namespace: %w", d.name, err)
	}
	there[d.insideName] = d.inside
	if err := m.inside.restore(d, d.inside); err != nil {
		return err
	}
	return m.inside.raise(d.inside)
}

// link is struct ifinfomsg.
func link(index int32, flags, change uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], change)
	return b
}

// restore adds the addresses of a device, which has that index now.
func (c *conn) restore(d *device, index int32) error {
	for _, a := range d.addresses {
		r := append([]byte(nil), a...)
		binary.NativeEndian.PutUint32(r[4:], uint32(index))
		if _, err := c.ask(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, r); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("cannot add its address again: %w", err)
		}
	}
	return nil
}

func (c *conn) raise(index int32) error {
	if _, err := c.ask(unix.RTM_SETLINK, 0, link(index, unix.IFF_UP, unix.IFF_UP)); err != nil {
		return fmt.Errorf("cannot bring it up: %w", err)
	}
	return nil
}

// undo takes the devices back, as they were, as far as that works: it is what
// is done after another failure.
func (m *mover) undo() {
	for _, d := range slices.Backward(m.moved) {
		down := link(d.inside, 0, unix.IFF_UP)
		_, _ = m.inside.ask(unix.RTM_SETLINK, 0, down)
		_, _ = m.inside.ask(unix.RTM_SETLINK, 0, attr(link(d.inside, 0, 0), unix.IFLA_IFNAME, text(d.name)))
		back := attr(link(d.inside, 0, 0), unix.IFLA_NET_NS_PID, number(uint32(unix.Getpid())))
		back = attr(back, unix.IFLA_NEW_IFINDEX, number(uint32(d.index)))
		if _, err := m.inside.ask(unix.RTM_SETLINK, 0, back); err != nil {
			continue
		}
		_ = m.host.restore(d, d.index)
		if d.up {
			_ = m.host.raise(d.index)
		}
	}
	m.host.close()
	m.inside.close()
}
