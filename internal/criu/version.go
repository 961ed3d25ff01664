package criu

import "fmt"

// Version is a release of CRIU.
type Version struct{ Major, Minor, Sub int }

// Least is the oldest CRIU that is used, of August 2021: it knows external PID
// namespaces, says when it is ready to serve pages, and changes LSM profiles.
func Least() Version { return Version{3, 16, 0} }

func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Sub) }

func (v Version) less(o Version) bool {
	switch {
	case v.Major != o.Major:
		return v.Major < o.Major
	case v.Minor != o.Minor:
		return v.Minor < o.Minor
	}
	return v.Sub < o.Sub
}

// RequireVersion asks for the version and refuses one that is too old.
func (s *Session) RequireVersion() error {
	r, err := s.ask(&request{kind: version})
	if err != nil {
		return err
	}
	if r.version.less(Least()) {
		return fmt.Errorf("criu %s is too old: %s or later is needed", r.version, Least())
	}
	return nil
}

// A Feature is something that the kernel must have as well: its field in
// criu_features.
type Feature int

const (
	MemoryTracking Feature = 1
	LazyPages      Feature = 2
)

func (f Feature) String() string {
	if f == MemoryTracking {
		return "memory tracking (MemTrack)"
	}
	return "lazy pages (userfaultfd)"
}

// RequireFeature refuses a CRIU or a kernel that lacks something.
func (s *Session) RequireFeature(f Feature) error {
	r, err := s.ask(&request{kind: featureCheck, features: 1 << f})
	if err != nil {
		return err
	}
	if r.features&(1<<f) == 0 {
		return fmt.Errorf("criu or the kernel lacks %s", f)
	}
	return nil
}
