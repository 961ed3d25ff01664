package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"time"
)

// logger writes one record a line, each with one write, in the formats of runc
// (which are logrus's). containerd decodes a JSON log as a stream of objects and
// takes the last one whose level is exactly "error"; one byte that is not JSON,
// or a time that is not RFC 3339, makes it give up.
type logger struct {
	out     *os.File
	json    bool
	verbose bool
}

func newLogger(out *os.File, format string) *logger {
	return &logger{out: out, json: format == "json"}
}

func (l *logger) debug(msg string) {
	if l.verbose {
		l.record("debug", msg)
	}
}

func (l *logger) info(msg string) { l.record("info", msg) }

func (l *logger) warn(msg string) { l.record("warning", msg) }

func (l *logger) error(msg string) { l.record("error", msg) }

// fatal is the last record of a failing command. Whoever has sent the log to a
// file still sees the message on standard error, as with runc.
func (l *logger) fatal(msg string) {
	l.error(msg)
	if l.out != os.Stderr {
		os.Stderr.WriteString(msg + "\n")
	}
}

// record has no way to report that the log cannot be written.
func (l *logger) record(level, msg string) {
	now := time.Now().Format(time.RFC3339)
	if !l.json {
		l.out.WriteString("time=" + strconv.Quote(now) + " level=" + level + " msg=" + strconv.Quote(msg) + "\n")
		return
	}
	l.out.WriteString(`{"level":"` + level + `","msg":` + quoteJSON(msg) + `,"time":"` + now + `"}` + "\n")
}

// quoteJSON replaces what is not UTF-8, which user input may hold, and leaves
// "<", ">" and "&" readable.
func quoteJSON(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return `"cannot encode the message"`
	}
	return strings.TrimSuffix(b.String(), "\n")
}
