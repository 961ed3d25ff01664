package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"tongs/internal/container"
)

func listCommand() command {
	return command{
		name:  "list",
		short: "list the containers below --root",
		about: "example: tongs list -q\n",
		flags: func(fs *flagSet, o *options) {
			fs.stringVar(&o.format, "format", "f", "table", "`FORMAT` of the list: table (default) or json")
			fs.boolVar(&o.quiet, "quiet", "q", "print only the names")
		},
		run: runList,
	}
}

func runList(a *app, o *options, _ []string) (int, error) {
	s, err := a.store()
	if err != nil {
		return exitFailure, err
	}
	defer s.Close()
	// Broken containers are told of on standard error, whatever --log says: they
	// are part of the answer.
	infos, err := container.List(s, func(msg string) { os.Stderr.WriteString(msg + "\n") })
	if err != nil {
		return exitFailure, err
	}
	text, err := formatList(infos, o)
	if err != nil {
		return exitFailure, err
	}
	if _, err := os.Stdout.WriteString(text); err != nil {
		return exitFailure, fmt.Errorf("cannot print list: %v", err)
	}
	return exitOK, nil
}

func formatList(infos []*container.Info, o *options) (string, error) {
	var b strings.Builder
	if o.quiet {
		for _, i := range infos {
			b.WriteString(i.State.ID + "\n")
		}
		return b.String(), nil
	}
	var reports []report // nil prints as null, as with runc
	for _, i := range infos {
		r := newReport(i)
		r.Owner = userName(i.UID)
		reports = append(reports, r)
	}
	switch o.format {
	case "table":
		w := tabwriter.NewWriter(&b, 12, 1, 3, ' ', 0)
		fmt.Fprint(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n")
		for _, r := range reports {
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n",
				r.ID, r.PID, r.Status, r.Bundle, r.Created.Format(time.RFC3339Nano), r.Owner)
		}
		if err := w.Flush(); err != nil {
			return "", fmt.Errorf("cannot format list: %v", err)
		}
	case "json":
		if err := json.NewEncoder(&b).Encode(reports); err != nil {
			return "", fmt.Errorf("cannot format list: %v", err)
		}
	default:
		return "", errors.New("invalid format option") // runc's phrase
	}
	return b.String(), nil
}

// userName looks a uid up in the host's /etc/passwd; "#UID" if it is not there.
// os/user would do the same and costs at start-up.
func userName(uid int) string {
	data, err := os.ReadFile("/etc/passwd")
	if err == nil {
		for line := range strings.Lines(string(data)) {
			f := strings.SplitN(line, ":", 4)
			if len(f) == 4 && f[2] == strconv.Itoa(uid) {
				return f[0]
			}
		}
	}
	return "#" + strconv.Itoa(uid)
}
