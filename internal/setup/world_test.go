package setup

import (
	"encoding/binary"
	"fmt"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// world answers the calls of a recorded plan: a file system of which only the
// names matter. Every path is a directory unless a line says otherwise; what is
// attached somewhere is found there with the same mount id. Paths of the host
// begin with "host:".
//
// Lines of an "answers" section:
//
//	file PATH KIND [fs=NAME] [uid=N] [ino=N]
//	                                   what lies at a path: missing, dir, reg, lnk TARGET, chr 1:3, blk 8:0, fifo
//	CALL SUBJECT ANSWER                the answer to a call: ENOENT, a number or "text" that is read;
//	                                   "host:CALL" is one that is executed on the host
//
// The subject of a call is its path, the name that it makes, or the label of
// the handle that it works on.
type world struct {
	files   map[string]file
	mounted map[string]int64 // path → handle of the mount on top
	open    map[int64]*file
	closed  map[int64]bool
	answers map[string]string
	used    map[string]bool
	next    int64
	sent    [][]file // messages with descriptors that nobody has received yet
	host    bool     // the calls are executed on the host
}

// file is what lies at a path, or what a handle is open on.
type file struct {
	path         string
	mode         uint16
	target       string // of a link
	major, minor uint32
	uid          uint32
	ino          uint64
	fs           int64
	mount        uint64
	base         uint64           // the mount that the path lies in, below those at the path itself
	below        map[string]int64 // of a recursive copy: the mounts in it, by path below it
	missing      bool
	created      bool // a file system context that has its superblock
}

func newWorld(lines string) (*world, error) {
	w := &world{files: map[string]file{}, mounted: map[string]int64{}, open: map[int64]*file{}, closed: map[int64]bool{}, answers: map[string]string{}, used: map[string]bool{}, next: 10}
	w.files["host:/dev/null"] = file{mode: unix.S_IFCHR | 0o666, major: 1, minor: 3}
	w.files["host:/proc/self/ns/user"] = file{mode: unix.S_IFREG | 0o444, ino: firstUserNamespace}
	for line := range strings.Lines(lines) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		if len(words) < 3 {
			return nil, fmt.Errorf("answers: %q has less than three words", line)
		}
		if words[0] != "file" {
			_, rest, _ := strings.Cut(strings.TrimSpace(line), words[0])
			_, rest, _ = strings.Cut(rest, words[1])
			w.answers[words[0]+" "+words[1]] = strings.TrimSpace(rest)
			continue
		}
		f, err := parseFile(words[2:])
		if err != nil {
			return nil, fmt.Errorf("answers: %q: %w", line, err)
		}
		w.files[words[1]] = f
	}
	return w, nil
}

func parseFile(words []string) (file, error) {
	var f file
	kinds := map[string]uint16{"dir": unix.S_IFDIR, "reg": unix.S_IFREG, "lnk": unix.S_IFLNK, "chr": unix.S_IFCHR, "blk": unix.S_IFBLK, "fifo": unix.S_IFIFO}
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		switch {
		case word == "missing":
			f.missing = true
		case key == "fs":
			f.fs = magic(value)
		case key == "uid", key == "ino":
			n, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return f, err
			}
			if key == "uid" {
				f.uid = uint32(n)
			} else {
				f.ino = n
			}
		case f.mode == 0 && kinds[word] != 0:
			f.mode = kinds[word] | 0o755
		case f.mode&unix.S_IFMT == unix.S_IFLNK:
			f.target = word
		default:
			if n, err := fmt.Sscanf(word, "%d:%d", &f.major, &f.minor); n != 2 {
				return f, fmt.Errorf("%q: %w", word, err)
			}
		}
	}
	return f, nil
}

func magic(fstype string) int64 {
	return map[string]int64{"proc": unix.PROC_SUPER_MAGIC, "sysfs": unix.SYSFS_MAGIC, "tmpfs": unix.TMPFS_MAGIC,
		"devpts": unix.DEVPTS_SUPER_MAGIC, "cgroup2": unix.CGROUP2_SUPER_MAGIC, "nsfs": unix.NSFS_MAGIC, "selinuxfs": unix.SELINUX_MAGIC}[fstype]
}

