package cli

import (
	"tongs/internal/container"
)

func deleteCommand() command {
	return command{
		name:  "delete",
		args:  "ID",
		short: "remove a container and all that was made for it",
		about: "example: tongs delete --force web1\n",
		flags: func(fs *flagSet, o *options) {
			fs.boolVar(&o.force, "force", "f", "kill what runs; a missing one is no error")
		},
		min: 1, max: 1,
		run: runDelete,
	}
}

func runDelete(a *app, o *options, args []string) (int, error) {
	s, err := a.store()
	if err != nil {
		return exitFailure, err
	}
	defer s.Close()
	if err := container.Delete(s, args[0], o.force, a.log.warn); err != nil {
		return exitFailure, err
	}
	return exitOK, nil
}
