package state

// The counterpart of decode.go, for the same reason. The bytes are those of
// encoding/json; a test compares them.

func (st *State) write(w *writer) {
	w.open('{')
	w.key("id").str(st.ID)
	w.key("init_process_pid").int(int64(st.PID))
	w.key("init_process_start").uint(st.Start)
	w.key("created").time(st.Created)
	w.key("config")
	st.Config.write(w)
	w.key("rootless").bool(st.Rootless)
	w.key("cgroup_paths").strMap(st.CgroupPaths)
	w.key("namespace_paths").strMap(st.NamespacePaths)
	if len(st.ExternalDescriptors) > 0 {
		w.key("external_descriptors").strs(st.ExternalDescriptors)
	}
	w.key("intel_rdt_path").str(st.IntelRdtPath)
	w.key("tongs")
	st.Tongs.write(w)
	w.close('}')
}

func (c *Config) write(w *writer) {
	w.open('{')
	w.key("rootfs").str(c.Rootfs)
	w.key("hostname").str(c.Hostname)
	if c.Domainname != "" {
		w.key("domainname").str(c.Domainname)
	}
	w.key("namespaces")
	if c.Namespaces == nil {
		w.null()
	} else {
		w.open('[')
		for _, ns := range c.Namespaces {
			w.item().open('{')
			w.key("type").str(ns.Type)
			w.key("path").str(ns.Path)
			w.close('}')
		}
		w.close(']')
	}
	w.idMaps("uid_mappings", c.UIDMappings)
	w.idMaps("gid_mappings", c.GIDMappings)
	w.key("cgroups").open('{')
	w.key("name").str(c.Cgroups.Name)
	if c.Cgroups.Parent != "" {
		w.key("parent").str(c.Cgroups.Parent)
	}
	w.key("path").str(c.Cgroups.Path)
	w.key("scope_prefix").str(c.Cgroups.ScopePrefix)
	w.key("Systemd").bool(c.Cgroups.Systemd)
	w.key("Rootless").bool(c.Cgroups.Rootless)
	w.key("cpu_shares").uint(c.Cgroups.CPUShares)
	w.close('}')
	w.key("version").str(c.Version)
	w.key("labels").strs(c.Labels)
	if c.NoNewKeyring {
		w.key("no_new_keyring").bool(true)
	}
	w.close('}')
}

func (w *writer) idMaps(key string, maps []IDMap) {
	if len(maps) == 0 {
		return
	}
	w.key(key).open('[')
	for _, m := range maps {
		w.item().open('{')
		w.key("container_id").int(m.ContainerID)
		w.key("host_id").int(m.HostID)
		w.key("size").int(m.Size)
		w.close('}')
	}
	w.close(']')
}

func (o *Own) write(w *writer) {
	w.open('{')
	w.key("format").int(int64(o.Format))
	w.key("phase").str(string(o.Phase))
	w.key("bundle").str(o.Bundle)
	w.key("oci_version").str(o.OCIVersion)
	w.key("root").open('{')
	w.key("path").str(o.Root.Path)
	w.key("dev").uint(o.Root.Dev)
	w.key("ino").uint(o.Root.Ino)
	w.close('}')
	w.key("boot_id").str(o.BootID)
	w.key("runtime").open('{')
	w.key("pid").int(int64(o.Runtime.PID))
	w.key("start").uint(o.Runtime.Start)
	w.close('}')
	w.key("owned").open('{')
	if len(o.Owned.Cgroups) > 0 {
		w.key("cgroups").strs(o.Owned.Cgroups)
	}
	if len(o.Owned.Resctrl) > 0 {
		w.key("resctrl").strs(o.Owned.Resctrl)
	}
	w.close('}')
	if len(o.Annotations) > 0 {
		w.key("annotations").strMap(o.Annotations)
	}
	if o.SystemdCgroup {
		w.key("systemd_cgroup").bool(true)
	}
	if o.NoNewKeyring {
		w.key("no_new_keyring").bool(true)
	}
	w.close('}')
}
