// Package attack plays the author of an image, or a container that shares a
// volume with another, against the set-up of the root file system. Each case is
// played twice: as a trap that lies in the root when the container is made, and
// as a race, in which somebody exchanges the good object and the trap
// (renameat2(2), RENAME_EXCHANGE) as fast as it can while containers start. Tests
// whose names end in Moment exchange them once, while the container's process is
// stopped at the call that matters.
//
// A container may start or be refused with a clear error, but a tree beside the
// root, the victim, must never change and its content never be seen inside, and
// on the host nothing may be left.
//
// A race ends after 2,000 containers or 20 seconds, with -short after one second. Twice
// as many run at the same time as there are processors (TestMain): on two of them all
// together take less than eight minutes.
//
// docs/threats.md says which known attack is played by which test.
package attack

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
	"tongs/test/inside/report"
)

// TestMain lets twice as many races run at the same time as there are processors:
// each has one who swaps, and containers that wait as often as they work.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		flag.Set("test.parallel", strconv.Itoa(2*runtime.NumCPU())) // its value is fine
	}
	linuxtest.Main(m)
}

// secret is in the victim's files. Nobody inside may read it.
const secret = "the victim's secret"

// field is how a refusal begins: with the part of config.json that it is about.
var field = regexp.MustCompile(`msg="(?:tongs )?(run|create|exec) failed: (root\.path|root\.readonly|mounts\[\d+\]|process\.[a-zA-Z]+|linux\.[a-zA-Z]+|cannot make the link /dev/|(cannot open )?/dev/null of the container|hostname)`)

// scene is a bundle with a victim beside it.
type scene struct {
	*linuxtest.Host
	t      *testing.T
	bundle string
	root   string // of the bundle
	victim string
	before []string // what the victim was
}

func newScene(t *testing.T, h *linuxtest.Host, edits ...linuxtest.Edit) *scene {
	t.Helper()
	s := &scene{Host: h, t: t, bundle: h.Bundle(edits...)}
	s.root = s.bundle + "/rootfs"
	s.victim = makeVictim(t, h)
	s.before = describe(t, s.victim)
	t.Cleanup(s.checkVictim)
	return s
}

// makeVictim makes a tree with all names that a runtime may look for, make or
// remove in a root.
func makeVictim(t *testing.T, h *linuxtest.Host) string {
	t.Helper()
	dir, err := os.MkdirTemp(h.Dir, "victim-")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"pts", "shm", "self/attr", "self/fd", "sys/kernel", "t", "etc", "fs/cgroup", "firmware", "bin"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"ptmx", "console", "kcore", "keys", "passwd", "etc/passwd", "file", "self/attr/exec", "sys/kernel/core_pattern", "pts/ptmx", "t/file", "mtab"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte(secret), 0o640); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(dir, f), 1234, 4321); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/prog"), []byte("#!/bin/sh\necho "+secret+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	for _, f := range []string{"ptmx", "file", "t", "pts"} {
		if err := os.Chtimes(filepath.Join(dir, f), old, old); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// describe gives all of a tree but the times of its use.
func describe(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		content := []byte{}
		if d.Type().IsRegular() {
			if content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		list = append(list, fmt.Sprintf("%s ino %d mode %o owner %d:%d links %d size %d modified %v changed %v content %q",
			path[len(dir):], st.Ino, st.Mode, st.Uid, st.Gid, st.Nlink, st.Size, st.Mtim, st.Ctim, content))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// ID is Host.ID for a name that only this scene uses.
func (s *scene) ID(name string) string {
	return s.Host.ID(strings.TrimPrefix(filepath.Base(s.bundle), "bundle-") + "-" + name)
}

func (s *scene) checkVictim() {
	s.t.Helper()
	after := describe(s.t, s.victim)
	for _, line := range after {
		if !slices.Contains(s.before, line) {
			s.t.Errorf("the victim has changed: now %s", line)
		}
	}
	for _, line := range s.before {
		if !slices.Contains(after, line) {
			s.t.Errorf("the victim has changed: it was %s", line)
		}
	}
}

// must fails the test on an error of its own preparations.
func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// object puts something at a path, in place of what is there: "dir" a directory,
// "-> x" a link, "fifo", "socket", "null" and "kmsg" a special file, "= x" a file,
// "missing" nothing.
func (s *scene) object(path, kind string) {
	s.t.Helper()
	s.must(os.MkdirAll(filepath.Dir(path), 0o755))
	s.must(s.put(path, kind))
}

// put is object for the goroutine of a race.
func (s *scene) put(path, kind string) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	target, link := strings.CutPrefix(kind, "-> ")
	content, file := strings.CutPrefix(kind, "= ")
	switch {
	case link:
		return os.Symlink(strings.ReplaceAll(target, "VICTIM", s.victim), path)
	case file:
		return os.WriteFile(path, []byte(content), 0o755)
	case kind == "dir":
		return os.Mkdir(path, 0o755)
	case kind == "fifo":
		return unix.Mkfifo(path, 0o666)
	case kind == "null":
		return unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))
	case kind == "kmsg":
		return unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 11)))
	case kind == "socket":
		return unix.Mknod(path, unix.S_IFSOCK|0o666, 0)
	case kind == "look-alike":
		return lookAlike(path)
	case kind == "missing":
		return nil
	}
	return fmt.Errorf("unknown kind %q", kind)
}

