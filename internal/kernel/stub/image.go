package stub

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel/stub/code"
)

// openImage makes a new executable file of the stub, one for each process, so
// that two containers never share its pages. It is a sealed memfd where the
// kernel lets those be executed (vm.memfd_noexec, 6.3) and otherwise an
// unlinked file in the first of dirs that can hold one. The descriptor is
// read-only for whoever gets it by /proc/PID/exe.
func openImage(dirs []string, forbidMemfd bool) (int, error) {
	image := code.Image(machine, code.Bytes())
	failures := []error{errors.New("memfds are not to be used")}
	if !forbidMemfd {
		fd, err := memfdImage(image)
		if err == nil {
			return fd, nil
		}
		if !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
			return -1, err
		}
		failures[0] = errors.New("vm.memfd_noexec forbids executable memfds")
	}
	for _, dir := range dirs {
		fd, err := fileImage(dir, image)
		if err == nil {
			return fd, nil
		}
		failures = append(failures, errors.New("cannot make an executable file in "+strconv.Quote(dir)+": "+err.Error()))
	}
	return -1, errors.Join(failures...)
}

func memfdImage(image []byte) (int, error) {
	fd, err := unix.MemfdCreate("tongs:stub", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before 6.3 every memfd is executable
		fd, err = unix.MemfdCreate("tongs:stub", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return -1, err
	}
	if err := writeAll(fd, image); err != nil {
		unix.Close(fd)
		return -1, err
	}
	seals := unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_EXEC | unix.F_SEAL_SEAL
	_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	if errors.Is(err, unix.EINVAL) {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals&^unix.F_SEAL_EXEC)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// fileImage writes the image to an unlinked file and opens it again for
// reading: a file that is open for writing cannot be executed (ETXTBSY).
// O_EXCL: nobody can give it a name (open(2)).
func fileImage(dir string, image []byte) (int, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return -1, err
	}
	if fs.Flags&unix.ST_NOEXEC != 0 {
		return -1, errors.New("mounted noexec")
	}
	w, err := unix.Open(dir, unix.O_TMPFILE|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o500)
	if err != nil {
		return -1, err
	}
	defer unix.Close(w)
	if err := writeAll(w, image); err != nil {
		return -1, err
	}
	return unix.Open("/proc/self/fd/"+strconv.Itoa(w), unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

func writeAll(fd int, data []byte) error {
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// openMemory makes the file behind the shared memory. Its size is sealed: a
// truncation by the other side would otherwise kill us with SIGBUS.
func openMemory() (int, error) {
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("tongs:calls", flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before 6.3
		fd, err = unix.MemfdCreate("tongs:calls", flags)
	}
	if err != nil {
		return -1, err
	}
	if err := unix.Ftruncate(fd, code.Size); err != nil {
		unix.Close(fd)
		return -1, err
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
