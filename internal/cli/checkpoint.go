package cli

import (
	"os"
	"path/filepath"

	"tongs/internal/container"
	"tongs/internal/state"
)

func checkpointCommand() command {
	return command{
		name:  "checkpoint",
		args:  "ID",
		short: "save a running container in files, and end it",
		about: "CRIU does the work and must be installed.\n\nexample: tongs checkpoint --image-path /srv/web1 web1\n",
		flags: checkpointFlags,
		min:   1, max: 1,
		run: runCheckpoint,
	}
}

func checkpointFlags(fs *flagSet, o *options) {
	c := &o.checkpoint
	imageFlags(fs, &c.ImageOptions)
	fs.stringVar(&c.ParentPath, "parent-path", "", "", "earlier pre-dump, a `DIR` relative to the files")
	fs.boolVar(&c.LeaveRunning, "leave-running", "", "let the container go on")
	fs.boolVar(&c.TCPSkipInFlight, "tcp-skip-in-flight", "", "leave TCP connections out that are being made")
	fs.boolVar(&c.LinkRemap, "link-remap", "", "give files that are open and deleted a name")
	fs.intVar(&c.StatusFD, "status-fd", -1, "tell descriptor `N` when pages can be fetched")
	fs.stringVar(&c.PageServer, "page-server", "", "", "send memory to the page server at `ADDRESS:PORT`")
	fs.boolVar(&c.PreDump, "pre-dump", "", "save memory only, and let the container go on")
}

// imageFlags are those of checkpoint and restore.
func imageFlags(fs *flagSet, o *container.ImageOptions) {
	fs.stringVar(&o.ImagePath, "image-path", "", "", "`DIR` of the files (default: checkpoint)")
	fs.stringVar(&o.WorkPath, "work-path", "", "", "`DIR` of logs (default: that of the files)")
	fs.boolVar(&o.TCPEstablished, "tcp-established", "", "allow open TCP connections")
	fs.boolVar(&o.ExtUnixSockets, "ext-unix-sk", "", "allow Unix sockets that lead out of it")
	fs.boolVar(&o.ShellJob, "shell-job", "", "allow a session or terminal from outside")
	fs.boolVar(&o.FileLocks, "file-locks", "", "allow file locks")
	fs.boolVar(&o.LazyPages, "lazy-pages", "", "move memory when it is used (userfaultfd)")
	fs.stringVar(&o.CgroupMode, "manage-cgroups-mode", "", "", "`MODE` for cgroups: soft, full, strict, ignore")
	fs.listVar(&o.EmptyNS, "empty-ns", "", "network: without devices, which is always so")
	fs.boolVar(&o.AutoDedup, "auto-dedup", "", "keep each page of memory once in a chain of files")
}

// imagePath is where the files are if the caller does not say.
func imagePath(o *container.ImageOptions) error {
	if o.ImagePath != "" {
		return nil
	}
	dir, err := os.Getwd()
	o.ImagePath = filepath.Join(dir, "checkpoint")
	return err
}

func runCheckpoint(a *app, o *options, args []string) (int, error) {
	c := o.checkpoint
	c.Warn = a.log.warn
	if err := imagePath(&c.ImageOptions); err != nil {
		return exitFailure, err
	}
	return a.withStore(args[0], func(s *state.Store, id string) error { return container.Checkpoint(s, id, c) })
}
