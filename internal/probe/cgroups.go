package probe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

func unified() bool {
	var st unix.Statfs_t
	return unix.Statfs(cgroupRoot, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// cgroups finds what can be limited here.
func (w *World) cgroups() []Finding {
	f := Finding{Name: "cgroups", Serves: "linux.resources", Remedy: "mount cgroup v2 on " + cgroupRoot}
	if !unified() {
		return w.cgroupsV1(f)
	}
	if !w.user && !w.nested {
		f.Detail = "v2: " + line(cgroupRoot+"/cgroup.controllers")
		return append(one(f, unix.Access(cgroupRoot, unix.W_OK)), controllers(cgroupRoot))
	}
	own, err := ownCgroup()
	f.Serves, f.Remedy = "limits of ordinary users' containers", "log in so that systemd starts user@.service, or use --systemd-cgroup"
	f.Detail = "v2, delegated: " + own
	list := one(f, err)
	if err == nil {
		list = append(list, controllers(own))
	}
	return list
}

// wanted are the controllers that configurations usually ask for.
func wanted() []string { return []string{"cpu", "cpuset", "io", "memory", "pids"} }

// controllers tells which of the usual controllers a directory of v2 has.
func controllers(dir string) Finding {
	f := Finding{Name: "cgroup controllers", Serves: "linux.resources", Remedy: "boot without cgroup v1 (systemd.unified_cgroup_hierarchy=1); as root of user@.service: Delegate=cpu cpuset io memory pids"}
	has := strings.Fields(line(dir + "/cgroup.controllers"))
	f.Detail = strings.Join(has, " ")
	return f.of(lacks(wanted(), has, dir))
}

func lacks(want, has []string, where string) error {
	missing := slices.DeleteFunc(want, func(c string) bool { return slices.Contains(has, c) })
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("%s lacks %s", where, strings.Join(missing, ", "))
}

// ownCgroup is the directory of v2 that this process is in, if its user may make
// cgroups there or in its parent and move processes.
func ownCgroup() (string, error) {
	own := ""
	for l := range strings.Lines(line("/proc/self/cgroup") + "\n") {
		if p, ok := strings.CutPrefix(strings.TrimSpace(l), "0::"); ok {
			own = filepath.Join(cgroupRoot, p)
		}
	}
	for dir := own; strings.HasPrefix(dir, cgroupRoot+"/"); dir = filepath.Dir(dir) {
		if unix.Access(dir, unix.W_OK) == nil && unix.Access(dir+"/cgroup.procs", unix.W_OK) == nil && unix.Access(dir+"/cgroup.subtree_control", unix.W_OK) == nil {
			own = dir
			if parent := filepath.Dir(dir); unix.Access(parent+"/cgroup.procs", unix.W_OK) == nil {
				continue
			}
			return own, nil
		}
	}
	return own, fmt.Errorf("%s does not belong to this user", own)
}

func (w *World) cgroupsV1(f Finding) []Finding {
	entries, err := os.ReadDir(cgroupRoot)
	var names []string
	for _, e := range entries {
		if e.IsDir() && e.Name() != "unified" {
			names = append(names, e.Name())
		}
	}
	f.Detail = "v1: " + strings.Join(names, " ")
	switch {
	case err == nil && len(names) == 0:
		err = errors.New("nothing is mounted there")
	case err == nil && (w.user || w.nested):
		f.Serves, f.Remedy = "limits of ordinary users' containers", "boot with cgroup v2"
		err = errors.New("cgroup v1 cannot be given to an ordinary user: containers have no limits")
	}
	list := one(f, err)
	if err == nil {
		all := strings.Join(names, ",")
		c := Finding{Name: "cgroup controllers", Serves: "linux.resources", Detail: strings.ReplaceAll(all, ",", " "), Remedy: "mount the hierarchies that are missing"}
		list = append(list, c.of(lacks([]string{"blkio", "cpu", "cpuset", "devices", "freezer", "memory", "pids"}, strings.Split(all, ","), cgroupRoot)))
	}
	return list
}

// devices tries to limit devices.
func (w *World) devices() []Finding {
	if !unified() || w.user || w.nested || w.Devices == nil {
		return nil // v1 has files for it; users get the devices that they are given
	}
	return one(Finding{Name: "device programs", Serves: "linux.resources.devices", Required: true, Remedy: "give tongs CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, and a kernel with CONFIG_CGROUP_BPF"}, w.Devices())
}
