package attack

import (
	"os"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// entry is a line of passwd(5) that would show that something was read.
const entry = "root:x:0:0::/read:/bin/sh\n"

// HOME is looked for in an /etc/passwd that is huge, a FIFO, a device, a link
// (CVE-2026-47262): of none but an ordinary file anything is read, of a long one the
// beginning, and a number is no name (CVE-2016-3697).
func TestPasswd(t *testing.T) {
	h := linuxtest.Beside(t)
	look := linuxtest.Shell("echo HOME=$HOME")
	for _, c := range []struct{ name, kind, home string }{
		{"usual", "= root:x:0:0::/root:/bin/sh\n", "/root"},
		{"user called 0", "= 0:x:7:7::/seven:/bin/sh\n", "/"},
		{"link to the victim", "-> VICTIM/passwd", "/"},
		{"link upwards", "-> ../../../../../../../etc/passwd", "/"}, // itself, in the root
		{"link within the root", "-> ../other", "/other"},
		{"loop", "-> passwd", "/"},
		{"link into proc", "-> /proc/sys/kernel/hostname", "/"}, // which is an entry
		{"magic link", "-> /proc/self/fd/0", "/"},
		{"fifo", "fifo", "/"},
		{"kernel's messages", "kmsg", "/"},
		{"null device", "null", "/"},
		{"socket", "socket", "/"},
		{"directory", "dir", "/"},
		{"missing", "missing", "/"},
		{"one line", "= " + strings.Repeat("x", 1<<20) + "\n" + entry, "/"},
		{"many lines", "= " + strings.Repeat("x:x:1:1::/:\n", 1<<17) + entry, "/"},
	} {
		h.Sub(t, c.name, func(t *testing.T, h *linuxtest.Host) {
			s := newScene(t, h, look, func(spec *specs.Spec) { spec.Hostname = strings.TrimSpace(entry) })
			s.object(s.root+"/other", "= root:x:0:0::/other:/bin/sh\n")
			s.object(s.root+"/etc/passwd", c.kind)
			if o := s.run("a"); !o.started || o.Stdout != "HOME="+c.home+"\n" {
				t.Errorf("%q, want HOME=%s", o.text, c.home)
			}
		})
	}
	h.Sub(t, "link to kmsg", func(t *testing.T, h *linuxtest.Host) {
		s := newScene(t, h, look)
		s.object(s.root+"/etc/passwd", "-> /proc/kmsg")
		before := unread()
		if o := s.run("a"); !o.started || o.Stdout != "HOME=/\n" {
			t.Errorf("%q", o.text)
		}
		if after := unread(); before-after > min(before/2, 32<<10) {
			t.Errorf("%d bytes of the kernel's messages had not been read, now %d", before, after)
		} else if before == 0 {
			t.Log("somebody reads the kernel's messages: they do not show whether tongs does")
		}
	})
	h.Sub(t, "fifo with an entry", func(t *testing.T, h *linuxtest.Host) {
		s := newScene(t, h, look)
		s.object(s.root+"/etc/passwd", "fifo")
		f, err := os.OpenFile(s.root+"/etc/passwd", os.O_RDWR, 0)
		s.must(err)
		defer f.Close()
		_, err = f.WriteString(entry)
		s.must(err)
		if o := s.run("a"); !o.started || o.Stdout != "HOME=/\n" {
			t.Errorf("%q", o.text)
		}
		if n, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCINQ); err != nil || n != len(entry) {
			t.Errorf("of %d bytes in the FIFO %d are left, %v", len(entry), n, err)
		}
	})
	h.Sub(t, "a gigabyte", func(t *testing.T, h *linuxtest.Host) {
		s := newScene(t, h, look)
		f, err := os.OpenFile(s.root+"/etc/passwd", os.O_WRONLY|os.O_TRUNC, 0)
		s.must(err)
		defer f.Close()
		_, err = f.WriteAt([]byte("\n"+entry), 1<<30)
		s.must(err)
		if o := s.run("a"); !o.started || o.Stdout != "HOME=/\n" {
			t.Errorf("%q", o.text)
		}
	})
	raceIn(t, h, "passwd", func(t *testing.T, h *linuxtest.Host) {
		s := newScene(t, h, look)
		s.object(s.root+"/etc/passwd", "= root:x:0:0::/root:/bin/sh\n")
		s.object(s.root+"/etc/trap", "-> "+s.victim+"/passwd")
		s.object(s.root+"/etc/trap2", "fifo")
		n, homes := 0, map[string]int{}
		s.race(func() error {
			n++
			return exchange(s.root+"/etc/passwd", s.root+[]string{"/etc/trap", "/etc/trap2"}[n/2%2])
		}, func(int) bool {
			o := s.run("a")
			home := strings.TrimSpace(o.Stdout)
			if !o.started || home != "HOME=/" && home != "HOME=/root" {
				t.Errorf("%q", o.text)
			}
			homes[home]++
			return o.started
		})
		ending{t, homes["HOME=/root"], homes["HOME=/"]}.bothWays()
	})
}

// unread is how much of the kernel's messages nobody has read: reading /proc/kmsg
// takes them away (syslog(2)). It is 0 where somebody reads them as they come, or
// where it is not for us to know.
func unread() int {
	const sizeUnread, much = 9, 4096
	least := 0
	for i := range 5 {
		n, err := unix.Klogctl(sizeUnread, nil)
		if err != nil || n < much {
			return 0
		}
		if i == 0 || n < least {
			least = n
		}
		time.Sleep(20 * time.Millisecond)
	}
	return least
}
