package cgroup

import (
	"fmt"

	"github.com/opencontainers/cgroups"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// convertBlockIO: leafWeight has no v2 counterpart and is ignored there, as in
// runc. The module maps weight to io.bfq.weight or io.weight.
func convertBlockIO(r *cgroups.Resources, b *specs.LinuxBlockIO) error {
	if b == nil {
		return nil
	}
	const field = "linux.resources.blockIO."
	var err error
	if r.BlkioWeight, err = weight(field+"weight", b.Weight); err != nil {
		return err
	}
	if r.BlkioLeafWeight, err = weight(field+"leafWeight", b.LeafWeight); err != nil {
		return err
	}
	for i, d := range b.WeightDevice {
		at := fmt.Sprintf("%sweightDevice[%d]", field, i)
		if d.Weight == nil && d.LeafWeight == nil {
			return fmt.Errorf("%s: neither weight nor leafWeight is given", at)
		}
		w, err := weight(at+".weight", d.Weight)
		if err != nil {
			return err
		}
		leaf, err := weight(at+".leafWeight", d.LeafWeight)
		if err != nil {
			return err
		}
		r.BlkioWeightDevice = append(r.BlkioWeightDevice, cgroups.NewWeightDevice(d.Major, d.Minor, w, leaf))
	}
	r.BlkioThrottleReadBpsDevice = throttle(b.ThrottleReadBpsDevice)
	r.BlkioThrottleWriteBpsDevice = throttle(b.ThrottleWriteBpsDevice)
	r.BlkioThrottleReadIOPSDevice = throttle(b.ThrottleReadIOPSDevice)
	r.BlkioThrottleWriteIOPSDevice = throttle(b.ThrottleWriteIOPSDevice)
	return nil
}

// weight admits the kernel's range for BFQ and v1; 0 is unset, as in runc.
func weight(field string, w *uint16) (uint16, error) {
	if w == nil || *w == 0 {
		return 0, nil
	}
	if *w < 10 || *w > 1000 {
		return 0, fmt.Errorf("%s: %d is not between 10 and 1000", field, *w)
	}
	return *w, nil
}

func throttle(devices []specs.LinuxThrottleDevice) []*cgroups.ThrottleDevice {
	var all []*cgroups.ThrottleDevice
	for _, d := range devices {
		all = append(all, cgroups.NewThrottleDevice(d.Major, d.Minor, d.Rate))
	}
	return all
}