// lookAlike makes a directory with names of /proc, /sys and /dev.
func lookAlike(path string) error {
	for _, dir := range []string{"self/attr/apparmor", "self/fd", "sys/kernel", "firmware/ours", "fs/cgroup", "pts", "shm", "mqueue"} {
		if err := os.MkdirAll(filepath.Join(path, dir), 0o755); err != nil {
			return err
		}
	}
	for _, f := range []string{"self/attr/exec", "self/attr/apparmor/exec", "sys/kernel/hostname", "kcore", "keys", "null", "ptmx", "zero", "tty"} {
		if err := os.WriteFile(filepath.Join(path, f), nil, 0o666); err != nil {
			return err
		}
	}
	return nil
}

// exchange swaps two paths at once.
func exchange(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}

// outcome is how one container went.
type outcome struct {
	*linuxtest.Result
	*report.Report        // nil if it was refused, or its program is another one
	started        bool   // the program has run
	text           string // all output
}

// try runs one container and checks what must hold for each.
func (s *scene) try(c linuxtest.Command) *outcome {
	s.t.Helper()
	return s.judge(s.Exec(c))
}

func (s *scene) judge(r *linuxtest.Result) *outcome {
	s.t.Helper()
	o := &outcome{Result: r, text: r.Stdout + r.Stderr, started: r.Status == 0}
	s.harmless(o)
	if !o.started && !field.MatchString(r.Stderr) {
		s.t.Errorf("status %d, and no clear error: %q", r.Status, r.Stderr)
	}
	if o.started && strings.HasPrefix(r.Stdout, "{") {
		o.Report = new(report.Report)
		if err := json.Unmarshal([]byte(r.Stdout), o.Report); err != nil {
			s.t.Errorf("cannot read the report: %v\n%s", err, r.Stdout)
		}
	}
	return o
}

// harmless checks what holds however a container ends.
func (s *scene) harmless(o *outcome) {
	s.t.Helper()
	if strings.Contains(o.text, secret) {
		s.t.Errorf("the secret has come out: %s", o.text)
	}
	if strings.Contains(o.text, "goroutine ") || o.Signal != 0 {
		s.t.Errorf("tongs has crashed: signal %v\n%s", o.Signal, o.text)
	}
}

// run is try for the scene's bundle.
func (s *scene) run(name string) *outcome {
	s.t.Helper()
	return s.try(linuxtest.Command{Args: []string{"run", "--bundle", s.bundle, s.ID(name)}})
}

func writable(s *specs.Spec) { s.Root.Readonly = false }

// look is the program that reports on what correct checks, and on other paths.
func look(paths ...string) linuxtest.Edit {
	list := append([]string{"/dev/null", "/proc", "/proc/sys/kernel/hostname"}, maskedPaths()...)
	return linuxtest.Inside(append(list, paths...)...)
}

// maskedPaths are some of those that the usual configuration masks, at the places of
// proc and sysfs and at those where a swap leaves them, with what they are mounted on.
func maskedPaths() []string {
	return []string{"/proc/kcore", "/proc/keys", "/sys/firmware", "/proc.trap/kcore", "/proc.trap/keys", "/sys.trap/firmware"}
}

// correct is what holds in a container whose configuration is the usual one.
func correct(t *testing.T, _ *scene, o *outcome) {
	t.Helper()
	if o.Report == nil {
		t.Fatalf("no report: %q", o.text)
	}
	descriptors(t, o)
	if p := o.Paths["/proc"]; p.FileSystem != "0x9fa0" {
		t.Errorf("/proc is a file system of type %s", p.FileSystem)
	}
	masked(t, o)
	if p := o.Paths["/proc/sys/kernel/hostname"]; p.WriteError == "" && p.Error == "" {
		t.Errorf("/proc/sys is not read-only: %+v", p)
	}
	if p := o.Paths["/dev/null"]; p.Type != "c" || p.Device != "1:3" {
		t.Errorf("/dev/null is %+v", p)
	}
}

// descriptors checks that the program has its standard streams and no more.
func descriptors(t *testing.T, o *outcome) {
	t.Helper()
	for n, target := range o.Descriptors {
		if n != "0" && n != "1" && n != "2" {
			t.Errorf("the program has descriptor %s: %s", n, target)
		}
	}
}

// masked checks the masked paths of the usual configuration. What is seen there
// may be another object of the root by now, but nothing of proc's or sysfs's.
func masked(t *testing.T, o *outcome) {
	t.Helper()
	for _, path := range maskedPaths() {
		if p := o.Paths[path]; p.Error == "" && (p.FileSystem == "0x9fa0" || p.FileSystem == "0x62656572") {
			t.Errorf("%s is not masked: %+v", path, p)
		}
	}
}
