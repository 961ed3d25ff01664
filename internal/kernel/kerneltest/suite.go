// Package kerneltest is the conformance suite that every kernel must pass:
// what package kernel promises of Run, shown by batches whose results are
// known.
package kerneltest

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// Run checks a kernel. real is false for a kernel that executes nothing: then
// only order, results and errors are compared. Each case gets a kernel of its
// own from open.
func Run(t *testing.T, real bool, open func(t *testing.T) kernel.Kernel) {
	cases := []struct {
		name string
		real bool // needs calls to be executed
		run  func(t *testing.T, k kernel.Kernel)
	}{
		{"an empty batch runs its checks", false, emptyBatch},
		{"a result feeds a later call of the same batch", true, chain},
		{"a result feeds a call of the next batch", true, nextBatch},
		{"a handle keeps its descriptor over many batches", true, manyBatches},
		{"an error that is allowed is seen and goes on", true, allowed},
		{"an error that is not in the list fails", true, notAllowed},
		{"an error names call, field and wish", true, named},
		{"a refused file system has the kernel's words", true, words},
		{"checks run after the calls, the first error wins", false, checks},
		{"strings, vectors and structs arrive", true, memory},
		{"descriptors travel in messages", true, travel},
		{"a batch larger than any buffer is executed whole", true, large},
		{"batches that are late have their results behind the next", true, late},
		{"an error of a late batch is told by the next", true, lateError},
		{"a check of a late batch may run another", true, lateCheck},
		{"each typed call has a format", false, formats},
		{"an invalid handle is refused by the kernel", true, invalid},
	}
	for _, c := range cases {
		if c.real && !real {
			continue // nothing to compare: the recorder's golden tests cover it
		}
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

func emptyBatch(t *testing.T, k kernel.Kernel) {
	ran := false
	b := &kernel.Batch{}
	b.Check(func() error { ran = true; return nil })
	if err := k.Run(b); err != nil || !ran {
		t.Fatalf("Run = %v, check ran %v", err, ran)
	}
}

func chain(t *testing.T, k kernel.Kernel) {
	b := &kernel.Batch{}
	dir := b.Openat2(kernel.CWD(), "/", unix.O_PATH|unix.O_DIRECTORY, 0, 0)
	file := b.Openat2(dir, "proc", unix.O_PATH, 0, kernel.InRoot)
	st := b.Stat(file)
	fs := b.Fstatfs(file)
	b.Close(file).Close(dir)
	if err := k.Run(b); err != nil {
		t.Fatal(err)
	}
	if st.Type() != unix.S_IFDIR || fs.Type() != unix.PROC_SUPER_MAGIC {
		t.Errorf("/proc: type %o, file system %#x", st.Type(), fs.Type())
	}
}

func nextBatch(t *testing.T, k kernel.Kernel) {
	b := &kernel.Batch{}
	dir := b.Openat2(kernel.CWD(), "/", unix.O_PATH|unix.O_DIRECTORY, 0, 0)
	if err := k.Run(b); err != nil {
		t.Fatal(err)
	}
	b = &kernel.Batch{}
	st := b.StatAt(dir, "proc")
	b.Close(dir)
	if err := k.Run(b); err != nil {
		t.Fatal(err)
	}
	if st.Type() != unix.S_IFDIR {
		t.Errorf("type %o", st.Type())
	}
}

func manyBatches(t *testing.T, k kernel.Kernel) {
	b := &kernel.Batch{}
	dir := b.Openat2(kernel.CWD(), "/proc", unix.O_PATH|unix.O_DIRECTORY, 0, 0)
	for range 50 {
		if err := k.Run(b); err != nil {
			t.Fatal(err)
		}
		b = &kernel.Batch{}
		fs := b.Fstatfs(dir)
		b.Check(func() error {
			if fs.Type() != unix.PROC_SUPER_MAGIC {
				t.Errorf("file system %#x", fs.Type())
			}
			return nil
		})
	}
}

func allowed(t *testing.T, k kernel.Kernel) {
	b := &kernel.Batch{}
	missing := b.Openat2(kernel.CWD(), "/no such file", unix.O_PATH, 0, 0)
	b.Allow(unix.ENOENT, unix.ENOTDIR)
	bad := b.Close(missing).Allow().Last()
	dir := b.Openat2(kernel.CWD(), "/", unix.O_PATH, 0, 0)
	if err := k.Run(b); err != nil {
		t.Fatal(err)
	}
	if missing.Errno() != unix.ENOENT || bad.Errno() != unix.EBADF || dir.Errno() != 0 {
		t.Errorf("errors %v, %v, %v", missing.Errno(), bad.Errno(), dir.Errno())
	}
}

func notAllowed(t *testing.T, k kernel.Kernel) {
	b := &kernel.Batch{}
	b.For("first", "cannot look")
	b.Openat2(kernel.CWD(), "/no such file", unix.O_PATH, 0, 0)
	b.Allow(unix.ELOOP)
	b.For("second", "cannot close")
	b.Close(kernel.NoFD())
	err := k.Run(b)
	var call *kernel.CallError
	if !errors.As(err, &call) || call.Field != "first" || call.Errno != unix.ENOENT {
		t.Fatalf("got %v, want ENOENT of the first call", err)
	}
}

func named(t *testing.T, k kernel.Kernel) {
	b := &kernel.Batch{}
	b.For("mounts[3]", "cannot close what is not open")
	b.Close(kernel.NoFD())
	b.Check(func() error { t.Error("a check ran behind a failed call"); return nil })
	err := k.Run(b)
	const want = "mounts[3]: cannot close what is not open: close(<-1>): bad file descriptor (EBADF)"
	if err == nil || err.Error() != want || !errors.Is(err, unix.EBADF) {
		t.Fatalf("got  %v\nwant %s", err, want)
	}
}

// The step that is refused is named, not those behind it.
func words(t *testing.T, k kernel.Kernel) {
	b := &kernel.Batch{}
	b.For("field", "cannot configure")
	fs := b.Fsopen("tmpfs")
	fs.String("size", "1m")
	fs.Flag("nosuch")
	fs.Dir("nosuch", kernel.NewHandle(0, "0"))
	fs.String("mode", "700")
	fs.Create()
	b.Fchdir(fs.Mount(0, "/x"))
	err := k.Run(b)
	const want = `field: cannot configure: fsconfig(<fs tmpfs>, FSCONFIG_SET_FLAG, "nosuch", NULL, <ok>): invalid argument (EINVAL): tmpfs: Unknown parameter 'nosuch'`
	if err == nil || err.Error() != want {
		t.Fatalf("got  %v\nwant %s", err, want)
	}
}

func checks(t *testing.T, k kernel.Kernel) {
	b := &kernel.Batch{}
	var order []string
	b.Check(func() error { order = append(order, "a"); return nil })
	b.Check(func() error { return errors.New("b says no") })
	b.Check(func() error { order = append(order, "c"); return nil })
	b.Umask(0o22)
	err := k.Run(b)
	if err == nil || err.Error() != "b says no" || strings.Join(order, "") != "a" {
		t.Fatalf("got %v after %v", err, order)
	}
}

func memory(t *testing.T, k kernel.Kernel) {
	b := &kernel.Batch{}
	link := b.Openat2(kernel.CWD(), "/proc/self/exe", unix.O_PATH|unix.O_NOFOLLOW, 0, 0)
	target := b.Readlinkat(link)
	b.Close(link)
	cwd := b.Getcwd()
	if err := k.Run(b); err != nil {
		t.Fatal(err)
	}
	if got := string(target.Bytes()); !strings.HasPrefix(got, "/") {
		t.Errorf("link %q", got)
	}
	if got := string(cwd.Bytes()); !strings.HasPrefix(got, "/") || !strings.HasSuffix(got, "\x00") {
		t.Errorf("directory %q", got)
	}
}

func travel(t *testing.T, k kernel.Kernel) {
	b := &kernel.Batch{}
	ends := make([]byte, 8)
	b.Raw("socketpair", unix.SYS_SOCKETPAIR, kernel.N(unix.AF_UNIX), kernel.N(unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC), kernel.N(0), kernel.Out(ends))
	proc := b.Openat2(kernel.CWD(), "/proc", unix.O_PATH, 0, 0)
	if err := k.Run(b); err != nil {
		t.Fatal(err)
	}
	one := kernel.NewHandle(int64(binary.NativeEndian.Uint32(ends)), "one end")
	other := kernel.NewHandle(int64(binary.NativeEndian.Uint32(ends[4:])), "the other")
	b = &kernel.Batch{}
	b.SendFD(one, proc).Write(one, "x")
	with, without := b.ReceiveFD(other, "proc"), b.ReceiveFD(other, "nothing")
	if err := k.Run(b); err != nil {
		t.Fatal(err)
	}
	if _, ok := without.Handle(); ok {
		t.Error("no descriptor came and one was seen")
	}
	h, ok := with.Handle()
	if !ok {
		t.Fatal("no descriptor came")
	}
	b = &kernel.Batch{}
	fs := b.Fstatfs(h)
	b.Close(h).Close(one).Close(other).Close(proc)
	if err := k.Run(b); err != nil {
		t.Fatal(err)
	}
	if fs.Type() != unix.PROC_SUPER_MAGIC {
		t.Errorf("file system %#x", fs.Type())
	}
}

func large(t *testing.T, k kernel.Kernel) {
	b := &kernel.Batch{}
	dir := b.Openat2(kernel.CWD(), "/", unix.O_PATH|unix.O_DIRECTORY, 0, 0)
	var stats []*kernel.Stat
	for range 5000 {
		stats = append(stats, b.StatAt(dir, "proc"))
	}
	b.Close(dir)
	if err := k.Run(b); err != nil {
		t.Fatal(err)
	}
	for i, st := range stats {
		if st.Errno() != 0 || st.Type() != unix.S_IFDIR {
			t.Fatalf("call %d: %v, type %o", i, st.Errno(), st.Type())
		}
	}
}

func invalid(t *testing.T, k kernel.Kernel) {
	b := &kernel.Batch{}
	b.Fchdir(kernel.Handle{})
	if err := k.Run(b); !errors.Is(err, unix.EBADF) {
		t.Fatalf("got %v, want EBADF", err)
	}
	other := &kernel.Batch{}
	h := other.Openat2(kernel.CWD(), "/", unix.O_PATH, 0, 0)
	if h.Errno() != unix.EBADF {
		t.Errorf("a call that has not run says %v", h.Errno())
	}
}

// All adds every typed call once.
func All(b *kernel.Batch) {
	h := b.Openat2(kernel.CWD(), "/", unix.O_PATH, 0, kernel.InRoot)
	b.OpenTree(h, "", unix.OPEN_TREE_CLONE)
	b.MoveMount(h, h).MoveMountRoot(h)
	b.MountSetattr(h, unix.AT_RECURSIVE, kernel.MountAttr{Set: unix.MOUNT_ATTR_RDONLY})
	b.MountSetattrRoot(unix.AT_RECURSIVE, kernel.MountAttr{Propagation: unix.MS_SLAVE})
	fs := b.Fsopen("tmpfs")
	fs.Flag("a")
	fs.Option("k=v")
	fs.Dir("d", h)
	fs.Create()
	fs.Mount(0, "/x")
	b.PivotRoot().UmountCwd().Umount("/x", 1)
	b.Close(h).Mkdirat(h, "d", 0o755).Mknodat(h, "n", 0o600, 1).Symlinkat("t", h, "l").Unlinkat(h, "l", 0)
	b.Fchown(h, 1, 1).Fchmodat(h, "n", 0o644).Faccessat2(h, "n", 1, unix.AT_EACCESS)
	b.Fchdir(h).Chdir("/").ChrootCwd()
	b.Read(h, 1)
	b.Write(h, "x")
	b.Readlinkat(h)
	b.Getcwd()
	b.Stat(h)
	b.StatAt(h, "n")
	b.Fstatfs(h)
	b.Getdents(h, 1)
	b.Lseek(h, kernel.N(1), unix.SEEK_DATA)
	b.Sendfile(h, h, 1)
	b.Ftruncate(h, 1).Fsetxattr(h, "user.x", []byte("v")).Linkat(h, "n", h, "o").Fchownat(h, "n", 1, 2).Utimensat(h, "n", &kernel.Stat{})
	b.Flistxattr(h, 1)
	b.Fgetxattr(h, "user.x", 1)
	b.Prctl(1, 2).Setsid().Umask(0).Setgroups([]uint32{1}).Setresuid(1).Setresgid(1).Capset(1, 2, 3)
	b.Prlimit(h, 1, 2, 3).Keyctl(1, "k").KeyctlKey(5, h, 1).CloseRange(3, 4)
	b.PrlimitOf(h, 1)
	b.Dup3(h, 9, 0)
	b.Ioctl(h, 1, []byte{1})
	b.IoctlInt(h, 1, 1)
	b.Socket(1, 2, 3)
	b.ReceiveFD(h, "a")
	b.SchedSetaffinity([]byte{1})
	b.ForkSibling()
	b.Unshare(1).Setns(h, 1).Sethostname("h").Setdomainname("d").SendFD(h, kernel.NewHandle(3, "fd"))
	b.SeccompAvailable(1).Seccomp(2, []unix.SockFilter{{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW}})
	b.Execve("/x", []string{"a"}, []string{"e=1"}).ExitGroup(0)
}

func formats(t *testing.T, _ kernel.Kernel) {
	b := &kernel.Batch{}
	All(b)
	for i := range b.Calls {
		c := &b.Calls[i]
		if !kernel.Known(c.Name) {
			t.Errorf("%s has no argument format", c.Name)
		}
		if s := c.String(); strings.Contains(s, "invalid") {
			t.Errorf("%s", s)
		}
	}
}
