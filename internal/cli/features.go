package cli

import (
	"encoding/json"
	"os"

	"tongs/internal/setup"
)

func featuresCommand() command {
	return command{
		name:  "features",
		short: "print what configurations may ask for, as JSON",
		about: "\nexample: tongs features | jq .linux.namespaces\n",
		run: func(*app, *options, []string) (int, error) {
			data, err := json.MarshalIndent(setup.Features(), "", "    ")
			if err != nil {
				return exitFailure, err
			}
			if _, err := os.Stdout.Write(append(data, '\n')); err != nil {
				return exitFailure, err
			}
			return exitOK, nil
		},
	}
}
