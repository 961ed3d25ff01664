package mounts

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
	"tongs/test/inside/report"
)

// first puts mounts before all others.
func first(mounts ...specs.Mount) linuxtest.Edit {
	return func(s *specs.Spec) { s.Mounts = append(slices.Clone(mounts), s.Mounts...) }
}

// newRoot makes a root file system that can be told from a bundle's.
func newRoot(t *testing.T, h *linuxtest.Host) string {
	t.Helper()
	root := h.Bundle() + "/rootfs"
	if err := os.WriteFile(root+"/mark", []byte("new"), 0o644); err != nil {
		t.Fatal(err)
	}
	return root
}

// What is mounted on "/" is the container's root from then on: later mounts,
// devices, masks, the read-only root and the working directory lie in it.
func TestMountOnRoot(t *testing.T) {
	h := linuxtest.One(t)
	root := newRoot(t, h)
	scratch := h.Dir + "/scratch"
	for _, d := range []string{scratch, scratch + "/upper", scratch + "/work"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, mounts := range map[string][]specs.Mount{
		"bind":    {mount("/", "bind", root)},
		"rbind":   {mount("/", "none", root, "rbind", "rprivate")},
		"tmpfs":   {mount("/", "tmpfs", "tmpfs", "mode=755"), mount("/bin", "bind", root+"/bin"), mount("/mark", "bind", root+"/mark"), mount("/etc", "bind", root+"/etc")},
		"overlay": {mount("/", "overlay", "overlay", "lowerdir="+root, "upperdir="+scratch+"/upper", "workdir="+scratch+"/work")},
		"twice":   {mount("/", "tmpfs", "tmpfs"), mount("/", "bind", root)},
		"by dots": {mount("/x/../../..", "bind", root)},
		"shared":  {mount("/", "bind", root, "rbind", "rshared")},
		"alone":   {mount("/", "bind", root, "bind", "unbindable")},
	} {
		for _, way := range []string{"pivot", "no pivot", "no mount namespace"} {
			h.Sub(t, name+", "+way, func(t *testing.T, h *linuxtest.Host) { onRoot(t, h, mounts, way) })
		}
	}
}

func onRoot(t *testing.T, h *linuxtest.Host, mounts []specs.Mount, way string) {
	look := linuxtest.Inside("/mark", "/", "/dev/null", "/etc/group", "/deep/dir", "/dev/extra")
	edits := []linuxtest.Edit{look, first(mounts...), linuxtest.Mount("/deep/dir", "tmpfs", "tmpfs", "size=64k"), func(s *specs.Spec) {
		s.Process.Cwd = "/deep/dir/cwd"
		s.Linux.MaskedPaths = append(s.Linux.MaskedPaths, "/etc/group")
		s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/extra", Type: "c", Major: 1, Minor: 5}}
	}}
	args := []string{"run"}
	switch way {
	case "no pivot":
		args = append(args, "--no-pivot")
	case "no mount namespace":
		edits = append(edits, linuxtest.WithoutNamespace(specs.MountNamespace), func(s *specs.Spec) {
			s.Linux.MaskedPaths, s.Linux.ReadonlyPaths, s.Root.Readonly = nil, nil, false
		})
	}
	bundle := h.Bundle(edits...)
	if err := os.Remove(bundle + "/rootfs/bin/inside"); err != nil {
		t.Fatal(err)
	}
	r := h.Look(h.Must(append(args, "--bundle", bundle, h.ID("a"))...).Stdout)
	linuxtest.Equal(t, "mark", r.Paths["/mark"].Content, "new")
	linuxtest.Equal(t, "cwd", r.Cwd, "/deep/dir/cwd")
	linuxtest.Equal(t, "null", r.Paths["/dev/null"].Device, "1:3")
	linuxtest.Equal(t, "extra device", r.Paths["/dev/extra"].Device, "1:5")
	if way != "no mount namespace" {
		linuxtest.Equal(t, "writing to /", r.Paths["/"].WriteError, "read-only file system")
		linuxtest.Equal(t, "mask", r.Paths["/etc/group"].Device, "1:3")
	}
	for _, name := range []string{"mark", "deep"} {
		if _, err := os.Lstat(bundle + "/rootfs/" + name); err == nil {
			t.Errorf("%s was made in the root that is covered", name)
		}
	}
}

// The options of a mount on "/" that the root cannot have when it is entered are in
// force in the end, and a mount that is shared on the host is no peer of that.
func TestPropagationOfMountOnRoot(t *testing.T) {
	h := linuxtest.One(t)
	root := newRoot(t, h)
	if err := unix.Mount(root, root, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(root, unix.MNT_DETACH) })
	if err := unix.Mount("", root, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	group := func(r *report.Report) string {
		m, _ := r.At("/")
		return linuxtest.Group(m.Optional)
	}
	for name, c := range map[string]struct {
		options []string
		rootfs  string
		want    string
	}{
		"shared":            {[]string{"rbind", "rshared"}, "", "shared master"},
		"private, shared":   {[]string{"rbind", "rprivate", "shared"}, "", "shared"},
		"unbindable":        {[]string{"bind", "unbindable"}, "", "unbindable"},
		"rootfsPropagation": {[]string{"rbind"}, "rshared", "shared master"},
		"both":              {[]string{"rbind", "rprivate", "unbindable"}, "shared", "shared"},
	} {
		h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
			r := h.RunInside("a", linuxtest.Inside("/mark"), first(mount("/", "bind", root, c.options...)), func(s *specs.Spec) {
				s.Linux.RootfsPropagation = c.rootfs
			})
			linuxtest.Equal(t, "mark", r.Paths["/mark"].Content, "new")
			linuxtest.Equal(t, "propagation", group(r), c.want)
		})
	}
}

