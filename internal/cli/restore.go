package cli

import (
	"fmt"

	"tongs/internal/container"
)

func restoreCommand() command {
	return command{
		name:  "restore",
		args:  "ID",
		short: "make a container of the files of a checkpoint",
		about: "The exit status is the program's, or 128 plus the signal that ended it.\n\nexample: tongs restore -d -b /bundles/web --image-path /srv/web1 web1\n",
		flags: restoreFlags,
		min:   1, max: 1,
		run: runRestore,
	}
}

func restoreFlags(fs *flagSet, o *options) {
	r := &o.restore
	fs.stringVar(&o.bundle, "bundle", "b", "", "`DIR` of config.json (default: where we are)")
	fs.stringVar(&o.consoleSocket, "console-socket", "", "", "send the terminal's master to this AF_UNIX `PATH`")
	fs.stringVar(&o.pidFile, "pid-file", "", "", "write the process id to `FILE`")
	fs.boolVar(&o.detach, "detach", "d", "return when the container has been restored")
	fs.boolVar(&o.noSubreaper, "no-subreaper", "", "do not reap orphans of the container")
	fs.boolVar(&o.noPivot, "no-pivot", "", "without effect: CRIU decides")
	imageFlags(fs, &r.ImageOptions)
	fs.stringVar(&r.LSMProfile, "lsm-profile", "", "", "restore with the security profile `TYPE:NAME`")
	fs.stringVar(&r.LSMContext, "lsm-mount-context", "", "", "mount with this SELinux `CONTEXT`")
}

func runRestore(a *app, o *options, args []string) (int, error) {
	code, err := a.restore(o, args[0])
	if err != nil {
		return exitFailure, fmt.Errorf("tongs restore failed: %w", err)
	}
	return code, nil
}

func (a *app) restore(o *options, id string) (int, error) {
	s, err := a.store()
	if err != nil {
		return exitFailure, err
	}
	defer s.Close()
	r := o.restore
	if err := imagePath(&r.ImageOptions); err != nil {
		return exitFailure, err
	}
	r.CreateOptions = a.createOptions(o, id)
	r.Detach, r.NoSubreaper, r.ListenFDs = o.detach, o.noSubreaper, 0
	return container.Restore(s, r)
}
