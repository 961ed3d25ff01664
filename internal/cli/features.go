package cli

import (
	"encoding/json"
	"os"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go/features"

	"tongs/internal/container"
	"tongs/internal/probe"
	"tongs/internal/setup"
)

func featuresCommand() command {
	return command{
		name:  "features",
		args:  "[PATH...]",
		short: "print what configurations may ask for, as JSON",
		about: "PATH is where --probe tries mounts with mapped owners.\n\nexample: tongs features --probe | jq '.probe[] | select(.ok | not)'\n",
		flags: func(fs *flagSet, o *options) {
			fs.boolVar(&o.probe, "probe", "", "add what this machine really allows, with reasons")
		},
		max: 1 << 20,
		run: runFeatures,
	}
}

// allFeatures is the specification's object and, if asked for, what was found on
// the machine, under a key that the specification leaves free.
type allFeatures struct {
	*features.Features
	Probe []probe.Finding `json:"probe,omitempty"`
}

func runFeatures(a *app, o *options, paths []string) (int, error) {
	f := allFeatures{Features: setup.Features()}
	f.Annotations = map[string]string{"tongs.version": a.version, "tongs.commit": a.commit,
		"org.opencontainers.runc.checkpoint.enabled": "true"} // where callers look for it
	sec := f.Linux.Seccomp
	sec.SupportedFlags = slices.DeleteFunc(probe.SeccompFlags(), func(name string) bool { return !slices.Contains(sec.KnownFlags, name) })
	if o.probe {
		f.Probe = container.Probe(a.stateRoot(), paths)
	}
	data, err := json.MarshalIndent(f, "", "    ")
	if err != nil {
		return exitFailure, err
	}
	if _, err := os.Stdout.Write(append(data, '\n')); err != nil {
		return exitFailure, err
	}
	return exitOK, nil
}
