package rootfs

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// Limits of a walk: links followed (the kernel's own is 40, path_resolution(7))
// and components taken in all.
const (
	maxLinks = 40
	maxSteps = 4096
)

// Make opens a path of the container and makes what is missing: directories
// with mode 0755 and, if dir is false, an empty file with mode 0644 as the
// last component. A symbolic link that leads nowhere is followed inside of the
// root and its target is made. Each part is made through the handle of the
// one before it, in the container's namespaces and with its rights.
//
// The walk is component by component, with a round trip for each: Look serves
// the usual case.
func (r *Root) Make(field, p string, dir bool) (*Place, error) {
	w := walk{root: r, field: field, path: p, rest: split(p), make: true}
	for _, name := range w.rest { // before one on the way is made
		if len(name) > unix.NAME_MAX {
			return nil, fmt.Errorf("%s: cannot make %s: %s (ENAMETOOLONG)", field, p, unix.ENAMETOOLONG.Error())
		}
	}
	h, err := w.run(dir)
	if err != nil {
		w.refuse(err)
		return nil, err
	}
	b := &kernel.Batch{}
	b.For(field, "cannot look at "+p)
	top := h == r.Dir
	if top { // the caller closes what it gets
		h = b.Openat2(r.Dir, ".", unix.O_PATH, 0, kernel.InRootReal)
	}
	pl := &Place{Path: Clean(p), H: h, Stat: b.Stat(h), Top: top, Bent: w.links > 0, Made: w.made}
	w.closeOthers(b, h)
	if err := r.K.Run(b); err != nil {
		return nil, err
	}
	return pl, nil
}

// refuse closes what a walk has opened that ends in a judgement of ours. A failed
// call has ended the process, and more calls are not made behind it.
func (w *walk) refuse(err error) {
	var call *kernel.CallError
	if errors.As(err, &call) {
		return
	}
	b := &kernel.Batch{}
	for _, h := range w.all {
		b.Close(h).Allow()
	}
	if !b.Empty() {
		_ = w.root.K.Run(b) // the caller is told of err
	}
}

// walk is one resolution: the directories from the root to where it is, and
// the components that are left.
type walk struct {
	root  *Root
	field string
	path  string
	dirs  []kernel.Handle
	stats []*kernel.Stat  // of dirs but the root, and of a file at the end
	all   []kernel.Handle // what has been opened
	rest  []string
	links int
	make  bool // what is missing is made
	gone  bool // what is missing was not
	made  bool // where it is was missing
}

