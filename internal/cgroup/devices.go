package cgroup

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// access is the bit set of the kernel's BPF_DEVCG_ACC_* (linux/bpf.h).
type access uint8

const (
	accessMknod access = 1 << iota
	accessRead
	accessWrite
	accessAll = accessMknod | accessRead | accessWrite
)

func (a access) String() string {
	var s string
	for i, c := range "mrw" {
		if a&(1<<i) != 0 {
			s += string(c)
		}
	}
	return s
}

// anyNumber stands for every major or minor number.
const anyNumber = -1

// device names devices by type ('b' or 'c') and numbers.
type device struct {
	kind         byte
	major, minor int64
}

func (d device) String() string {
	n := func(v int64) string {
		if v == anyNumber {
			return "*"
		}
		return strconv.FormatInt(v, 10)
	}
	return string(d.kind) + " " + n(d.major) + ":" + n(d.minor)
}

// devicePolicy is what a list of rules comes to: a default for every device
// and exceptions from it. v1 works this way inside (devices.c in the kernel),
// and the v2 program is made from the same, so that a list means the same on
// both.
type devicePolicy struct {
	allow  bool // the default
	except []exception
}

type exception struct {
	device
	access access
}

// newDevicePolicy reads linux.resources.devices, and appends what runc allows
// to every container: making device nodes, the default devices, terminals and
// tun (removing that broke users, runc#3468). Nothing else is allowed unless a
// rule says so.
func newDevicePolicy(res *specs.LinuxResources) (devicePolicy, error) {
	p := devicePolicy{except: make([]exception, 0, 16)}
	if res != nil {
		var errs []error
		for i, rule := range res.Devices {
			if err := p.apply(rule); err != nil {
				errs = append(errs, fmt.Errorf("linux.resources.devices[%d]%w", i, err))
			}
		}
		if len(errs) > 0 {
			return p, errors.Join(errs...)
		}
	}
	for _, e := range [...]exception{
		{device{'c', anyNumber, anyNumber}, accessMknod},
		{device{'b', anyNumber, anyNumber}, accessMknod},
		{device{'c', 1, 3}, accessAll},           // null
		{device{'c', 1, 8}, accessAll},           // random
		{device{'c', 1, 7}, accessAll},           // full
		{device{'c', 5, 0}, accessAll},           // tty
		{device{'c', 1, 5}, accessAll},           // zero
		{device{'c', 1, 9}, accessAll},           // urandom
		{device{'c', 136, anyNumber}, accessAll}, // pts
		{device{'c', 5, 2}, accessAll},           // ptmx
		{device{'c', 10, 200}, accessAll},        // tun
	} {
		if err := p.change(e.device, e.access, true); err != nil {
			return p, fmt.Errorf("linux.resources.devices%w", err)
		}
	}
	return p, nil
}

// apply adds one rule. Its error continues the field path.
func (p *devicePolicy) apply(rule specs.LinuxDeviceCgroup) error {
	switch rule.Type {
	case "", "a":
		// "all" sets the default and forgets what was before; the other
		// fields are without meaning (runc, and devices.c).
		p.allow, p.except = rule.Allow, p.except[:0]
		return nil
	case "b", "c":
	default:
		return fmt.Errorf(".type: unknown device type %q", rule.Type)
	}
	d := device{kind: rule.Type[0], major: anyNumber, minor: anyNumber}
	for _, n := range []struct {
		name string
		from *int64
		to   *int64
	}{{"major", rule.Major, &d.major}, {"minor", rule.Minor, &d.minor}} {
		if n.from == nil {
			continue
		}
		if *n.from < anyNumber || *n.from > math.MaxUint32 {
			return fmt.Errorf(".%s: %d is not a device number", n.name, *n.from)
		}
		*n.to = *n.from
	}
	var a access
	for _, c := range rule.Access {
		i := strings.IndexRune("mrw", c)
		if i < 0 {
			return fmt.Errorf(".access: %q has letters other than r, w and m", rule.Access)
		}
		a |= 1 << i
	}
	return p.change(d, a, rule.Allow)
}

// change makes, widens, narrows or removes an exception.
func (p *devicePolicy) change(d device, a access, allow bool) error {
	at := -1
	for i, e := range p.except {
		if e.device == d {
			at = i
		}
	}
	if allow != p.allow {
		if at >= 0 {
			p.except[at].access |= a
		} else if a != 0 {
			p.except = append(p.except, exception{d, a})
		}
		return nil
	}
	for _, e := range p.except {
		// v1 silently ignores a hole in a wider exception: whoever asked
		// for it would believe to be safe.
		if e.device != d && e.covers(d) && e.access&a != 0 {
			return fmt.Errorf(": cannot make a hole for %v (%v) in the earlier rule for %v (%v)", d, a, e.device, e.access)
		}
	}
	if at >= 0 {
		if p.except[at].access &^= a; p.except[at].access == 0 {
			p.except = append(p.except[:at], p.except[at+1:]...)
		}
	}
	return nil
}

func (d device) covers(o device) bool {
	return d.kind == o.kind && (d.major == anyNumber || d.major == o.major) && (d.minor == anyNumber || d.minor == o.minor)
}

// writeV1 sets the policy in a v1 devices cgroup. First everything is denied
// (or allowed), which also forgets old exceptions; no process of the container
// runs yet.
func (p devicePolicy) writeV1(dir string) error {
	first, then := "devices.deny", "devices.allow"
	if p.allow {
		first, then = then, first
	}
	if err := writeFile(dir, first, "a"); err != nil {
		if errors.Is(err, unix.EINVAL) && len(children(dir)) > 0 {
			err = fmt.Errorf("%w: not in a cgroup that has others below it", err)
		}
		return err
	}
	for _, e := range p.except {
		if err := writeFile(dir, then, e.device.String()+" "+e.access.String()); err != nil {
			return err
		}
	}
	return nil
}
