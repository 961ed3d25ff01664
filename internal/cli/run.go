package cli

import (
	"fmt"

	"tongs/internal/container"
)

func runCommand() command {
	return command{
		name:  "run",
		args:  "ID",
		short: "make a container, start it and wait for its end",
		about: "The exit status is the program's, or 128 plus the signal that ended it.\n\nexample: tongs run -b /bundles/web web1\n",
		flags: func(fs *flagSet, o *options) {
			createFlags(fs, o)
			fs.boolVar(&o.detach, "detach", "d", "return when the container has started")
			fs.boolVar(&o.keep, "keep", "", "keep the container when it has stopped")
			fs.boolVar(&o.noSubreaper, "no-subreaper", "", "do not reap orphans of the container")
		},
		min: 1, max: 1,
		run: runRun,
	}
}

func runRun(a *app, o *options, args []string) (int, error) {
	code, err := a.run(o, args[0])
	if err != nil {
		return exitFailure, fmt.Errorf("tongs run failed: %w", err)
	}
	return code, nil
}

func (a *app) run(o *options, id string) (int, error) {
	s, err := a.store()
	if err != nil {
		return exitFailure, err
	}
	defer s.Close()
	co := a.createOptions(o, id)
	co.Detach = o.detach
	return container.Run(s, co, container.RunOptions{Keep: o.keep, NoSubreaper: o.noSubreaper})
}
