package criu

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The messages of CRIU's RPC protocol (its images/rpc.proto), as far as they are
// used. Numbers are those of that file.

// Kind is the type of a request.
type Kind int64

const (
	Dump         Kind = 1
	Restore      Kind = 2
	PreDump      Kind = 4
	notification Kind = 6
	featureCheck Kind = 9
	version      Kind = 10
)

// String is the kind as an error calls it.
func (k Kind) String() string {
	switch k {
	case Dump:
		return "dump"
	case Restore:
		return "restore"
	case PreDump:
		return "pre-dump"
	case featureCheck:
		return "feature check"
	case version:
		return "version"
	}
	return "answer"
}

// CgroupMode is criu_cg_mode.
type CgroupMode int64

const (
	CgroupIgnore  CgroupMode = 0
	CgroupSoft    CgroupMode = 3
	CgroupFull    CgroupMode = 4
	CgroupStrict  CgroupMode = 5
	CgroupDefault CgroupMode = 6
)

// ParseCgroupMode reads the value of --manage-cgroups-mode.
func ParseCgroupMode(s string) (CgroupMode, bool) {
	switch s {
	case "":
		return CgroupDefault, true
	case "ignore":
		return CgroupIgnore, true
	case "soft":
		return CgroupSoft, true
	case "full":
		return CgroupFull, true
	case "strict":
		return CgroupStrict, true
	}
	return 0, false
}

// ParseServer reads the value of --page-server, ADDRESS:PORT, where an address of
// IPv6 is in brackets. The texts are runc's.
func ParseServer(s string) (address string, port int, err error) {
	i := strings.LastIndexByte(s, ':')
	if i <= 0 || i == len(s)-1 {
		return "", 0, errors.New("Use --page-server ADDRESS:PORT to specify page server")
	}
	address = s[:i]
	if inner, ok := strings.CutPrefix(address, "["); ok {
		address, ok = strings.CutSuffix(inner, "]")
		if !ok || address == "" {
			return "", 0, errors.New("Use --page-server ADDRESS:PORT to specify page server")
		}
	} else if strings.Contains(address, ":") {
		return "", 0, errors.New("Use --page-server ADDRESS:PORT to specify page server")
	}
	n, err := strconv.ParseUint(s[i+1:], 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("--page-server: Invalid port number %q", s[i+1:])
	}
	return address, int(n), nil
}

// Pair is a key and its value: of ext_mount_map the mount point and the name in
// the images, or that name and the source; of cgroup_root controller and path; of
// join_namespace type and file.
type Pair struct{ Key, Value string }

// InheritFD gives CRIU a descriptor in place of what the images call Key.
type InheritFD struct {
	Key string
	FD  int // in CRIU's process
}

// Options are criu_opts.
type Options struct {
	ImagesDir int // descriptor of this process
	WorkDir   int // descriptor of this process, or -1
	LogFile   string
	PID       int
	Root      string
	ParentDir string // relative to the images

	LeaveRunning, ExtUnixSockets, TCPEstablished, TCPSkipInFlight, ShellJob, FileLocks bool
	LinkRemap, AutoDedup, LazyPages, TrackMemory, EvasiveDevices, Sibling              bool
	OrphanTerminal                                                                     bool // orphan_pts_master: one has its master outside, and ShellJob has no effect

	PageServer  string // address
	PagePort    int
	Cgroups     CgroupMode
	CgroupRoots []Pair
	Freezer     string // cgroup
	EmptyNS     uint64 // CLONE_NEW… flags
	JoinNS      []Pair
	External    []string
	Mounts      []Pair // external
	Inherit     []InheritFD
	ConfigFile  string
	LSMProfile  string
	LSMContext  string
}