// unused lists lines for calls that did not come: a mistake in the file.
func (w *world) unused() []string {
	var list []string
	for k := range w.answers {
		if !w.used[k] {
			list = append(list, k)
		}
	}
	return list
}

// subject is what a line of the answers calls the object of a call.
func subject(c *kernel.Call) string {
	if c.Name == "move_mount" && c.Args[2].H.Label() != "cwd" {
		return c.Args[2].H.Label()
	}
	if s := text(c); s != "" && c.Name != "write" {
		return s
	}
	if c.Args[0].Kind() == kernel.Ref {
		return c.Args[0].H.Label()
	}
	if c.Args[0].Kind() == kernel.Memory {
		return "-"
	}
	return strconv.FormatUint(c.Args[0].N, 10)
}

// text is the last string argument that is not empty, so that symlinkat has
// its name and not its target.
func text(c *kernel.Call) string {
	s := ""
	for _, a := range c.Args {
		if a.Kind() == kernel.Memory && a.Mem.Text && len(a.Mem.Bytes) > 1 {
			s = string(a.Mem.Bytes[:len(a.Mem.Bytes)-1])
		}
	}
	return s
}

// answer is record.Kernel's Answer.
func (w *world) answer(c *kernel.Call) (int64, bool) {
	for _, a := range c.Args {
		if a.Kind() != kernel.Ref || c.Name == "keyctl" || a.H.Label() == "cwd" {
			continue
		}
		if n, _, _ := a.H.Number(nil); n < 0 || w.closed[n] {
			return -int64(unix.EBADF), true
		}
	}
	key := c.Name + " " + subject(c)
	if _, ok := w.answers["host:"+key]; ok && w.host {
		key = "host:" + key
	}
	if a, ok := w.answers[key]; ok {
		w.used[key] = true
		if n, ok := w.given(c, a); ok {
			return n, true
		}
	}
	switch c.Name {
	case "openat2":
		return w.openat2(c), true
	case "open_tree":
		from := w.handle(c, 0).path
		if c.Args[0].H.Label() == "cwd" {
			from = "host:/" // whoever executes it, before the root is entered
		}
		dir, e := w.resolve(from, text(c), c.Args[2].N&unix.AT_SYMLINK_NOFOLLOW == 0)
		if e != 0 {
			return -int64(e), true
		}
		f := w.at(dir)
		w.next++
		f.mount = uint64(w.next)
		if c.Args[2].N&unix.AT_RECURSIVE != 0 {
			f.below = w.mountsBelow(f.path)
		}
		return w.add(f), true
	case "fsopen":
		return w.add(file{fs: magic(text(c))}), true
	case "fsconfig":
		if c.Args[1].N == unix.FSCONFIG_CMD_CREATE {
			w.handle(c, 0).created = true
		}
	case "fsmount":
		if !w.handle(c, 0).created {
			return -int64(unix.EINVAL), true
		}
		w.next++
		at := strings.TrimPrefix(c.Result.Label(), "mount ")
		if at[0] != '/' {
			at = "detached:/" + at
		}
		return w.add(file{path: at, mode: unix.S_IFDIR | 0o755, fs: w.handle(c, 0).fs, mount: uint64(w.next)}), true
	case "move_mount":
		return w.moveMount(c), true
	case "close":
		return w.close(c), true
	case "mkdirat":
		w.put(c, unix.S_IFDIR, 0)
	case "mknodat":
		w.put(c, uint16(c.Args[2].N), c.Args[3].N)
	case "statx":
		return w.statx(c), true
	case "faccessat2":
		_, e := w.resolve(w.cwd(), text(c), true)
		return -int64(e), true
	case "fstatfs":
		f := w.handle(c, 0)
		if f == nil {
			return -int64(unix.EBADF), true
		}
		binary.NativeEndian.PutUint64(c.Args[1].Mem.Bytes, uint64(f.fs))
	case "getcwd":
		return int64(copy(c.Args[0].Mem.Bytes, "/\x00")), true
	case "read", "readlinkat":
		return w.read(c)
	case "socketpair":
		for i := range 2 {
			binary.NativeEndian.PutUint32(c.Args[3].Mem.Bytes[4*i:], uint32(w.add(file{})))
		}
	case "sendmsg", "recvmsg":
		w.rights(c)
	}
	if c.Opens && c.Name != "dup3" {
		return w.add(file{mode: unix.S_IFCHR | 0o600}), true
	}
	return 0, false
}

