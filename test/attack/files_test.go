package attack

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// The files that higher layers or other runtimes write in a root (mtab, hostname,
// resolv.conf, krun's configuration) are links to the victim (CVE-2024-5154,
// CVE-2025-24965, CVE-2026-33711): tongs writes none, and what is bound there comes
// to lie in the root.
func TestFilesOfTheRoot(t *testing.T) {
	h := linuxtest.One(t)
	s := newScene(t, h)
	files := []string{"/etc/mtab", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/etc/group", "/etc/passwd", "/.krun_config.json", "/run", "/dev/shm", "/dev/stdout", "/dev/fd"}
	for _, f := range files {
		s.object(s.root+f, "-> "+s.victim+"/file")
	}
	s.WriteConfig(s.bundle, linuxtest.Spec(look("/etc/hosts", "/etc/mtab", "/etc/hostname"), writable, linuxtest.Mount("/etc/hosts", "bind", s.source()+"/ours", "bind")))
	o := s.run("a")
	if !o.started {
		t.Fatal(o.text)
	}
	correct(t, s, o)
	if p := o.Paths["/etc/mtab"]; p.Type != "link" {
		t.Errorf("/etc/mtab is %+v", p)
	}
	inRoot, err := os.ReadFile(s.root + s.victim + "/file") // the mount point that was made for /etc/hosts
	if err != nil || len(inRoot) > 0 {
		t.Errorf("the mount point is %q, %v", inRoot, err)
	}
}

// Between create and delete the mount points and the root are replaced by links to
// the victim: delete removes what tongs made, and nothing below them (CVE-2024-23652).
func TestDeleteWithReplacedMountPoints(t *testing.T) {
	h := linuxtest.Beside(t)
	for _, path := range []string{"/a", "/a/b", "/proc", "/dev", "/", "bundle"} {
		for _, started := range []bool{false, true} {
			h.Sub(t, fmt.Sprintf("%s %t", path, started), func(t *testing.T, h *linuxtest.Host) {
				s := newScene(t, h)
				s.WriteConfig(s.bundle, linuxtest.Spec(linuxtest.Args("/bin/sleep", "1000"), writable, linuxtest.Mount("/a/b/c", "bind", s.source(), "bind")))
				s.Must("create", "--bundle", s.bundle, s.ID("a"))
				if started {
					s.Must("start", s.ID("a"))
				}
				place := filepath.Clean(s.root + path)
				if path == "bundle" {
					place = s.bundle
				}
				s.object(place+".trap", "-> "+s.victim)
				s.must(exchange(place, place+".trap"))
				s.Must("delete", "--force", s.ID("a"))
				s.must(exchange(place, place+".trap"))
				if data, err := os.ReadFile(s.source() + "/ours"); err != nil || string(data) != "ours" {
					t.Errorf("the source has %q, %v", data, err)
				}
				if _, err := os.Stat(s.root + "/bin/busybox"); err != nil {
					t.Error(err)
				}
			})
		}
	}
	// The state directory's own parts: a link in its place is not followed.
	h.Sub(t, "state", func(t *testing.T, h *linuxtest.Host) {
		s := newScene(t, h, linuxtest.Args("/bin/sleep", "1000"))
		s.Must("create", "--bundle", s.bundle, s.ID("a"))
		dir := filepath.Join(s.Root(), s.ID("a"))
		s.must(os.Symlink(s.victim, dir+".trap"))
		s.must(exchange(dir, dir+".trap"))
		s.Run("delete", "--force", s.ID("a")) // may refuse
		s.checkVictim()
		s.must(exchange(dir, dir+".trap"))
		s.must(os.Remove(dir + ".trap"))
		s.Must("delete", "--force", s.ID("a"))
	})
	raceIn(t, h, "mount point", func(t *testing.T, h *linuxtest.Host) {
		s := newScene(t, h)
		s.object(s.root+"/a/b/c", "dir")
		s.object(s.root+"/a/trap", "-> "+s.victim)
		s.WriteConfig(s.bundle, linuxtest.Spec(linuxtest.Args("/bin/sleep", "1000"), writable, linuxtest.Mount("/a/b/c", "bind", s.source(), "bind")))
		s.race(func() error { return exchange(s.root+"/a/b", s.root+"/a/trap") }, func(i int) bool {
			o := s.try(linuxtest.Command{Args: []string{"create", "--bundle", s.bundle, s.ID(fmt.Sprint(i))}})
			if o.started {
				s.Must("delete", "--force", s.ID(fmt.Sprint(i)))
			}
			return o.started
		})
	})
}

// The state directory is for root alone, so that nobody else reaches what is in
// it (CVE-2021-41103, CVE-2024-25621).
func TestStateIsPrivate(t *testing.T) {
	h := linuxtest.One(t)
	s := newScene(t, h, linuxtest.Args("/bin/sleep", "1000"))
	s.Must("create", "--bundle", s.bundle, s.ID("a"))
	var st unix.Stat_t
	s.must(unix.Lstat(s.Root(), &st))
	if st.Uid != 0 || st.Mode != unix.S_IFDIR|0o700 {
		t.Errorf("%s: mode %o, owner %d", s.Root(), st.Mode, st.Uid)
	}
	s.Must("delete", "--force", s.ID("a"))
}

// Strings that no message may cut or wrap (CVE-2021-43784): a clear error, and
// nothing half made.
func TestLongStrings(t *testing.T) {
	h := linuxtest.One(t)
	for _, n := range []int{4096, 65535, 65536, 70000, 1 << 20} {
		long := "/" + strings.Repeat("x/", n/2)
		for name, edit := range map[string]linuxtest.Edit{
			"namespace path":    linuxtest.Namespace(specs.NetworkNamespace, long),
			"cgroup path":       func(s *specs.Spec) { s.Linux.CgroupsPath = long },
			"destination":       linuxtest.Mount(long+"/y", "tmpfs", "tmpfs"),
			"source":            linuxtest.Mount("/tmp", "bind", long, "bind"),
			"masked path":       func(s *specs.Spec) { s.Linux.MaskedPaths = []string{long} },
			"working directory": cwd(long),
			"root":              func(s *specs.Spec) { s.Root.Path = long },
		} {
			h.Sub(t, fmt.Sprintf("%s of %d", name, n), func(t *testing.T, h *linuxtest.Host) {
				s := newScene(t, h, linuxtest.Args("/bin/true"), edit)
				r := s.Run("run", "--bundle", s.bundle, s.ID("a"))
				if r.Status == 0 || r.Status > 1 || len(r.Stderr) == 0 || strings.Contains(r.Stderr, "goroutine ") {
					t.Errorf("status %d: %.300q", r.Status, r.Stderr)
				}
			})
		}
	}
}

// A helper that the kernel would run on the host (release_agent of cgroup v1,
// CVE-2022-0492) cannot be set from a container of the usual configuration.
func TestReleaseAgent(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		s := newScene(t, h, writable, linuxtest.Shell(`for f in /sys/fs/cgroup/release_agent /sys/fs/cgroup/*/release_agent; do
			if [ -e $f ] && echo /x 2>/dev/null >$f; then echo wrote $f; fi; done 2>/dev/null; ls -d /sys/fs/cgroup; echo end`))
		o := s.run("a")
		if !strings.HasSuffix(o.Stdout, "/sys/fs/cgroup\nend\n") || strings.Contains(o.Stdout, "wrote") {
			t.Errorf("%q", o.text)
		}
	})
}

// No abstract socket, which everybody in the host's network namespace could
// connect to (CVE-2020-15257), while a container waits and while it runs.
func TestNoAbstractSocket(t *testing.T) {
	h := linuxtest.One(t)
	s := newScene(t, h, linuxtest.Args("/bin/sleep", "1000"), linuxtest.WithoutNamespace(specs.NetworkNamespace), withoutMount("/sys"))
	s.Must("create", "--bundle", s.bundle, s.ID("a"))
	sockets := hostFile(t, "/proc/net/unix")
	s.Must("start", s.ID("a"))
	sockets += hostFile(t, "/proc/net/unix")
	s.Must("delete", "--force", s.ID("a"))
	for line := range strings.Lines(sockets) {
		if strings.Contains(line, "@") && (strings.Contains(line, "tongs") || strings.Contains(line, s.ID(""))) {
			t.Errorf("%s", line)
		}
	}
}
