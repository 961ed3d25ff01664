package cli

import (
	"encoding/json"
	"errors"
	"os"
	"time"

	"tongs/internal/container"
)

func eventsCommand() command {
	return command{
		name:  "events",
		args:  "ID",
		short: "print statistics and lacks of memory as they come",
		about: "One JSON object a line, until the container ends.\n\nexample: tongs events --stats web1\n",
		flags: func(fs *flagSet, o *options) {
			fs.durationVar(&o.interval, "interval", 5*time.Second, "print statistics every `DURATION`")
			fs.boolVar(&o.stats, "stats", "", "print statistics once")
		},
		min: 1, max: 1,
		run: runEvents,
	}
}

func runEvents(a *app, o *options, args []string) (int, error) {
	if o.interval <= 0 {
		return exitFailure, errors.New("duration interval must be greater than 0") // runc's phrase
	}
	s, err := a.store()
	if err != nil {
		return exitFailure, err
	}
	defer s.Close()
	out := json.NewEncoder(os.Stdout)
	emit := func(e *container.Event) error { return out.Encode(e) }
	if o.stats {
		var e *container.Event
		if e, err = container.ReadStats(s, args[0]); err == nil {
			err = emit(e)
		}
	} else {
		err = container.Watch(s, args[0], o.interval, emit, a.log.warn)
	}
	if err != nil {
		return exitFailure, err
	}
	return exitOK, nil
}
