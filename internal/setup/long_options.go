package setup

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// longest is how many bytes a key or a value of fsconfig(2) can have. mount(2)
// has no such limit, and layers of overlayfs make long lists.
const longest = 255

// refuseLong refuses what the kernel would, whose EINVAL says nothing: it takes
// layers of overlayfs in other ways, and all else as one string only.
func refuseLong(e *Env) error {
	var errs []error
	refuse := func(field, what string, n int) {
		if n > longest {
			errs = append(errs, fmt.Errorf("%s: %s has %d bytes; the kernel takes at most %d (fsconfig(2))", field, what, n, longest))
		}
	}
	for _, m := range e.plan() {
		if m.opt.bind || m.fstype == "cgroup" || m.fstype == "cgroup2" {
			continue
		}
		refuse(m.field+".source", "the source", len(m.Source))
		for _, o := range m.opt.super {
			key, value, found := strings.Cut(o, "=")
			switch {
			case !found:
				refuse(m.field+".options", key[:min(len(key), 16)]+"…", len(key))
			case m.fstype != "overlay" || !isLayer(key):
				refuse(m.field+".options", key[:min(len(key), 32)]+"=…", max(len(key), len(value)))
			}
		}
	}
	return errors.Join(errs...)
}

// isLayer reports whether the values of an option of overlayfs are directories.
func isLayer(key string) bool { return isLower(key) || key == "upperdir" || key == "workdir" }

func isLower(key string) bool { return key == "lowerdir" || key == "lowerdir+" || key == "datadir+" }

// configure adds the options of a new file system.
func (e *Env) configure(fs *kernel.FileSystem, m *mount) {
	want := "cannot configure " + m.fstype
	e.B.For(m.field+".options", want)
	for _, o := range m.opt.flags {
		fs.Flag(o)
	}
	if m.fstype == "overlay" && slices.ContainsFunc(m.opt.super, isLong) {
		for _, o := range lastLayers(m.opt.super) {
			if isLong(o) {
				e.addLayers(fs, m, o)
				e.B.For(m.field+".options", want)
			} else {
				fs.Option(o)
			}
		}
		return
	}
	for _, o := range m.opt.super {
		fs.Option(o)
	}
}

func isLong(o string) bool {
	_, value, _ := strings.Cut(o, "=")
	return len(value) > longest
}

// lastLayers leaves out the layers that a later lowerdir= takes back: the kernel
// wants single ones before it and not behind.
func lastLayers(list []string) []string {
	last := 0
	for i, o := range list {
		if strings.HasPrefix(o, "lowerdir=") {
			last = i
		}
	}
	var kept []string
	for i, o := range list {
		if key, _, _ := strings.Cut(o, "="); i >= last || !isLower(key) {
			kept = append(kept, o)
		}
	}
	return kept
}

// addLayers adds a long option of overlayfs: layers one by one (lowerdir+ and
// datadir+, 6.8), and a directory with a long path by its descriptor (6.13).
func (e *Env) addLayers(fs *kernel.FileSystem, m *mount, o string) {
	key, value, _ := strings.Cut(o, "=")
	add := func(key, path, want string) {
		if len(path) <= longest {
			e.B.For(m.field+".options", want)
			fs.String(key, path)
			return
		}
		e.B.ForPath(m.field+".options", "cannot open the directory of "+key, path)
		dir := e.B.Openat2(kernel.CWD(), path, unix.O_RDONLY|unix.O_DIRECTORY, 0, 0) // O_PATH is not taken before 6.15
		e.B.For(m.field+".options", fmt.Sprintf("a path of %s has %d bytes; the kernel takes at most %d (fsconfig(2)), and descriptors instead since Linux 6.13", key, len(path), longest))
		fs.Dir(key, dir)
		e.B.Close(dir)
	}
	want := fmt.Sprintf("%s=… has %d bytes; the kernel takes at most %d (fsconfig(2)), and single layers instead since Linux 6.8", key, len(value), longest)
	switch key {
	case "lowerdir":
		for _, l := range splitLayers(value) {
			add(l.key, l.path, want)
		}
	case "lowerdir+", "datadir+": // these are no lists and have no escapes
		add(key, value, want)
	default:
		add(key, literal(value), want)
	}
}

type layer struct{ key, path string }

// splitLayers splits the value of lowerdir as the kernel does: at colons that
// have no backslash before them. What follows two colons has only the data of
// files (Documentation/filesystems/overlayfs.rst, "data-only" lower layers).
func splitLayers(s string) []layer {
	list := []layer{{key: "lowerdir+"}}
	from := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case ':':
			list[len(list)-1].path = literal(s[from:i])
			key := "lowerdir+"
			if i+1 < len(s) && s[i+1] == ':' {
				key = "datadir+"
				i++
			}
			list = append(list, layer{key: key})
			from = i + 1
		}
	}
	list[len(list)-1].path = literal(s[min(from, len(s)):])
	return list
}

// literal takes away the backslashes that keep the character behind them from
// having a meaning.
func literal(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			if i++; i == len(s) {
				break
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
