package container

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"tongs/internal/criu"
	"tongs/internal/kernel"
	"tongs/internal/setup"
)

// openOnHost opens what the restore needs of the host, all images of the chain
// among it.
func (r *restoration) openOnHost() error {
	parents, err := r.dirs.images.Parents()
	for _, d := range parents {
		defer d.Close()
	}
	if err != nil {
		return fmt.Errorf("--image-path: %w", err)
	}
	for _, d := range append([]*criu.Directory{r.dirs.images}, parents...) {
		r.env.Restore.Images = append(r.env.Restore.Images, kernel.NewHandle(int64(d.FD()), "images"))
	}
	return r.env.Do(setup.RestoreHostOrder())
}

// hidden is the directory that CRIU's mounts are put over: that of all states,
// which CRIU has no use for, or the first on its path that others cannot search,
// since root of a user namespace must get there.
func hidden(store string) string {
	for i, c := range store {
		if c != '/' || i == 0 {
			continue
		}
		if st, err := os.Stat(store[:i]); err != nil || st.Mode()&0o001 == 0 {
			return store[:i]
		}
	}
	return store
}

// openDirs opens directories as they are in CRIU's mount namespace: that of its
// work, where CRIU must be to mount anything there, and images that are shown there.
func (r *restoration) openDirs() (err error) {
	root := "/proc/" + strconv.Itoa(r.stub.PID) + "/root"
	open := func(field, dir string) (int, error) {
		fd, err := unix.Open(root+dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, fmt.Errorf("%s: cannot open %q: %w", field, root+dir, err)
		}
		r.within = append(r.within, fd)
		return fd, nil
	}
	if r.opts.WorkDir, err = open("--work-path", r.env.Restore.WorkDir()); err == nil && r.env.Restore.Shown {
		r.opts.ImagesDir, err = open("--image-path", r.env.Restore.ImagesDir())
	}
	return err
}

func (r *restoration) closeDirs() {
	for _, fd := range r.within {
		unix.Close(fd)
	}
	r.dirs.close()
}
