package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"tongs/internal/bundle"
)

const configName = "config.json"

func specCommand() command {
	return command{
		name:  "spec",
		short: "write an example config.json",
		about: "The example runs a shell from the directory rootfs.\n\nexample: tongs spec --rootless\n",
		flags: func(fs *flagSet, o *options) {
			fs.stringVar(&o.bundle, "bundle", "b", "", "`DIR` to write to (default: where we are)")
			fs.boolVar(&o.rootless, "rootless", "", "for a user without privileges")
		},
		run: runSpec,
	}
}

func runSpec(_ *app, o *options, _ []string) (int, error) {
	spec := bundle.Example()
	if o.rootless {
		spec = bundle.ExampleRootless(uint32(os.Geteuid()), uint32(os.Getegid()))
	}
	data, err := json.MarshalIndent(spec, "", "\t")
	if err != nil {
		return exitFailure, fmt.Errorf("cannot encode %s: %v", configName, err)
	}
	// O_EXCL: never over somebody's work, not even by a race.
	f, err := os.OpenFile(filepath.Join(o.bundle, configName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return exitFailure, fmt.Errorf("File %s exists. Remove it first", configName) // runc's phrase
	}
	if err != nil {
		return exitFailure, fmt.Errorf("cannot make %s: %v", configName, err)
	}
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return exitFailure, fmt.Errorf("cannot write %s: %v", configName, err)
	}
	return exitOK, nil
}