func split(p string) []string {
	var parts []string
	for part := range strings.SplitSeq(p, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return parts
}

func (w *walk) run(dir bool) (kernel.Handle, error) {
	w.dirs = []kernel.Handle{w.root.Dir}
	if len(w.rest) > maxSteps+1 { // before half of them are made
		return kernel.Handle{}, fmt.Errorf("%s: the path has more than %d components", w.field, maxSteps)
	}
	for step := 0; len(w.rest) > 0; step++ {
		if step > maxSteps {
			return kernel.Handle{}, fmt.Errorf("%s: %s has more than %d components", w.field, w.path, maxSteps)
		}
		name := w.rest[0]
		w.rest, w.made = w.rest[1:], false
		if name == ".." {
			w.up()
			continue
		}
		h, done, err := w.step(name, dir || len(w.rest) > 0)
		if err != nil || done {
			return h, err
		}
	}
	return w.dirs[len(w.dirs)-1], nil
}

// up goes to the parent; the root is its own.
func (w *walk) up() {
	if len(w.dirs) > 1 {
		w.dirs, w.stats = w.dirs[:len(w.dirs)-1], w.stats[:len(w.stats)-1]
	}
}

// step opens one component, makes it if it is missing, follows it if it is a
// link. done means that it is the end: a file and the last component, or missing.
func (w *walk) step(name string, dir bool) (h kernel.Handle, done bool, err error) {
	here := w.dirs[len(w.dirs)-1]
	b := &kernel.Batch{}
	b.For(w.field, "cannot open "+w.path)
	h = b.Openat2(here, name, unix.O_PATH|unix.O_NOFOLLOW, 0, kernel.InRoot)
	b.Allow(unix.ENOENT)
	st := b.Stat(h)
	b.Allow()
	link := b.Readlinkat(h)
	b.Allow()
	if err := w.root.K.Run(b); err != nil {
		return h, false, err
	}
	if h.Errno() == unix.ENOENT && !w.make {
		w.gone = true
		return here, true, nil
	}
	if h.Errno() == unix.ENOENT {
		if h, st, err = w.create(here, name, dir); err != nil {
			return h, false, err
		}
	} else {
		w.all = append(w.all, h)
	}
	if n := st.Errno(); n != 0 {
		return h, false, fmt.Errorf("%s: cannot look at %s: %s (%s)", w.field, w.path, n.Error(), unix.ErrnoName(n))
	}
	switch st.Type() {
	case unix.S_IFDIR:
		w.dirs, w.stats = append(w.dirs, h), append(w.stats, st)
		return h, false, nil
	case unix.S_IFLNK:
		if err := w.refuseMagic(here, name, h); err != nil {
			return h, false, err
		}
		return h, false, w.follow(string(link.Bytes()))
	}
	if len(w.rest) > 0 {
		return h, false, fmt.Errorf("%s: cannot open %s: %q on the way is not a directory", w.field, w.path, name)
	}
	w.stats = append(w.stats, st)
	return h, true, nil
}

// refuseMagic refuses a link of proc whose text is not what it leads to
// (proc_pid_fd(5)): the kernel, told to follow no such link, finds a loop.
func (w *walk) refuseMagic(here kernel.Handle, name string, link kernel.Handle) error {
	b := &kernel.Batch{}
	b.For(w.field, "cannot open "+w.path)
	fs := b.Fstatfs(link)
	if err := w.root.K.Run(b); err != nil || fs.Type() != unix.PROC_SUPER_MAGIC {
		return err
	}
	b = &kernel.Batch{}
	b.For(w.field, "cannot open "+w.path)
	h := b.Openat2(here, name, unix.O_PATH, 0, kernel.InRoot)
	b.Allow()
	b.Close(h).Allow()
	if err := w.root.K.Run(b); err != nil {
		return err
	}
	if h.Errno() == unix.ELOOP {
		return fmt.Errorf("%s: cannot open %s: %q is a link that only the kernel can follow (ELOOP)", w.field, w.path, name)
	}
	return nil
}

func (w *walk) follow(target string) error {
	if w.links++; w.links > maxLinks {
		return fmt.Errorf("%s: cannot open %s: more than %d symbolic links (ELOOP)", w.field, w.path, maxLinks)
	}
	if target == "" {
		return fmt.Errorf("%s: cannot open %s: an empty symbolic link", w.field, w.path)
	}
	if target[0] == '/' {
		w.dirs, w.stats = w.dirs[:1], w.stats[:0]
	}
	w.rest = append(split(target), w.rest...)
	return nil
}

// create makes one component and opens it. Another process may have been
// faster: what it made is taken as if it had been there, and judged like that.
func (w *walk) create(here kernel.Handle, name string, dir bool) (kernel.Handle, *kernel.Stat, error) {
	b := &kernel.Batch{}
	b.For(w.field, "cannot make "+w.path)
	if dir {
		b.Mkdirat(here, name, 0o755)
	} else {
		b.Mknodat(here, name, unix.S_IFREG|0o644, 0)
	}
	made := b.Allow(unix.EEXIST).Last()
	h := b.Openat2(here, name, unix.O_PATH|unix.O_NOFOLLOW, 0, kernel.InRoot)
	st := b.Stat(h)
	b.Check(func() error {
		w.all, w.made = append(w.all, h), made.Errno() == 0
		if st.Type() == unix.S_IFLNK {
			return fmt.Errorf("%s: cannot make %s: %q has become a symbolic link: the root file system is being changed", w.field, w.path, name)
		}
		return nil
	})
	return h, st, w.root.K.Run(b)
}

// closeOthers adds closes of the directories and links on the way.
func (w *walk) closeOthers(b *kernel.Batch, keep kernel.Handle) {
	for _, d := range w.all {
		if d != keep {
			b.Close(d)
		}
	}
}
