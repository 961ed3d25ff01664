package state

// State is decoded by hand: the first use of encoding/json on these types costs
// a quarter of the time that `tongs state` may take. A test compares the two.

func (st *State) read(r *reader) {
	st.Runc = true // unless there is what only tongs writes
	r.object(func(key string) {
		switch key {
		case "id":
			st.ID = r.str()
		case "init_process_pid":
			st.PID = int(r.int())
		case "init_process_start":
			st.Start = r.uint()
		case "created":
			st.Created = r.time()
		case "config":
			st.Config.read(r)
		case "rootless":
			st.Rootless = r.bool()
		case "cgroup_paths":
			st.CgroupPaths = r.strMap()
		case "namespace_paths":
			st.NamespacePaths = r.strMap()
		case "external_descriptors":
			st.ExternalDescriptors = r.strs()
		case "intel_rdt_path":
			st.IntelRdtPath = r.str()
		case "tongs":
			st.Runc = false
			st.Tongs.read(r)
		default:
			r.skip()
		}
	})
}

func (c *Config) read(r *reader) {
	r.object(func(key string) {
		switch key {
		case "rootfs":
			c.Rootfs = r.str()
		case "hostname":
			c.Hostname = r.str()
		case "domainname":
			c.Domainname = r.str()
		case "namespaces":
			r.array(func() { c.Namespaces = append(c.Namespaces, readNamespace(r)) })
		case "uid_mappings":
			r.array(func() { c.UIDMappings = append(c.UIDMappings, readIDMap(r)) })
		case "gid_mappings":
			r.array(func() { c.GIDMappings = append(c.GIDMappings, readIDMap(r)) })
		case "cgroups":
			c.Cgroups.read(r)
		case "version":
			c.Version = r.str()
		case "labels":
			c.Labels = r.strs()
		case "no_new_keyring":
			c.NoNewKeyring = r.bool()
		default:
			r.skip()
		}
	})
}

func readNamespace(r *reader) (ns Namespace) {
	r.object(func(key string) {
		switch key {
		case "type":
			ns.Type = r.str()
		case "path":
			ns.Path = r.str()
		default:
			r.skip()
		}
	})
	return ns
}

func readIDMap(r *reader) (m IDMap) {
	r.object(func(key string) {
		switch key {
		case "container_id":
			m.ContainerID = r.int()
		case "host_id":
			m.HostID = r.int()
		case "size":
			m.Size = r.int()
		default:
			r.skip()
		}
	})
	return m
}

func (c *Cgroups) read(r *reader) {
	r.object(func(key string) {
		switch key {
		case "name":
			c.Name = r.str()
		case "parent":
			c.Parent = r.str()
		case "path":
			c.Path = r.str()
		case "scope_prefix":
			c.ScopePrefix = r.str()
		case "Systemd":
			c.Systemd = r.bool()
		case "cpu_shares":
			c.CPUShares = r.uint()
		case "Rootless":
			c.Rootless = r.bool()
		default:
			r.skip()
		}
	})
}

func (o *Own) read(r *reader) {
	r.object(func(key string) {
		switch key {
		case "format":
			o.Format = int(r.int())
		case "phase":
			o.Phase = Phase(r.str())
		case "bundle":
			o.Bundle = r.str()
		case "oci_version":
			o.OCIVersion = r.str()
		case "root":
			o.Root.read(r)
		case "boot_id":
			o.BootID = r.str()
		case "runtime":
			o.Runtime.read(r)
		case "owned":
			o.Owned.read(r)
		case "annotations":
			o.Annotations = r.strMap()
		case "systemd_cgroup":
			o.SystemdCgroup = r.bool()
		case "no_new_keyring":
			o.NoNewKeyring = r.bool()
		default:
			r.skip()
		}
	})
}

func (o *Root) read(r *reader) {
	r.object(func(key string) {
		switch key {
		case "path":
			o.Path = r.str()
		case "dev":
			o.Dev = r.uint()
		case "ino":
			o.Ino = r.uint()
		default:
			r.skip()
		}
	})
}

func (p *ProcessID) read(r *reader) {
	r.object(func(key string) {
		switch key {
		case "pid":
			p.PID = int(r.int())
		case "start":
			p.Start = r.uint()
		default:
			r.skip()
		}
	})
}

func (o *Owned) read(r *reader) {
	r.object(func(key string) {
		switch key {
		case "cgroups":
			o.Cgroups = r.strs()
		case "resctrl":
			o.Resctrl = r.strs()
		default:
			r.skip()
		}
	})
}
