package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"tongs/internal/container"
)

func psCommand() command {
	return command{
		name:  "ps",
		args:  "ID [PS-OPTION...]",
		short: "list the processes of a container",
		about: "The table is that of ps(1), by default with -ef.\n\nexample: tongs ps web1 -o pid,rss,args\n",
		flags: func(fs *flagSet, o *options) {
			fs.stringVar(&o.format, "format", "f", "table", "`table` or json, an array of process ids")
		},
		min: 1, max: 1 << 20,
		run: runPs,
	}
}

func runPs(a *app, o *options, args []string) (int, error) {
	if o.format != "table" && o.format != "json" {
		return exitFailure, fmt.Errorf("invalid format option") // runc's phrase
	}
	s, err := a.store()
	if err != nil {
		return exitFailure, err
	}
	defer s.Close()
	pids, err := container.Processes(s, args[0])
	if err != nil {
		return exitFailure, err
	}
	text := ""
	if o.format == "json" {
		list, err := json.Marshal(append([]int{}, pids...))
		if err != nil {
			return exitFailure, err
		}
		text = string(list)
	} else if text, err = psTable(pids, args[1:]); err != nil {
		return exitFailure, err
	}
	if _, err := os.Stdout.WriteString(text); err != nil {
		return exitFailure, err
	}
	return exitOK, nil
}

// psTable is what ps(1) prints, reduced to the header and the container's
// processes, which it finds by the column PID.
func psTable(pids []int, args []string) (string, error) {
	if len(args) == 0 {
		args = []string{"-ef"}
	}
	out, err := ps(args)
	if err != nil {
		return "", fmt.Errorf("cannot run ps: %w", err)
	}
	header, rows, _ := strings.Cut(out, "\n")
	column := slices.Index(strings.Fields(header), "PID")
	if column < 0 {
		return "", fmt.Errorf("couldn't find PID field in ps output") // runc's phrase
	}
	var table strings.Builder
	table.WriteString(header + "\n")
	for row := range strings.Lines(rows) {
		fields := strings.Fields(row)
		if len(fields) <= column {
			continue
		}
		if pid, err := strconv.Atoi(fields[column]); err == nil && slices.Contains(pids, pid) {
			table.WriteString(row)
		}
	}
	return table.String(), nil
}

// ps runs ps(1) and returns what it prints. Package os/exec would cost every
// command some start-up time.
func ps(args []string) (string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	err = os.ErrNotExist
	var p *os.Process
	for dir := range strings.SplitSeq(os.Getenv("PATH"), ":") {
		if p, err = os.StartProcess(dir+"/ps", append([]string{"ps"}, args...), &os.ProcAttr{Files: []*os.File{nil, w, w}}); err == nil {
			break
		}
	}
	w.Close()
	if err != nil {
		return "", err
	}
	out, err := io.ReadAll(r)
	if err != nil {
		return "", err
	}
	st, err := p.Wait()
	if err == nil && !st.Success() {
		err = fmt.Errorf("%s: %s", st, strings.TrimSpace(string(out)))
	}
	return string(out), err
}
