package config

import (
	"testing"

	"tongs/internal/linuxtest"
	"tongs/test/inside/report"
)

func TestMain(m *testing.M) { linuxtest.Main(m) }

// difference is a linuxtest.Difference: docs/differences.md tells users.
type difference struct {
	key    string
	reason string
}

// row is a container that is made by both runtimes.
type row struct {
	name        string
	edits       []linuxtest.Edit
	check       func(t *testing.T, r *report.Report) // of what tongs made
	differences []difference
	onlyTongs   string // why runc 1.1.5 is not asked
}

// each runs the rows.
func each(t *testing.T, h *linuxtest.Host, rows []row) {
	t.Helper()
	var list []linuxtest.Row
	for _, c := range rows {
		r := linuxtest.Row{Name: c.name, Edits: c.edits, Check: c.check, OnlyTongs: c.onlyTongs}
		for _, d := range c.differences {
			r.Differences = append(r.Differences, linuxtest.Difference{Key: d.key, Reason: d.reason})
		}
		list = append(list, r)
	}
	h.Rows(t, list)
}

func group(optional string) string { return linuxtest.Group(optional) }

func hostNamespace(t *testing.T, ns string) string {
	t.Helper()
	return linuxtest.HostNamespace(t, ns)
}
