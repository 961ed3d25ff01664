package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/internal/container"
)

func killCommand() command {
	return command{
		name:  "kill",
		args:  "ID [SIGNAL]",
		short: "send a signal to the first process of a container",
		about: "SIGNAL is a number or a name such as KILL or SIGKILL; the default is TERM.\n\nexample: tongs kill web1 HUP\n",
		flags: func(fs *flagSet, o *options) {
			fs.boolVar(&o.all, "all", "a", "")
			// runc kept the flag for its callers (containerd passes it) and
			// reduced it to this: a container that has ended is no error.
			fs.hide()
		},
		min: 1, max: 2,
		run: runKill,
	}
}

func runKill(a *app, o *options, args []string) (int, error) {
	sig := unix.SIGTERM
	if len(args) > 1 && args[1] != "" {
		var err error
		if sig, err = parseSignal(args[1]); err != nil {
			return exitFailure, err
		}
	}
	s, err := a.store()
	if err != nil {
		return exitFailure, err
	}
	defer s.Close()
	err = container.Kill(s, args[0], sig)
	if o.all && errors.Is(err, container.ErrNotRunning) {
		return exitOK, nil
	}
	if err != nil {
		return exitFailure, err
	}
	return exitOK, nil
}

// maxSignal is the kernel's _NSIG.
const maxSignal = 64

// parseSignal takes a number, or a name in any case with or without "SIG". The
// real-time signals are RTMIN, RTMIN+n, RTMAX-n and RTMAX of the C library,
// which keeps the kernel's first two for itself (signal(7)).
func parseSignal(s string) (unix.Signal, error) {
	unknown := fmt.Errorf("unknown signal %q", s) // runc's phrase
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > maxSignal {
			return 0, unknown
		}
		return unix.Signal(n), nil
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if sig := unix.SignalNum("SIG" + name); sig != 0 {
		return sig, nil
	}
	const first, last = 34, maxSignal
	n := 0
	if rest, ok := strings.CutPrefix(name, "RTMIN"); ok {
		n = first + offset(rest, '+')
	} else if rest, ok := strings.CutPrefix(name, "RTMAX"); ok {
		n = last - offset(rest, '-')
	}
	if n < first || n > last {
		return 0, unknown
	}
	return unix.Signal(n), nil
}

// offset reads "+3" or "-3"; what is neither this nor empty gets a number out
// of every range.
func offset(s string, sign byte) int {
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s[1:], 10, 8)
	if err != nil || s[0] != sign {
		return 1000
	}
	return int(n)
}
