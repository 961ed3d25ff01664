package kernel

import (
	"strings"

	"golang.org/x/sys/unix"
)

// FileSystem is a file system that is being configured (fsopen(2), 5.2). Its
// steps must be in one batch. When one fails, those behind it fail as well,
// and the error is that of the first, with what the kernel had to say about it.
type FileSystem struct {
	b     *Batch
	h     Handle
	last  Handle // result of the step before
	story *story
}

// story is a chain of calls of which an error tells the first that failed.
type story struct {
	b        *Batch
	steps    []int // of the batch's calls
	messages []*Buffer
}

// messages is how many of the kernel's messages an error can have; the kernel
// itself keeps eight.
const messages = 2

// Fsopen adds fsopen(2).
func (b *Batch) Fsopen(fstype string) *FileSystem {
	h := b.open("fs "+fstype, "fsopen", unix.SYS_FSOPEN, b.text(fstype), num(uint64(unix.FSOPEN_CLOEXEC)))
	return &FileSystem{b: b, h: h, story: &story{b: b}}
}

// Flag adds fsconfig(2) for an option without a value.
func (f *FileSystem) Flag(key string) { f.config(unix.FSCONFIG_SET_FLAG, f.b.text(key), Arg{}) }

// String adds fsconfig(2) for key=value.
func (f *FileSystem) String(key, value string) {
	f.config(unix.FSCONFIG_SET_STRING, f.b.text(key), f.b.text(value))
}

// Option adds fsconfig(2) for "key=value" or "key".
func (f *FileSystem) Option(o string) {
	if key, value, ok := strings.Cut(o, "="); ok {
		f.String(key, value)
	} else {
		f.Flag(o)
	}
}

// Dir adds fsconfig(2) for a key whose value is an open directory.
func (f *FileSystem) Dir(key string, h Handle) {
	// The last argument is taken, so the step before is the value: NULL if it was done.
	f.set(unix.FSCONFIG_SET_FD, f.b.text(key), f.before(), ref(h))
}

// Create adds fsconfig(2) that makes the superblock.
func (f *FileSystem) Create() { f.config(unix.FSCONFIG_CMD_CREATE, Arg{}, Arg{}) }

// config adds fsconfig(2). The last argument must be zero for all commands
// here: as it is the result of the step before, nothing is done behind a step
// that failed.
func (f *FileSystem) config(command int, key, value Arg) { f.set(command, key, value, f.before()) }

// before is the result of the step before as an argument.
func (f *FileSystem) before() Arg {
	if !f.last.Valid() {
		return Arg{}
	}
	return ref(f.last)
}

func (f *FileSystem) set(command int, key, value, aux Arg) {
	f.last = f.b.add("fsconfig", unix.SYS_FSCONFIG, ref(f.h), num(command), key, value, aux).Result
	f.last.r.label = "ok"
	f.step()
}

// step makes the call that was added last a part of the story.
func (f *FileSystem) step() {
	f.story.steps = append(f.story.steps, len(f.b.Calls)-1)
	f.b.Allow()
}

// Mount adds fsmount(2) (5.2), a detached mount of the configured file system
// with MOUNT_ATTR_ flags, and ends the configuration.
func (f *FileSystem) Mount(attr uint64, label string) Handle {
	b := f.b
	h := b.open("mount "+label, "fsmount", unix.SYS_FSMOUNT, ref(f.h), num(uint64(unix.FSMOUNT_CLOEXEC)), num(attr))
	f.step()
	for range messages {
		f.story.messages = append(f.story.messages, b.Read(f.h, 256))
		b.Allow()
	}
	b.Close(f.h)
	b.add("fcntl", unix.SYS_FCNTL, ref(h), num(unix.F_GETFD)).story = f.story
	return h
}

// failed is the error of the first call that failed, nil if none did.
func (s *story) failed() *CallError {
	for _, i := range s.steps {
		c := &s.b.Calls[i]
		if e := c.Result.Errno(); e != 0 {
			err := callError(c, e)
			err.Hint = s.words()
			return err
		}
	}
	return nil
}

// words are the kernel's messages, each behind a letter that says how bad it
// is and a space.
func (s *story) words() string {
	var list []string
	for _, m := range s.messages {
		if t := strings.TrimSpace(string(m.Bytes())); len(t) > 2 && t[1] == ' ' {
			list = append(list, t[2:])
		}
	}
	return strings.Join(list, "; ")
}