// given is an answer from the file.
func (w *world) given(c *kernel.Call, a string) (int64, bool) {
	if s, err := strconv.Unquote(a); err == nil {
		for _, arg := range c.Args {
			if arg.Kind() == kernel.Memory && arg.Mem.Out {
				return int64(copy(arg.Mem.Bytes, s)), true
			}
		}
	}
	if n, err := strconv.ParseInt(a, 0, 64); err == nil {
		return n, true
	}
	for e := unix.Errno(1); e < 134; e++ {
		if unix.ErrnoName(e) == a {
			return -int64(e), true
		}
	}
	return 0, false
}

func (w *world) add(f file) int64 {
	w.next++
	w.open[w.next] = &f
	return w.next
}

// handle is the file that argument i is open on, nil if none.
func (w *world) handle(c *kernel.Call, i int) *file {
	n, _, _ := c.Args[i].H.Number(nil)
	if n == unix.AT_FDCWD {
		return &file{path: w.cwd(), mode: unix.S_IFDIR}
	}
	if n >= 0 && n < 3 {
		f := w.at("stdio:" + strconv.FormatInt(n, 10))
		return &f
	}
	return w.open[n]
}

// close forgets a handle. A mount that is attached stays.
func (w *world) close(c *kernel.Call) int64 {
	n, _, _ := c.Args[0].H.Number(nil)
	if w.open[n] == nil || w.closed[n] {
		return -int64(unix.EBADF)
	}
	w.closed[n] = true
	return 0
}

// inherit makes new handles of those that another process gets.
func (w *world) inherit(list []kernel.Handle) []kernel.Handle {
	copies := make([]kernel.Handle, len(list))
	for i, h := range list {
		n, _, _ := h.Number(nil)
		if f := w.open[n]; f != nil {
			copies[i] = kernel.NewHandle(w.add(*f), h.Label())
		}
	}
	return copies
}

func (w *world) cwd() string {
	if w.host {
		return "host:/"
	}
	return "/"
}

// rights sends or receives descriptors, of which the receiver has copies.
func (w *world) rights(c *kernel.Call) {
	control := c.Args[1].Mem.Refs[1].To.Bytes
	if c.Name == "sendmsg" {
		message := []file{}
		for at := 16; at < int(binary.NativeEndian.Uint64(control)); at += 4 {
			if f := w.open[int64(binary.NativeEndian.Uint32(control[at:]))]; f != nil {
				message = append(message, *f)
			}
		}
		w.sent = append(w.sent, message)
		return
	}
	if len(w.sent) == 0 { // by the caller of the set-up
		w.sent = [][]file{{{path: "sent by the caller"}}}
	}
	copy(control, unix.UnixRights(make([]int, len(w.sent[0]))...))
	for i, f := range w.sent[0] {
		binary.NativeEndian.PutUint32(control[16+4*i:], uint32(w.add(f)))
	}
	w.sent = w.sent[1:]
}

func (w *world) read(c *kernel.Call) (int64, bool) {
	f := w.handle(c, 0)
	switch {
	case c.Name == "read":
		return 0, false
	case f == nil:
		return -int64(unix.EBADF), true
	case strings.HasPrefix(f.path, "/proc/self/fd/"):
		n, _ := strconv.ParseInt(path.Base(f.path), 10, 64)
		return int64(copy(c.Args[2].Mem.Bytes, w.open[n].path)), true
	case f.mode&unix.S_IFMT != unix.S_IFLNK:
		return -int64(unix.EINVAL), true
	}
	return int64(copy(c.Args[2].Mem.Bytes, f.target)), true
}
