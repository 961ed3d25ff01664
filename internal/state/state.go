// Package state keeps what must survive the end of a tongs process: one
// directory per container below the store's root, in it state.json, a lock and
// the start FIFO. It also knows how to tell whether a recorded process is still
// the same process.
//
// It deliberately does not
//   - know cgroups, namespaces or mounts: it records their names, others act;
//   - decide in which status a container is (that takes the freezer, too);
//   - create, signal or wait for containers on its own account;
//   - sync to disk: a state directory belongs on a tmpfs and a reboot voids it.
package state

import (
	"errors"
	"fmt"
	"path"
	"time"
)

// Format is the version of the "tongs" object in state.json. It is raised when
// an older tongs would misread the file.
const Format = 1

// A Phase says how far a container's creation had come when the state was
// written. Whether a created container still waits, runs or has ended is not
// recorded: the FIFO and the process tell.
type Phase string

const (
	Creating Phase = "creating" // side effects have begun, the container is not usable
	Created  Phase = "created"  // the process waits for start
	Running  Phase = "running"  // started by the process that created it (run)
)

// State is the content of state.json. The keys outside "tongs" are runc's, with
// its meanings, since monitoring agents read them; they are a subset.
type State struct {
	ID    string `json:"id"`
	PID   int    `json:"init_process_pid"`   // 0 while there is no process
	Start uint64 `json:"init_process_start"` // clock ticks since boot, proc_pid_stat(5) field 22

	Created             time.Time         `json:"created"`
	Config              Config            `json:"config"`
	Rootless            bool              `json:"rootless"`
	CgroupPaths         map[string]string `json:"cgroup_paths"`    // controller ("" on v2) to absolute path
	NamespacePaths      map[string]string `json:"namespace_paths"` // "NEWPID" to /proc/PID/ns/pid
	ExternalDescriptors []string          `json:"external_descriptors,omitempty"`
	IntelRdtPath        string            `json:"intel_rdt_path"`
	Tongs               Own               `json:"tongs"`

	// Runc: runc made the container. Its process waits for runc's start, in another
	// way than ours does.
	Runc bool `json:"-"`
}

// Config is the part of runc's "config" object that outside readers use.
type Config struct {
	Rootfs      string      `json:"rootfs"`
	Hostname    string      `json:"hostname"`
	Domainname  string      `json:"domainname,omitempty"`
	Namespaces  []Namespace `json:"namespaces"`
	UIDMappings []IDMap     `json:"uid_mappings,omitempty"`
	GIDMappings []IDMap     `json:"gid_mappings,omitempty"`
	Cgroups     Cgroups     `json:"cgroups"`
	Version     string      `json:"version"` // ociVersion of config.json
	Labels      []string    `json:"labels"`  // annotations as "key=value", and "bundle=DIR"

	NoNewKeyring bool `json:"no_new_keyring,omitempty"` // written by runc only
}

// Namespace is one namespace of the container: "NEWPID", and its path when it
// was joined.
type Namespace struct {
	Type string `json:"type"`
	Path string `json:"path"`
}

// IDMap is one line of a user or group id mapping.
type IDMap struct {
	ContainerID int64 `json:"container_id"`
	HostID      int64 `json:"host_id"`
	Size        int64 `json:"size"`
}

// Cgroups names the container's cgroup as runc does.
type Cgroups struct {
	Name        string `json:"name"`
	Parent      string `json:"parent,omitempty"` // systemd: the slice
	Path        string `json:"path"`             // cgroupfs: the path below the mount point
	ScopePrefix string `json:"scope_prefix"`
	Systemd     bool   `json:"Systemd"`
	Rootless    bool   `json:"Rootless"`
	// CPUShares is always 0: without any of the limits' keys runc finds no limits
	// object, and refuses to touch the container.
	CPUShares uint64 `json:"cpu_shares"`
}

