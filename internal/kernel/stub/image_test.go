package stub

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

func exePath(s *Stub) string { return "/proc/" + strconv.Itoa(s.PID) + "/exe" }

func stat(t *testing.T, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st
}

// What the container's root could do with /proc/1/exe, also long after the
// stub has ended, if it kept a descriptor.
func TestImageIsSealed(t *testing.T) {
	s := launch(t, Config{})
	run(t, s, func(b *kernel.Batch) { b.Umask(0) })
	kept, err := unix.Open(exePath(s), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(kept)
	if target, _ := os.Readlink(exePath(s)); target != "/memfd:tongs:stub (deleted)" {
		t.Errorf("the stub executes %q", target)
	}
	attack(t, exePath(s))
	s.Kill()
	attack(t, "/proc/self/fd/"+strconv.Itoa(kept))
	attackMode(t, kept)
}

// attack tries to change the file at path. To open it for writing may work.
func attack(t *testing.T, path string) {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ETXTBSY) || errors.Is(err, unix.EPERM) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Pwrite(fd, []byte("x"), 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("%s: pwrite: %v", path, err)
	}
	if _, err := unix.Mmap(fd, 0, 1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); !errors.Is(err, unix.EPERM) {
		t.Errorf("%s: mmap: %v", path, err)
	}
	for _, size := range []int64{0, 1 << 20} {
		if err := unix.Ftruncate(fd, size); !errors.Is(err, unix.EPERM) {
			t.Errorf("%s: ftruncate to %d: %v", path, size, err)
		}
	}
	if err := unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096); !errors.Is(err, unix.EPERM) {
		t.Errorf("%s: fallocate: %v", path, err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_FUTURE_WRITE); !errors.Is(err, unix.EPERM) {
		t.Errorf("%s: further seals: %v", path, err)
	}
}

// attackMode tries to make the file not executable or set-user-id, which
// F_SEAL_EXEC forbids where the kernel has it (6.3).
func attackMode(t *testing.T, fd int) {
	t.Helper()
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
	if seals&want != want {
		t.Errorf("seals %#x, want at least %#x", seals, want)
	}
	probe, err := unix.MemfdCreate("probe", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) {
		t.Log("this kernel has no F_SEAL_EXEC")
		return
	}
	unix.Close(probe)
	if seals&unix.F_SEAL_EXEC == 0 {
		t.Errorf("seals %#x are without F_SEAL_EXEC", seals)
	}
	if err := unix.Fchmod(fd, 0o644); !errors.Is(err, unix.EPERM) {
		t.Errorf("fchmod: %v", err)
	}
}

func TestImageIsNotShared(t *testing.T) {
	a, b := launch(t, Config{}), launch(t, Config{})
	if stat(t, exePath(a)).Ino == stat(t, exePath(b)).Ino {
		t.Error("two stubs execute the same file")
	}
}

func TestImageMappings(t *testing.T) {
	s := launch(t, Config{})
	run(t, s, func(b *kernel.Batch) { b.Umask(0) })
	maps, err := os.ReadFile("/proc/" + strconv.Itoa(s.PID) + "/maps")
	if err != nil {
		t.Fatal(err)
	}
	executable := 0
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line)
		if strings.Contains(f[1], "w") && strings.Contains(f[1], "x") {
			t.Errorf("writable and executable: %s", line)
		}
		if strings.Contains(f[1], "x") && !strings.HasPrefix(f[len(f)-1], "[v") {
			executable++
		}
	}
	if executable != 1 {
		t.Errorf("%d executable mappings:\n%s", executable, maps)
	}
}

// The memory's size must not change under tongs, which would get SIGBUS.
func TestMemoryIsSealed(t *testing.T) {
	fd, err := openMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, size := range []int64{0, 4096, 1 << 30} {
		if err := unix.Ftruncate(fd, size); !errors.Is(err, unix.EPERM) {
			t.Errorf("ftruncate to %d: %v", size, err)
		}
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); !errors.Is(err, unix.EPERM) {
		t.Errorf("further seals: %v", err)
	}
}

// fromFile checks that the stub executes an unlinked file of dir.
func fromFile(t *testing.T, s *Stub, dir string) {
	t.Helper()
	run(t, s, func(b *kernel.Batch) { b.Umask(0) })
	target, err := os.Readlink(exePath(s))
	if err != nil || !strings.HasPrefix(target, dir+"/") || !strings.HasSuffix(target, " (deleted)") {
		t.Errorf("the stub executes %q (%v), want an unlinked file in %s", target, err, dir)
	}
	if st := stat(t, exePath(s)); st.Nlink != 0 || st.Mode&0o777&^0o500 != 0 {
		t.Errorf("the stub's file has %d names, mode %o", st.Nlink, st.Mode)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 0 {
		t.Errorf("%s has %v, %v", dir, list, err)
	}
	fd, err := unix.Open(exePath(s), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	err = unix.Linkat(fd, "", unix.AT_FDCWD, dir+"/named", unix.AT_EMPTY_PATH)
	if err == nil {
		t.Error("the stub's file can be given a name")
	}
}

func TestImageFile(t *testing.T) {
	dir := t.TempDir()
	a := launch(t, Config{NoMemfd: true, ImageDirs: []string{dir}})
	b := launch(t, Config{NoMemfd: true, ImageDirs: []string{dir}})
	fromFile(t, a, dir)
	if stat(t, exePath(a)).Ino == stat(t, exePath(b)).Ino {
		t.Error("two stubs execute the same file")
	}
}

func TestImageNowhere(t *testing.T) {
	if !isChild(t.Name()) {
		again(t, t.Name(), &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS})
		return
	}
	noexec := t.TempDir()
	// Go has made the propagation private with the mount namespace.
	if err := unix.Mount("tmpfs", noexec, "tmpfs", unix.MS_NOEXEC, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(noexec, unix.MNT_DETACH)
	missing := t.TempDir() + "/missing"
	_, err := Start(Config{NoMemfd: true, ImageDirs: []string{noexec, missing}, CgroupFD: -1})
	want := "cannot make the stub's executable: memfds are not to be used\n" +
		fmt.Sprintf("cannot make an executable file in %q: mounted noexec\n", noexec) +
		fmt.Sprintf("cannot make an executable file in %q: no such file or directory", missing)
	if message(err) != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	dir := t.TempDir() // the next one in the list serves
	fromFile(t, launch(t, Config{NoMemfd: true, ImageDirs: []string{noexec, missing, dir}}), dir)
}

// vm.memfd_noexec belongs to the PID namespace: set in a new one, it holds
// for this test alone.
func TestImageMemfdForbidden(t *testing.T) {
	const sysctl = "/proc/sys/vm/memfd_noexec"
	if !isChild(t.Name()) {
		if _, err := os.Stat(sysctl); err != nil {
			t.Skip("this kernel has no vm.memfd_noexec (6.3)")
		}
		before, _ := os.ReadFile(sysctl)
		again(t, t.Name(), &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Unshareflags: unix.CLONE_NEWNS})
		if after, _ := os.ReadFile(sysctl); string(after) != string(before) {
			t.Errorf("%s was %q and is %q", sysctl, before, after)
		}
		return
	}
	// Go has made the propagation private with the mount namespace.
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sysctl, []byte("2"), 0); err != nil {
		t.Fatal(err)
	}
	_, err := Start(Config{CgroupFD: -1})
	if want := "cannot make the stub's executable: vm.memfd_noexec forbids executable memfds"; message(err) != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	dir := t.TempDir()
	fromFile(t, launch(t, Config{ImageDirs: []string{dir}}), dir)
}