func (o *Options) encode(e *encoder) {
	e.int(1, int64(o.ImagesDir))
	if o.PID != 0 {
		e.int(2, int64(o.PID))
	}
	for _, f := range []struct {
		field int
		set   bool
	}{{3, o.LeaveRunning}, {4, o.ExtUnixSockets}, {5, o.TCPEstablished}, {6, o.EvasiveDevices}, {7, o.ShellJob}, {8, o.FileLocks},
		{12, true /* notify_scripts */}, {15, o.TrackMemory}, {16, o.AutoDedup}, {18, o.LinkRemap}, {24, true /* manage_cgroups */},
		{26, o.Sibling}, {46, o.TCPSkipInFlight}, {48, o.LazyPages}, {50, o.OrphanTerminal}} {
		e.bool(f.field, f.set)
	}
	e.int(9, logLevel)
	e.string(10, o.LogFile)
	if o.PageServer != "" {
		e.message(11, func(e *encoder) {
			e.string(1, o.PageServer)
			e.int(2, int64(o.PagePort))
		})
	}
	e.string(13, o.Root)
	e.string(14, o.ParentDir)
	if o.WorkDir >= 0 {
		e.int(17, int64(o.WorkDir))
	}
	e.pairs(23, o.Mounts)
	e.pairs(25, o.CgroupRoots)
	for _, i := range o.Inherit {
		e.message(27, func(e *encoder) {
			e.string(1, i.Key)
			e.int(2, int64(i.FD))
		})
	}
	e.int(34, int64(o.Cgroups))
	for _, s := range o.External {
		e.string(37, s)
	}
	if o.EmptyNS != 0 {
		e.int(38, int64(o.EmptyNS))
	}
	e.pairs(39, o.JoinNS)
	e.string(44, o.Freezer)
	e.string(51, o.ConfigFile)
	e.string(53, o.LSMProfile)
	e.string(63, o.LSMContext)
}

// logLevel is the most that CRIU says, which its own bug reports need.
const logLevel = 4

// pairs writes messages of two strings, both of which CRIU wants, empty or not.
func (e *encoder) pairs(field int, list []Pair) {
	for _, p := range list {
		e.message(field, func(e *encoder) {
			e.bytes(1, []byte(p.Key))
			e.bytes(2, []byte(p.Value))
		})
	}
}

// request is criu_req.
type request struct {
	kind     Kind
	options  *Options
	success  bool // of a notification that is answered
	keepOpen bool
	features uint64 // asked for: bit n is field n of criu_features
}

func (r *request) encode() []byte {
	var e encoder
	e.int(1, int64(r.kind))
	if r.options != nil {
		e.message(2, r.options.encode)
	}
	if r.kind == notification {
		e.int(3, boolInt(r.success))
	}
	e.bool(4, r.keepOpen)
	if r.features != 0 {
		e.message(5, func(e *encoder) {
			for f := 1; f < 64; f++ {
				e.bool(f, r.features&(1<<f) != 0)
			}
		})
	}
	return e.buf
}

func boolInt(set bool) int64 {
	if set {
		return 1
	}
	return 0
}

// response is criu_resp.
type response struct {
	kind     Kind
	success  bool
	errno    int
	message  string
	pid      int    // restored
	script   string // of a notification
	subject  int    // the process that the notification is about
	features uint64
	version  Version
}

func decodeResponse(data []byte) (*response, error) {
	r := new(response)
	err := fields(data, func(field int, n int64, bytes []byte) error {
		switch field {
		case 1:
			r.kind = Kind(n)
		case 2:
			r.success = n != 0
		case 4:
			return fields(bytes, func(field int, n int64, _ []byte) error {
				if field == 1 {
					r.pid = int(int32(n))
				}
				return nil
			})
		case 5:
			return fields(bytes, func(field int, n int64, text []byte) error {
				switch field {
				case 1:
					r.script = string(text)
				case 2:
					r.subject = int(int32(n))
				}
				return nil
			})
		case 7:
			r.errno = int(int32(n))
		case 8:
			return fields(bytes, func(field int, n int64, _ []byte) error {
				if n != 0 && field < 64 {
					r.features |= 1 << field
				}
				return nil
			})
		case 9:
			r.message = string(bytes)
		case 10:
			return r.version.decode(bytes)
		}
		return nil
	})
	return r, err
}

func (v *Version) decode(data []byte) error {
	git := false
	err := fields(data, func(field int, n int64, text []byte) error {
		switch field {
		case 1:
			v.Major = int(n)
		case 2:
			v.Minor = int(n)
		case 3:
			git = len(text) > 0
		case 4:
			v.Sub = int(n)
		}
		return nil
	})
	if git { // built between two releases: counts as the next one
		v.Minor, v.Sub = v.Minor+1, 0
	}
	return err
}