// Own is what only tongs reads.
type Own struct {
	Format        int               `json:"format"`
	Phase         Phase             `json:"phase"`
	Bundle        string            `json:"bundle"` // absolute
	OCIVersion    string            `json:"oci_version"`
	Root          Root              `json:"root"`
	BootID        string            `json:"boot_id"`
	Runtime       ProcessID         `json:"runtime"` // who creates; tells a killed create from a slow one
	Owned         Owned             `json:"owned"`
	Annotations   map[string]string `json:"annotations,omitempty"`
	SystemdCgroup bool              `json:"systemd_cgroup,omitempty"`
	NoNewKeyring  bool              `json:"no_new_keyring,omitempty"`
}

// Root is the container's root directory: where it was, and what it was.
type Root struct {
	Path string `json:"path"`
	Dev  uint64 `json:"dev"`
	Ino  uint64 `json:"ino"`
}

// Owned lists what was, or was about to be, made for this container alone and
// must go with it. It is written before the first of these things exists.
type Owned struct {
	Cgroups []string `json:"cgroups,omitempty"` // absolute paths
	Resctrl []string `json:"resctrl,omitempty"` // the same
}

// maxPID is the kernel's PID_MAX_LIMIT on 64-bit machines.
const maxPID = 4 << 20

// Encode gives the bytes of state.json.
func (st *State) Encode() []byte {
	w := &writer{buf: make([]byte, 0, 2048)}
	st.write(w)
	return w.buf
}

// Decode reads the bytes of state.json. It refuses what neither tongs nor runc can
// have written, so that a damaged file is found here and not by a signal to the
// wrong process.
func Decode(data []byte) (*State, error) {
	st := new(State)
	r := &reader{data: data}
	st.read(r)
	r.end()
	if r.err != nil {
		return nil, fmt.Errorf("damaged: %v", r.err)
	}
	if st.Runc {
		st.adopt()
	}
	if err := st.check(); err != nil {
		return nil, err
	}
	return st, nil
}

func (st *State) check() error {
	switch {
	case st.Tongs.Format == 0:
		return errors.New("not written by tongs or runc: it has no tongs.format, and no bundle in config.labels")
	case st.Tongs.Format != Format:
		return fmt.Errorf("written by another version of tongs: tongs.format is %d, not %d", st.Tongs.Format, Format)
	case !validPhase(st.Tongs.Phase):
		return fmt.Errorf("damaged: unknown tongs.phase %q", st.Tongs.Phase)
	case st.PID < 0 || st.PID > maxPID:
		return fmt.Errorf("damaged: init_process_pid %d is out of range", st.PID)
	case st.PID == 0 && st.Tongs.Phase != Creating:
		return errors.New("damaged: init_process_pid is missing")
	case st.Tongs.Runtime.PID < 0 || st.Tongs.Runtime.PID > maxPID:
		return fmt.Errorf("damaged: tongs.runtime.pid %d is out of range", st.Tongs.Runtime.PID)
	}
	if err := ValidID(st.ID); err != nil {
		return fmt.Errorf("damaged: id: %v", err)
	}
	for controller, p := range st.CgroupPaths {
		if !plainPath(p) {
			return fmt.Errorf("damaged: cgroup_paths[%q] is not an absolute path: %q", controller, p)
		}
	}
	for name, list := range map[string][]string{"cgroups": st.Tongs.Owned.Cgroups, "resctrl": st.Tongs.Owned.Resctrl} {
		for i, p := range list {
			if !plainPath(p) {
				return fmt.Errorf("damaged: tongs.owned.%s[%d] is not an absolute path: %q", name, i, p)
			}
		}
	}
	if p := st.IntelRdtPath; p != "" && !plainPath(p) {
		return fmt.Errorf("damaged: intel_rdt_path is not an absolute path: %q", p)
	}
	return nil
}

func validPhase(p Phase) bool { return p == Creating || p == Created || p == Running }

// plainPath reports whether p is absolute, has no "." or ".." in it, and is not
// "/" itself: whatever is removed later lies strictly below some root.
func plainPath(p string) bool {
	return len(p) > 1 && p[0] == '/' && path.Clean(p) == p
}

// Init is the identity of the container's first process.
func (st *State) Init() ProcessID {
	return ProcessID{PID: st.PID, Start: st.Start}
}
