package state

import (
	"slices"
	"strings"
)

// runc writes the same keys and no "tongs". adopt reads a container that it has
// made as if tongs had: all that tongs would have noted besides can be told from
// the rest. Without a boot id it is the pid and the start time that tell, as with
// runc. What has no bundle is neither's, and stays without a format.
func (st *State) adopt() {
	o := &st.Tongs
	for _, label := range st.Config.Labels {
		key, value, _ := strings.Cut(label, "=")
		if key == "bundle" && plainPath(value) { // runc's own is behind the annotations
			o.Bundle, o.Format = value, Format
			continue
		}
		if o.Annotations == nil {
			o.Annotations = make(map[string]string)
		}
		o.Annotations[key] = value
	}
	o.Phase = Created // whether it still waits is told by the FIFO
	o.OCIVersion, o.Root.Path = st.Config.Version, st.Config.Rootfs
	o.SystemdCgroup, o.NoNewKeyring = st.Config.Cgroups.Systemd, st.Config.NoNewKeyring
	for _, path := range st.CgroupPaths { // runc removes all of them
		if !slices.Contains(o.Owned.Cgroups, path) {
			o.Owned.Cgroups = append(o.Owned.Cgroups, path)
		}
	}
}
