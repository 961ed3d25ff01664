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
// A race ends after 2,000 containers or 5 seconds, so that all of them together
// take less than four minutes on two processors; with TONGS_LONG=1 in the
// environment (and -timeout 30m) after 2,000 containers or 20 seconds, with -short
// after one second.
//
// docs/threats.md says which known attack is played by which test.
package attack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
	"tongs/test/inside/report"
)

func TestMain(m *testing.M) { linuxtest.Main(m) }

// secret is in the victim's files. Nobody inside may read it.
const secret = "the victim's secret"

// tries and raceTime bound each race.
const tries = 2000

func raceTime() time.Duration {
	switch {
	case os.Getenv("TONGS_LONG") == "1":
		return 20 * time.Second
	case testing.Short():
		return time.Second
	}
	return 5 * time.Second
}

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
	for _, d := range []string{"pts", "shm", "self/attr", "self/fd", "sys/kernel", "t", "etc", "fs/cgroup", "bin"} {
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

// object makes something at a path: "a/" a directory, "-> x" a link, "p" a FIFO,
// "null", "sda" and "kmsg" a device, "missing" nothing, "= x" a file.
func (s *scene) object(path, kind string) {
	s.t.Helper()
	s.must(os.RemoveAll(path))
	s.must(os.MkdirAll(filepath.Dir(path), 0o755))
	kind = strings.ReplaceAll(kind, "VICTIM", s.victim)
	target, link := strings.CutPrefix(kind, "-> ")
	content, file := strings.CutPrefix(kind, "= ")
	switch {
	case link:
		s.must(os.Symlink(target, path))
	case file:
		s.must(os.WriteFile(path, []byte(content), 0o755))
	case kind == "dir":
		s.must(os.Mkdir(path, 0o755))
	case kind == "fifo":
		s.must(unix.Mkfifo(path, 0o666))
	case kind == "null":
		s.must(unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	case kind == "kmsg":
		s.must(unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 11))))
	case kind == "socket":
		s.must(unix.Mknod(path, unix.S_IFSOCK|0o666, 0))
	case kind == "look-alike": // of /proc
		s.must(os.MkdirAll(path+"/self/attr/apparmor", 0o755))
		s.must(os.MkdirAll(path+"/self/fd", 0o755))
		s.must(os.MkdirAll(path+"/sys/kernel", 0o755))
		for _, f := range []string{"self/attr/exec", "self/attr/apparmor/exec", "sys/kernel/hostname", "kcore", "keys"} {
			s.must(os.WriteFile(filepath.Join(path, f), nil, 0o666))
		}
	case kind == "missing":
	default:
		s.t.Fatalf("unknown kind %q", kind)
	}
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
	if strings.Contains(o.text, secret) {
		s.t.Errorf("the secret has come out: %s", o.text)
	}
	if strings.Contains(o.text, "goroutine ") || r.Signal != 0 {
		s.t.Errorf("tongs has crashed: signal %v\n%s", r.Signal, o.text)
	}
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

// run is try for the scene's bundle.
func (s *scene) run(name string) *outcome {
	s.t.Helper()
	return s.try(linuxtest.Command{Args: []string{"run", "--bundle", s.bundle, s.ID(name)}})
}

// race lets one goroutine act without a pause while containers are tried, and
// tells how often each happened.
func (s *scene) race(act func() error, try func(i int) (started bool)) {
	s.t.Helper()
	var stop atomic.Bool
	var acts, missed int
	var wg sync.WaitGroup
	s.Go(&wg, func() {
		for !stop.Load() {
			if err := act(); err == nil {
				acts++
			} else if missed++; errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
				s.t.Errorf("the attack does not work here: %v", err)
				return
			}
		}
	})
	started, refused := 0, 0
	for end := time.Now().Add(raceTime()); started+refused < tries && time.Now().Before(end) && !s.t.Failed(); {
		if try(started + refused) {
			started++
		} else {
			refused++
		}
		if (started+refused)%100 == 0 {
			s.checkVictim()
		}
	}
	stop.Store(true)
	wg.Wait()
	s.t.Logf("%d containers started, %d refused, %d swaps, %d missed", started, refused, acts, missed)
	if n := started + refused; !s.t.Failed() && (n < 3 || acts < n) {
		s.t.Errorf("no race: %d swaps for %d containers", acts, n)
	}
}

