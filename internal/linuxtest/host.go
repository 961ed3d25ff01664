// Package linuxtest is what the end-to-end tests stand on: it builds tongs and
// the program that looks around inside a container, makes bundles, runs commands
// with a time limit, and checks that nothing on the host differs afterwards.
// Each test gets a Host: a private mount namespace with the cgroup view that the
// test asks for, a directory, a --root, and names that nobody else uses.
//
// It deliberately does not
//   - know what a container should look like: the tests do;
//   - hide a failure: what is missing on the machine fails a test, but for root
//     rights, without which there is nothing to test;
//   - change the host: mounts are made in the private namespace, and cgroups
//     only by the runtimes.
package linuxtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// Host is where one test runs its containers. Its methods are for the test's own
// goroutine, and for those that Go starts: the mount namespace is the thread's.
type Host struct {
	V2   bool   // the cgroup view is pure v2
	Dir  string // the test's own; removed with it
	User *User  // who runs the commands, nil for root

	t       *testing.T
	tools   *tools
	program string // runtime that the commands run
	root    string // its --root
	states  string // where that is
	ns      int    // mount namespace, for the threads of Go
	shared  *shared
}

// shared is what the Hosts of one test have in common.
type shared struct {
	before   snapshot
	programs []*Host
	beside   bool // other Hosts are there at the same time
}

// Each runs the test as one subtest for each cgroup view that the machine can
// give: "v1" where controllers are bound to v1 hierarchies, and "v2".
func Each(t *testing.T, test func(t *testing.T, h *Host)) {
	t.Helper()
	for _, v := range views() {
		t.Run(v.name, func(t *testing.T) { test(t, newHost(t, v)) })
	}
}

// One gives a Host with the machine's own cgroup view, for tests to which
// cgroups do not matter.
func One(t *testing.T) *Host {
	t.Helper()
	return newHost(t, views()[0])
}

// OneV2 gives a Host with a pure cgroup v2 view.
func OneV2(t *testing.T) *Host {
	t.Helper()
	list := views()
	return newHost(t, list[len(list)-1])
}

// Beside is One for a test that runs at the same time as others of its package that
// call this. Processes that nobody can be told to have started are looked for when
// all are over, by Main.
func Beside(t *testing.T) *Host {
	t.Helper()
	t.Parallel()
	manyHosts.Store(true)
	return newHost(t, views()[0])
}

// manyHosts says that several Hosts are there at the same time. Those tests come when
// all others are over (testing.T.Parallel).
var manyHosts atomic.Bool

func newHost(t *testing.T, v view) *Host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containers without a user namespace need root")
	}
	tools, err := built()
	if err != nil {
		t.Fatal(err)
	}
	// Never unlocked: the thread ends with the test's goroutine, and with it the
	// last user of the mount namespace.
	runtime.LockOSThread()
	if err := v.enter(); err != nil {
		t.Fatal(err)
	}
	ns, err := unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("cannot open the mount namespace: %v", err)
	}
	dir, err := os.MkdirTemp("", "tongs-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	// Containers whose user is not root pass through it.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	h := &Host{V2: v.v2, Dir: dir, t: t, tools: tools, program: tools.tongs,
		root: filepath.Join(dir, "state-tongs"), states: dir, ns: ns, shared: new(shared)}
	h.shared.programs, h.shared.beside = []*Host{h}, manyHosts.Load()
	t.Cleanup(func() {
		h.end()
		unix.Close(ns)
	})
	h.shared.before = h.snapshot()
	return h
}

// end checks that nothing is left. A test that has failed is cleaned up after in
// silence: it may have ended half-way through.
func (h *Host) end() {
	h.t.Helper()
	if !h.t.Failed() {
		h.CheckClean()
	}
	if h.t.Failed() {
		h.sweep()
	}
	h.removeDir()
}

// With gives the same host with another runtime, which has a --root of its own.
// The program is looked for in PATH.
func (h *Host) With(program string) *Host {
	h.t.Helper()
	path, err := lookPath(program)
	if err != nil {
		h.t.Fatalf("%s is needed to compare with: %v", program, err)
	}
	o := *h
	o.program, o.root = path, filepath.Join(h.states, "state-"+filepath.Base(program))
	h.shared.programs = append(h.shared.programs, &o)
	return &o
}

// Root is the --root of the runtime.
func (h *Host) Root() string { return h.root }

// ID makes a container's name that only this test uses.
func (h *Host) ID(name string) string { return filepath.Base(h.Dir) + "-" + name }

// Sub runs a subtest on this host. (A subtest is a goroutine of its own, so
// testing.T.Run would run it in the machine's mount namespace.)
func (h *Host) Sub(t *testing.T, name string, test func(t *testing.T, h *Host)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Helper()
		if err := h.enter(); err != nil {
			t.Fatal(err)
		}
		sub := *h
		sub.t = t
		test(t, &sub)
	})
}

// Go runs f in a new goroutine that sees the same mounts.
func (h *Host) Go(wg *sync.WaitGroup, f func()) {
	wg.Go(func() {
		if err := h.enter(); err != nil {
			h.t.Error(err)
			return
		}
		f()
	})
}

// enter moves the calling goroutine's thread into the mount namespace, for ever.
func (h *Host) enter() error {
	runtime.LockOSThread() // never unlocked
	err := unix.Unshare(unix.CLONE_FS)
	if err == nil {
		err = unix.Setns(h.ns, unix.CLONE_NEWNS)
	}
	if err != nil {
		return fmt.Errorf("cannot enter the mount namespace: %v", err)
	}
	return nil
}

// inside reports whether the calling thread is in the mount namespace.
func (h *Host) inside() bool {
	var here, there unix.Stat_t
	err := errors.Join(unix.Stat("/proc/thread-self/ns/mnt", &here), unix.Fstat(h.ns, &there))
	return err == nil && here.Ino == there.Ino
}
