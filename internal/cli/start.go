package cli

import (
	"os"

	"tongs/internal/container"
)

func startCommand() command {
	return command{
		name:  "start",
		args:  "ID",
		short: "start the program of a created container",
		about: "example: tongs start web1\n",
		min:   1, max: 1,
		run: runStart,
	}
}

func runStart(a *app, _ *options, args []string) (int, error) {
	s, err := a.store()
	if err != nil {
		return exitFailure, err
	}
	defer s.Close()
	if err := container.Start(s, args[0], os.Getenv("NOTIFY_SOCKET"), a.log.warn); err != nil {
		return exitFailure, err
	}
	return exitOK, nil
}
