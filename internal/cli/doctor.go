package cli

import (
	"fmt"
	"os"
	"strings"

	"tongs/internal/container"
	"tongs/internal/probe"
)

func doctorCommand() command {
	return command{
		name:  "doctor",
		args:  "[PATH...]",
		short: "say what works on this machine and what does not",
		about: "For the user who asks: ask as root and as yourself. PATH is where mounts with\nmapped owners are tried. The exit status is 1 if no container can run.\n\nexample: tongs doctor /srv\n",
		max:   1 << 20,
		run: func(a *app, _ *options, paths []string) (int, error) {
			text, ok := diagnosis(container.Probe(a.stateRoot(), paths))
			if _, err := os.Stdout.WriteString(text); err != nil || !ok {
				return exitFailure, err
			}
			return exitOK, nil
		},
	}
}

// diagnosis is the report, and whether containers can run.
func diagnosis(list []probe.Finding) (string, bool) {
	var text strings.Builder
	broken := 0
	for _, f := range list {
		if f.OK {
			fmt.Fprintf(&text, "works    %s%s\n", f.Name, behind(f.Detail))
			continue
		}
		word := "missing "
		if f.Required {
			word = "BROKEN  "
			broken++
		}
		fmt.Fprintf(&text, "%s %s%s\n         needed for: %s\n", word, f.Name, behind(f.Reason), f.Serves)
		if f.Remedy != "" {
			fmt.Fprintf(&text, "         remedy: %s\n", f.Remedy)
		}
	}
	who := "root"
	if uid := os.Geteuid(); uid != 0 {
		who = fmt.Sprintf("user %d", uid)
	}
	if broken > 0 {
		fmt.Fprintf(&text, "\nContainers of %s cannot run here: see what is BROKEN.\n", who)
	} else {
		fmt.Fprintf(&text, "\nContainers of %s can run here.\n", who)
	}
	return text.String(), broken == 0
}

func behind(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}