// swap is the exchange of a good object for a trap at a path of the root.
type swap struct {
	path string // absolute, in the root; "vol:/x" in a volume beside it
	good string // as in object
	trap string
}

// attackCase is a configuration with one or more swaps.
type attackCase struct {
	name  string
	dirs  []string // made in the root beforehand
	swaps []swap
	edits func(s *scene, i int) []linuxtest.Edit // i: number of the try
	check func(t *testing.T, s *scene, o *outcome)
	// refused is a part of the static trap's error; "" if the container starts.
	refused string
	// noRace: the trap alone; a race would be the same as another one.
	noRace bool
}

// place is where a path of a swap lies on the host.
func (s *scene) place(path string) string {
	if rest, ok := strings.CutPrefix(path, "vol:"); ok {
		return s.volume() + rest
	}
	return s.root + path
}

// volume is a directory of the host that containers share.
func (s *scene) volume() string { return s.bundle + "/volume" }

// play plays each case as trap and as race.
func play(t *testing.T, h *linuxtest.Host, cases []attackCase) {
	for _, c := range cases {
		h.Sub(t, "trap: "+c.name, func(t *testing.T, h *linuxtest.Host) { c.trap(newScene(t, h)) })
		if !c.noRace {
			h.Sub(t, "race: "+c.name, func(t *testing.T, h *linuxtest.Host) { c.race(newScene(t, h)) })
		}
	}
}

// prepare makes the good objects, each with its trap beside it.
func (c *attackCase) prepare(s *scene) {
	s.object(s.volume(), "dir")
	for _, dir := range c.dirs {
		s.must(os.MkdirAll(s.place(dir), 0o755))
	}
	for _, w := range c.swaps {
		if w.good != "dir" || !slices.Contains(c.dirs, w.path) {
			s.object(s.place(w.path), w.good)
		}
		if w.good != "missing" {
			s.object(s.place(w.path)+".trap", w.trap)
		}
	}
}

func (c *attackCase) write(s *scene, i int) {
	edits := []linuxtest.Edit{look(), writable}
	if c.edits != nil {
		edits = append(edits, c.edits(s, i)...)
	}
	s.WriteConfig(s.bundle, linuxtest.Spec(edits...))
}

func (c *attackCase) trap(s *scene) {
	s.t.Helper()
	c.prepare(s)
	for _, w := range c.swaps {
		if w.good == "missing" {
			s.object(s.place(w.path), w.trap)
		} else {
			s.must(exchange(s.place(w.path), s.place(w.path)+".trap"))
		}
	}
	c.write(s, 0)
	o := s.run("trap")
	switch {
	case c.refused != "" && (o.started || !strings.Contains(o.Stderr, c.refused)):
		s.t.Errorf("status %d, stderr %q, want an error with %q", o.Status, o.Stderr, c.refused)
	case c.refused == "" && !o.started:
		s.t.Errorf("refused: %s", o.Stderr)
	}
	c.checkStarted(s, o)
}

func (c *attackCase) checkStarted(s *scene, o *outcome) {
	s.t.Helper()
	if !o.started {
		return
	}
	if c.check != nil {
		c.check(s.t, s, o)
	} else {
		s.t.Helper()
		correct(s.t, s, o)
	}
}

func (c *attackCase) race(s *scene) {
	s.t.Helper()
	c.prepare(s)
	next := 0
	act := func() error {
		w := s.place(c.swaps[next%len(c.swaps)].path)
		next++
		return exchange(w, w+".trap")
	}
	c.write(s, 0)
	s.race(act, func(i int) bool {
		if i > 0 && c.edits != nil {
			c.write(s, i)
		}
		o := s.run(fmt.Sprint(i))
		c.checkStarted(s, o)
		return o.started
	})
}

func writable(s *specs.Spec) { s.Root.Readonly = false }

// look is the program that reports on what correct checks, and on other paths.
func look(paths ...string) linuxtest.Edit {
	return linuxtest.Inside(append([]string{"/dev/null", "/proc", "/proc/kcore", "/proc/keys", "/proc/sys/kernel/hostname"}, paths...)...)
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
// may be another object of the root by now, but nothing of proc's.
func masked(t *testing.T, o *outcome) {
	t.Helper()
	for _, path := range []string{"/proc/kcore", "/proc/keys"} {
		if p := o.Paths[path]; p.Error == "" && p.FileSystem == "0x9fa0" {
			t.Errorf("%s is not masked: %+v", path, p)
		}
	}
}
