package linuxtest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/bundle"
)

// User is an ordinary user of a test's making, of whom the machine outside of
// the test's mount namespace does not know.
type User struct {
	ID   uint32 // user and group
	Home string // also XDG_RUNTIME_DIR

	// Sub-ids that the user was given (subuid(5), subgid(5)), as many as SubSize.
	SubUID, SubGID, SubSize uint32
}

// AsUser gives a host whose commands a fresh user runs: tongs and others keep
// their state in the user's directory, and bundles are the user's, with what
// `spec --rootless` writes for a configuration.
func (h *Host) AsUser() *Host {
	h.t.Helper()
	u := &User{ID: 54321, Home: filepath.Join(h.Dir, "home"), SubUID: 200000, SubGID: 300000, SubSize: 65536}
	h.knowUser(u)
	err := os.Mkdir(u.Home, 0o700)
	if err == nil {
		err = os.Chown(u.Home, int(u.ID), int(u.ID))
	}
	if err != nil {
		h.t.Fatal(err)
	}
	o := *h
	o.User, o.states = u, u.Home
	o.root = filepath.Join(o.states, "state-"+filepath.Base(o.program))
	h.shared.programs = append(h.shared.programs, &o)
	return &o
}

// knowUser adds the user to what the programs of the private mount namespace see
// of /etc, until the test's end.
func (h *Host) knowUser(u *User) {
	h.t.Helper()
	const name = "tongs-test"
	for file, line := range map[string]string{
		"passwd": fmt.Sprintf("%s:x:%d:%d::%s:/bin/sh", name, u.ID, u.ID, u.Home),
		"group":  fmt.Sprintf("%s:x:%d:", name, u.ID),
		"subuid": fmt.Sprintf("%s:%d:%d", name, u.SubUID, u.SubSize),
		"subgid": fmt.Sprintf("%s:%d:%d", name, u.SubGID, u.SubSize),
	} {
		text, err := os.ReadFile("/etc/" + file)
		path := filepath.Join(h.Dir, file)
		if err == nil {
			err = os.WriteFile(path, append(text, line+"\n"...), 0o644)
		}
		if err == nil {
			err = unix.Mount(path, "/etc/"+file, "", unix.MS_BIND, "")
		}
		if err != nil {
			h.t.Fatalf("cannot make a user (Debian: package uidmap): %v", err)
		}
		h.t.Cleanup(func() {
			if err := unix.Unmount("/etc/"+file, 0); err != nil {
				h.t.Errorf("cannot unmount /etc/%s: %v", file, err)
			}
			h.shared.before = h.snapshot()
		})
	}
	h.shared.before = h.snapshot()
	h.t.Cleanup(func() {
		if !h.t.Failed() {
			h.CheckClean()
		}
	})
}

// rootless is what `spec --rootless` writes, without a terminal.
func (u *User) rootless(s *specs.Spec) {
	*s = *bundle.ExampleRootless(u.ID, u.ID)
	s.Process.Terminal = false
	s.Hostname = "e2e"
}

// SubIDs maps the user's sub-ids as well: to the ids from 1 on.
func (u *User) SubIDs(s *specs.Spec) {
	s.Linux.UIDMappings = append(s.Linux.UIDMappings, specs.LinuxIDMapping{ContainerID: 1, HostID: u.SubUID, Size: u.SubSize})
	s.Linux.GIDMappings = append(s.Linux.GIDMappings, specs.LinuxIDMapping{ContainerID: 1, HostID: u.SubGID, Size: u.SubSize})
}

// run makes a command the user's.
func (u *User) run(attr *syscall.SysProcAttr, env []string) []string {
	attr.Credential = &syscall.Credential{Uid: u.ID, Gid: u.ID}
	kept := env[:0]
	for _, e := range env {
		if !strings.HasPrefix(e, "XDG_") && !strings.HasPrefix(e, "HOME=") && !strings.HasPrefix(e, "USER=") {
			kept = append(kept, e)
		}
	}
	return append(kept, "HOME="+u.Home, "XDG_RUNTIME_DIR="+u.Home, "USER=tongs-test")
}

// Own gives a tree to the user, but for programs, which are linked from elsewhere.
func (h *Host) Own(dir string) {
	h.t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type().IsRegular() && filepath.Base(filepath.Dir(path)) == "bin" {
			return err
		}
		return os.Lchown(path, int(h.User.ID), int(h.User.ID))
	})
	if err != nil {
		h.t.Fatal(err)
	}
}