// A pod with the host's "/" on "/": the container sees the host's files and its
// own proc, dev and sys.
func TestHostOnRoot(t *testing.T) {
	h := linuxtest.One(t)
	program := newRoot(t, h) + "/bin/inside"
	mark := h.Dir + "/mark"
	if err := os.WriteFile(mark, []byte("of the host"), 0o644); err != nil {
		t.Fatal(err)
	}
	host := mount("/", "bind", "/", "rbind", "rslave")
	for name, edits := range map[string][]linuxtest.Edit{
		"with mounts": {first(host)},
		"alone":       {only(host)},
		"and proc":    {only(host, mount("/proc", "proc", "proc"))},
	} {
		h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
			before := nodes(t)
			edits := append(edits, linuxtest.Args(program, mark, "/dev/null", "/etc", "/proc/keys", "/dev/tty"), func(s *specs.Spec) {
				s.Process.Cwd = h.Dir
			})
			r := h.Look(h.Must("run", "--bundle", h.Bundle(edits...), h.ID("a")).Stdout)
			linuxtest.Equal(t, "mark", r.Paths[mark].Content, "of the host")
			linuxtest.Equal(t, "cwd", r.Cwd, h.Dir)
			linuxtest.Equal(t, "null", r.Paths["/dev/null"].Device, "1:3")
			linuxtest.Equal(t, "keys are masked", r.Paths["/proc/keys"].Device, "1:3")
			linuxtest.Equal(t, "writing to /etc", r.Paths["/etc"].WriteError, "read-only file system")
			if name != "alone" {
				linuxtest.Equal(t, "pid", r.PID, 1)
			}
			if after := nodes(t); after != before {
				t.Errorf("the host's devices have changed:\n%s\nwere\n%s", after, before)
			}
		})
	}
}

// nodes lists the files of the host's /dev that a runtime makes in a container.
func nodes(t *testing.T) string {
	t.Helper()
	var list strings.Builder
	for name := range strings.FieldsSeq("null zero full random urandom tty ptmx fd stdin stdout stderr core console") {
		info, err := os.Lstat("/dev/" + name)
		if err != nil {
			list.WriteString(err.Error() + "\n")
			continue
		}
		var st unix.Stat_t
		if err := unix.Lstat("/dev/"+name, &st); err != nil {
			t.Fatal(err)
		}
		target, _ := os.Readlink("/dev/" + name)
		list.WriteString(strings.Join([]string{name, info.Mode().String(), target}, " "))
		list.WriteString(" " + string(rune('0'+st.Gid%10)) + "\n")
	}
	return list.String()
}

// A read-only mount on "/" is filled first: mount points and devices are made in
// it, and the working directory.
func TestReadOnlyMountOnRoot(t *testing.T) {
	h := linuxtest.One(t)
	root := newRoot(t, h)
	h.Rows(t, []linuxtest.Row{{Name: "tmpfs", OnlyTongs: "it refuses a mount on /",
		Edits: []linuxtest.Edit{writable, linuxtest.Inside("/", "/job"), func(s *specs.Spec) {
			s.Process.Cwd = "/job/x"
		}, first(mount("/", "tmpfs", "tmpfs", "ro", "mode=711"), mount("/bin", "bind", root+"/bin"))},
		Check: func(t *testing.T, r *report.Report) {
			linuxtest.Equal(t, "writing", r.Paths["/"].WriteError, "read-only file system")
			linuxtest.Equal(t, "mode", r.Paths["/"].Mode, "0711")
			linuxtest.Equal(t, "cwd", r.Cwd, "/job/x")
			m, _ := r.At("/")
			linuxtest.Equal(t, "type", m.Type, "tmpfs")
		}}})
	if _, err := os.Stat(filepath.Join(root, "job")); err == nil {
		t.Error("the working directory was made elsewhere")
	}
}
