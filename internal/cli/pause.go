package cli

import (
	"tongs/internal/container"
	"tongs/internal/state"
)

func pauseCommand() command {
	return command{
		name:  "pause",
		args:  "ID",
		short: "freeze all processes of a container",
		about: "\nexample: tongs pause web1\n",
		min:   1, max: 1,
		run: func(a *app, _ *options, args []string) (int, error) { return a.withStore(args[0], container.Pause) },
	}
}

func resumeCommand() command {
	return command{
		name:  "resume",
		args:  "ID",
		short: "let the processes of a paused container go on",
		about: "\nexample: tongs resume web1\n",
		min:   1, max: 1,
		run: func(a *app, _ *options, args []string) (int, error) { return a.withStore(args[0], container.Resume) },
	}
}

// withStore does something with one container.
func (a *app) withStore(id string, do func(*state.Store, string) error) (int, error) {
	s, err := a.store()
	if err != nil {
		return exitFailure, err
	}
	defer s.Close()
	if err := do(s, id); err != nil {
		return exitFailure, err
	}
	return exitOK, nil
}
