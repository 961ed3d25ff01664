package setup

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseOptions(t *testing.T) {
	const atime = unix.MOUNT_ATTR__ATIME
	for _, c := range []struct {
		name string
		list []string
		want mountOptions
	}{
		{"nothing", nil, mountOptions{}},
		{"no effect", []string{"", "defaults", "remount", "async", "loud", "silent", "nomand", "nolazytime", "iversion", "noiversion"}, mountOptions{}},
		{"bind", []string{"bind"}, mountOptions{bind: true}},
		{"rbind", []string{"rbind"}, mountOptions{bind: true, recursive: true}},
		{"words of tongs", []string{"tmpcopyup", "idmap", "ridmap"}, mountOptions{copyUp: true, ridmap: true}},
		{"last of two mappings wins", []string{"ridmap", "idmap"}, mountOptions{idmap: true}},
		{"words of crun", []string{"copy-symlink", "src-nofollow", "dest-nofollow"}, mountOptions{copyLink: true, linkSource: true, linkDestination: true}},
		{"last of two wins", []string{"ro", "rw"}, mountOptions{clear: unix.MOUNT_ATTR_RDONLY}},
		{"last of two wins, the other way", []string{"rw", "ro"}, mountOptions{set: unix.MOUNT_ATTR_RDONLY, alone: unix.MOUNT_ATTR_RDONLY}},
		{"last of two recursive wins", []string{"rro", "rrw"}, mountOptions{recClear: unix.MOUNT_ATTR_RDONLY}},
		{"top and recursive are apart", []string{"ro", "rrw"}, mountOptions{set: unix.MOUNT_ATTR_RDONLY, recClear: unix.MOUNT_ATTR_RDONLY}},
		{"of a new mount the last of both kinds wins", []string{"rro", "rw", "nosuid", "rnoexec"}, mountOptions{
			set: unix.MOUNT_ATTR_NOSUID, clear: unix.MOUNT_ATTR_RDONLY, recSet: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOEXEC, alone: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC}},
		{"access times of both kinds", []string{"noatime", "rstrictatime"}, mountOptions{set: unix.MOUNT_ATTR_NOATIME, clear: atime &^ unix.MOUNT_ATTR_NOATIME,
			recSet: unix.MOUNT_ATTR_STRICTATIME, recClear: atime &^ unix.MOUNT_ATTR_STRICTATIME, alone: unix.MOUNT_ATTR_STRICTATIME}},
		{"all attributes", []string{"nosuid", "nodev", "noexec", "nodiratime", "nosymfollow"}, mountOptions{
			set:   unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NODIRATIME | unix.MOUNT_ATTR_NOSYMFOLLOW,
			alone: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NODIRATIME | unix.MOUNT_ATTR_NOSYMFOLLOW}},
		{"all attributes taken back", []string{"suid", "dev", "exec", "diratime", "symfollow"}, mountOptions{
			clear: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NODIRATIME | unix.MOUNT_ATTR_NOSYMFOLLOW}},
		{"access times are one choice", []string{"noatime", "strictatime"}, mountOptions{
			set: unix.MOUNT_ATTR_STRICTATIME, clear: atime &^ unix.MOUNT_ATTR_STRICTATIME, alone: unix.MOUNT_ATTR_STRICTATIME}},
		{"relatime takes the others back", []string{"strictatime", "relatime"}, mountOptions{clear: atime}},
		{"atime takes only noatime back", []string{"strictatime", "atime"}, mountOptions{
			set: unix.MOUNT_ATTR_STRICTATIME, clear: atime &^ unix.MOUNT_ATTR_STRICTATIME, alone: unix.MOUNT_ATTR_STRICTATIME}},
		{"atime takes noatime back", []string{"noatime", "atime"}, mountOptions{clear: atime}},
		{"nostrictatime takes strictatime back", []string{"strictatime", "nostrictatime"}, mountOptions{clear: atime}},
		{"rnostrictatime takes rstrictatime back", []string{"rstrictatime", "rnostrictatime"}, mountOptions{recClear: atime}},
		{"nostrictatime takes nothing else back", []string{"noatime", "nostrictatime", "rnostrictatime"}, mountOptions{
			set: unix.MOUNT_ATTR_NOATIME, clear: atime &^ unix.MOUNT_ATTR_NOATIME, alone: unix.MOUNT_ATTR_NOATIME}},
		{"norelatime is no request", []string{"norelatime", "nostrictatime"}, mountOptions{}},
		{"flags of the superblock", []string{"sync", "dirsync", "lazytime", "mand"}, mountOptions{
			flags: []string{"sync", "dirsync", "lazytime", "mand"}}},
		{"unknown words are the file system's", []string{"size=1m,mode=755", "newinstance"}, mountOptions{super: []string{"size=1m", "mode=755", "newinstance"}}},
		{"words that begin like recursive ones", []string{"rx", "r", "remote"}, mountOptions{super: []string{"rx", "r", "remote"}}},
		{"propagation", []string{"private", "rslave", "shared", "runbindable"}, mountOptions{propagation: []propagation{
			{unix.MS_PRIVATE, false}, {unix.MS_SLAVE, true}, {unix.MS_SHARED, false}, {unix.MS_UNBINDABLE, true}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := parseOptions(c.list, ""); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got\n%+v\nwant\n%+v", got, c.want)
			}
		})
	}
}

