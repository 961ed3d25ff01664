package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"tongs/internal/container"
)

// report is what `state` and `list` tell about a container. Keys and order are
// runc's: the specification's state, and rootfs, created and owner. podman,
// cri-o and conmon read it.
type report struct {
	OCIVersion  string            `json:"ociVersion"`
	ID          string            `json:"id"`
	PID         int               `json:"pid"`
	Status      string            `json:"status"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Owner       string            `json:"owner"` // empty in `state`
}

func newReport(i *container.Info) report {
	st := i.State
	return report{
		OCIVersion:  st.Tongs.OCIVersion,
		ID:          st.ID,
		PID:         i.PID(),
		Status:      string(i.Status),
		Bundle:      st.Tongs.Bundle,
		Rootfs:      st.Config.Rootfs,
		Created:     st.Created,
		Annotations: st.Tongs.Annotations,
	}
}

func stateCommand() command {
	return command{
		name:  "state",
		args:  "ID",
		short: "print the state of a container as JSON",
		about: "example: tongs state web1\n",
		min:   1, max: 1,
		run: runState,
	}
}

func runState(a *app, _ *options, args []string) (int, error) {
	s, err := a.store()
	if err != nil {
		return exitFailure, err
	}
	defer s.Close()
	info, err := container.Query(s, args[0])
	if err != nil {
		return exitFailure, err
	}
	if _, err := os.Stdout.WriteString(newReport(info).indented()); err != nil {
		return exitFailure, fmt.Errorf("cannot print state: %v", err)
	}
	return exitOK, nil
}

// indented is what json.MarshalIndent gives, without the cost of its first use,
// and as with runc without a newline at the end. A test compares the two.
func (r report) indented() string {
	var b strings.Builder
	field := func(key, value string) {
		b.WriteString("  \"" + key + "\": " + value + ",\n")
	}
	b.WriteString("{\n")
	field("ociVersion", quoteHTML(r.OCIVersion))
	field("id", quoteHTML(r.ID))
	field("pid", strconv.Itoa(r.PID))
	field("status", quoteHTML(r.Status))
	field("bundle", quoteHTML(r.Bundle))
	field("rootfs", quoteHTML(r.Rootfs))
	field("created", `"`+r.Created.Format(time.RFC3339Nano)+`"`)
	if len(r.Annotations) > 0 {
		var pairs []string
		for _, k := range slices.Sorted(maps.Keys(r.Annotations)) {
			pairs = append(pairs, "    "+quoteHTML(k)+": "+quoteHTML(r.Annotations[k]))
		}
		field("annotations", "{\n"+strings.Join(pairs, ",\n")+"\n  }")
	}
	b.WriteString(`  "owner": ` + quoteHTML(r.Owner) + "\n}")
	return b.String()
}

// quoteHTML quotes a string as json.Marshal does.
func quoteHTML(s string) string {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // a string cannot fail
			return string(quoted)
		}
	}
	return `"` + s + `"`
}
