package container

import (
	"path/filepath"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/resctrl"
	"tongs/internal/state"
)

// resctrlGroup decides on the group of linux.intelRdt; nil if it is not set.
func resctrlGroup(id string, spec *specs.Spec) (*resctrl.Group, error) {
	if spec.Linux == nil || spec.Linux.IntelRdt == nil {
		return nil, nil
	}
	root, err := resctrl.Root()
	if err != nil {
		return nil, err
	}
	return resctrl.New(root, id, spec.Linux.IntelRdt)
}

// monitorDir is the container's own monitoring group, "" if it has none.
func monitorDir(st *state.State) string {
	dir := filepath.Join(st.IntelRdtPath, "mon_groups", st.ID)
	if st.IntelRdtPath == "" || !slices.Contains(st.Tongs.Owned.Resctrl, dir) {
		return ""
	}
	return dir
}

// checkSchemas tells whether schemas can be changed here at all.
func checkSchemas(st *state.State, l3CacheSchema, memBwSchema string) error {
	root, err := resctrl.Root()
	if err == nil {
		_, err = resctrl.Open(root, st.IntelRdtPath, l3CacheSchema, memBwSchema)
	}
	return err
}

// updateResctrl changes the schemas of a container's group. A container without
// one gets it now, as with runc, with all its processes.
func updateResctrl(d *state.Dir, st *state.State, pids []int, l3CacheSchema, memBwSchema string) error {
	root, err := resctrl.Root()
	if err != nil {
		return err
	}
	if st.IntelRdtPath != "" {
		g, err := resctrl.Open(root, st.IntelRdtPath, l3CacheSchema, memBwSchema)
		if err != nil {
			return err
		}
		return g.Update()
	}
	g, err := resctrl.New(root, st.ID, &specs.LinuxIntelRdt{L3CacheSchema: l3CacheSchema, MemBwSchema: memBwSchema})
	if err != nil {
		return err
	}
	st.IntelRdtPath, st.Tongs.Owned.Resctrl = g.Dir(), g.Owned()
	if err := d.Write(st); err != nil {
		return err
	}
	err = g.Create()
	for _, pid := range pids {
		if err == nil {
			err = g.JoinThreads(pid)
		}
	}
	if err == nil {
		return nil
	}
	_ = g.Undo() // what cannot be removed stays in the state, and delete tries again
	st.IntelRdtPath = ""
	if errWrite := d.Write(st); errWrite != nil {
		return errWrite
	}
	return err
}