func TestAttrs(t *testing.T) {
	const atime = unix.MOUNT_ATTR__ATIME
	for _, c := range []struct {
		name                           string
		set, clear, wantSet, wantClear uint64
	}{
		{"nothing", 0, 0, 0, 0},
		{"set", unix.MOUNT_ATTR_RDONLY, 0, unix.MOUNT_ATTR_RDONLY, 0},
		{"cleared", 0, unix.MOUNT_ATTR_RDONLY, 0, unix.MOUNT_ATTR_RDONLY},
		{"an access time clears its group", unix.MOUNT_ATTR_NOATIME, 0, unix.MOUNT_ATTR_NOATIME, atime},
		{"atime is zero", 0, unix.MOUNT_ATTR_NOATIME, 0, atime},
		{"relatime is zero", 0, atime, 0, atime},
		{"nodiratime is not of the group", unix.MOUNT_ATTR_NODIRATIME, 0, unix.MOUNT_ATTR_NODIRATIME, 0},
	} {
		if set, clear := attrs(c.set, c.clear); set != c.wantSet || clear != c.wantClear {
			t.Errorf("%s: got set %#x clear %#x, want %#x and %#x", c.name, set, clear, c.wantSet, c.wantClear)
		}
	}
}

func TestSplitData(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
	}{
		{"", nil},
		{",,", nil},
		{"a", []string{"a"}},
		{"a,b=c,", []string{"a", "b=c"}},
		{`context="u:r:t:s0:c1,c2",x`, []string{"context=u:r:t:s0:c1,c2", "x"}},
		{`context="a,b`, []string{"context=a,b"}},
		{`context=""`, []string{"context="}},
		{`"a,b"`, []string{`"a`, `b"`}},
		{`fscontext="a,b",rootcontext=c,defcontext="d"`, []string{"fscontext=a,b", "rootcontext=c", "defcontext=d"}},
		{`size=\,x`, []string{`size=\`, "x"}},
		{"a=b=c", []string{"a=b=c"}},
		{"mpol=bind:0,0", []string{"mpol=bind:0,0"}},
		{"mpol=bind:0-1,3,size=1m", []string{"mpol=bind:0-1,3", "size=1m"}},
		{"size=1m,mpol=interleave=static:0,2-3,mode=711", []string{"size=1m", "mpol=interleave=static:0,2-3", "mode=711"}},
		{"mpol=default,,0", []string{"mpol=default", "0"}},
		{"mpol=local,", []string{"mpol=local"}},
		{"size=1,0", []string{"size=1", "0"}},
	} {
		if got := splitData(c.in, false); !slices.Equal(got, c.want) {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
}

// No option is lost, and none is both set and cleared.
func FuzzParseOptions(f *testing.F) {
	f.Add("ro,rw,nosuid", "rro")
	f.Add(`context="a,b"`, "rnoatime")
	f.Add("r", "")
	f.Add("strictatime", "noatime")
	f.Add("noatime", "rstrictatime")
	f.Add("strictatime", "nostrictatime")
	f.Add("mpol=bind:0-1,3,size=1m", "mpol=prefer:1,")
	f.Fuzz(func(t *testing.T, a, b string) {
		o := parseOptions([]string{a, b}, "")
		for _, p := range o.super {
			if p == "" {
				t.Errorf("%q %q: the option %q", a, b, p)
			}
		}
		if o.set&o.clear != 0 || o.recSet&o.recClear != 0 {
			t.Errorf("%q %q: set and cleared: %+v", a, b, o)
		}
		if made := o.alone & unix.MOUNT_ATTR__ATIME; made&(made-1) != 0 || o.alone&^(o.set|o.recSet) != 0 {
			t.Errorf("%q %q: fsmount would refuse %#x of %+v", a, b, o.alone, o)
		}
		for _, pair := range [][2]uint64{{o.set, o.clear}, {o.recSet, o.recClear}} {
			set, clear := attrs(pair[0], pair[1])
			if set&clear&^unix.MOUNT_ATTR__ATIME != 0 || set&unix.MOUNT_ATTR__ATIME != 0 && clear&unix.MOUNT_ATTR__ATIME != unix.MOUNT_ATTR__ATIME {
				t.Errorf("%q %q: mount_setattr would refuse set %#x clear %#x", a, b, set, clear)
			}
		}
		known := new(mountOptions).word(a) || new(mountOptions).word(b)
		if !known && len(o.super) == 0 && strings.Trim(a+b, `,"`) != "" {
			t.Errorf("%q %q: lost", a, b)
		}
	})
}

func TestSplitEscapedData(t *testing.T) {
	for in, want := range map[string][]string{
		`lowerdir=/a\,b:/c\:d,index=off`: {`lowerdir=/a\,b:/c\:d`, "index=off"},
		`lowerdir=/a\\,b`:                {`lowerdir=/a\\`, "b"},
		`a\`:                             {`a\`},
	} {
		if got := splitData(in, true); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
