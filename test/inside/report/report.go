// Package report is what the program that looks around in a container prints,
// for it and for the tests.
//
// It deliberately does not look at anything itself, and needs nothing that the
// program in the container would have to carry.
package report

// SecretKey is the name of a key that tests add to their keyrings.
const SecretKey = "tongs-test-secret"

// Report is the program's own process and surroundings. What cannot be found
// out is empty.
type Report struct {
	PID, PPID, Session, Group int

	UIDs, GIDs          []string // real, effective, saved, file system
	Groups              []string // supplementary
	Capabilities        map[string]string
	NoNewPrivs, Seccomp string // these three as in proc_pid_status(5)
	Umask               string // octal
	OOMScoreAdj         string
	Limits              map[string]string // proc_pid_limits(5): name to "soft hard"
	Affinity            string            // CPUs
	Scheduler           string            // sched_getattr(2): "policy flags nice priority runtime deadline period"
	IOPriority          string            // "class priority"
	Personality         string            // hexadecimal
	MemoryPolicy        string            // get_mempolicy(2): "mode nodes", both hexadecimal
	Cwd                 string
	Args, Env           []string
	Descriptors         map[string]string // number to target
	Terminal            string            // controlling: "major:minor", or empty
	Size                string            // of the terminal on standard input: "rows columns"
	Namespaces          map[string]string // as in /proc/self/ns

	Hostname, Domainname string
	Cgroup               []string // as in proc_pid_cgroup(5)
	Keyring              string   // name of the session keyring
	SecretKey            string   // whether the key of that name was found, and why not
	Loopback             string   // up or down
	Mounts               []Mount
	Paths                map[string]Path `json:",omitempty"` // as asked for
}

// Mount is a line of proc_pid_mountinfo(5) without its numbers.
type Mount struct {
	Root, Point, Options     string
	Optional                 string // propagation
	Type, Source, SuperBlock string
}

// Path is what can be found about a path and done with it.
type Path struct {
	Type       string `json:",omitempty"` // file, directory, link, c, b, p or socket
	Mode       string `json:",omitempty"` // octal, four digits
	Owner      string `json:",omitempty"` // "uid:gid"
	Device     string `json:",omitempty"` // "major:minor"
	Link       string `json:",omitempty"`
	FileSystem string `json:",omitempty"` // magic number of statfs(2)
	Content    string `json:",omitempty"` // of a file, its beginning

	Names      []string `json:",omitempty"` // in a directory, sorted
	Error      string   `json:",omitempty"` // of lstat(2)
	ReadError  string   `json:",omitempty"` // errno texts
	WriteError string   `json:",omitempty"` // directories: to create a file
}

// At gives the topmost mount on a point; ok is false if there is none.
func (r *Report) At(point string) (m Mount, ok bool) {
	for _, m2 := range r.Mounts {
		if m2.Point == point {
			m, ok = m2, true
		}
	}
	return m, ok
}
