package lifecycle

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tongs/internal/linuxtest"
)

func TestListFormats(t *testing.T) {
	h := linuxtest.One(t)
	const head = "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"list"}, head},
		{[]string{"list", "-f", "json"}, "null\n"},
		{[]string{"list", "-q"}, ""},
	} {
		if r := h.Must(c.args...); r.Stdout != c.want || r.Stderr != "" {
			t.Errorf("%q without containers: %q, %q", c.args, r.Stdout, r.Stderr)
		}
	}
	bundle := h.Bundle(forever)
	a, b := h.ID("a"), h.ID("b")
	h.Must("create", "--bundle", bundle, b)
	h.Must("run", "-d", "--bundle", bundle, a)

	if r := h.Must("list", "--quiet"); r.Stdout != a+"\n"+b+"\n" {
		t.Errorf("list --quiet: %q", r.Stdout)
	}
	var list []linuxtest.State
	if err := json.Unmarshal([]byte(h.Must("list", "--format", "json").Stdout), &list); err != nil || len(list) != 2 {
		t.Fatalf("list --format json: %v, %+v", err, list)
	}
	for i, status := range []string{"running", "created"} {
		st, _ := h.State(list[i].ID)
		st.Owner = "root"
		if got := list[i]; got.Status != status || got.PID != st.PID || got.Owner != st.Owner || got.Bundle != st.Bundle ||
			got.Rootfs != st.Rootfs || got.OCIVersion != st.OCIVersion || !got.Created.Equal(st.Created) {
			t.Errorf("list has %+v, state has %+v", got, st)
		}
	}
	lines := strings.Split(strings.TrimSuffix(h.Must("list").Stdout, "\n"), "\n")
	if len(lines) != 3 {
		t.Fatalf("list prints %q", lines)
	}
	for i, id := range []string{a, b} {
		f := strings.Fields(lines[i+1])
		if len(f) != 6 || f[0] != id || f[2] != list[i].Status || f[3] != bundle || f[5] != "root" {
			t.Errorf("line of %q: %q", id, lines[i+1])
		}
	}
	if r := h.Run("list", "-f", "yaml"); r.Status != 1 || !strings.Contains(r.Stderr, "invalid format option") {
		t.Errorf("list -f yaml: %+v", r)
	}
	h.Must("delete", "-f", a)
	h.Must("delete", "-f", b)
}

// What cannot be read is told of on standard error, and does not hide the rest.
func TestListWithBrokenState(t *testing.T) {
	h := linuxtest.One(t)
	good, bad := h.ID("good"), h.ID("bad")
	h.Must("create", "--bundle", h.Bundle(forever), good)
	dir := filepath.Join(h.Root(), bad)
	if err := os.Mkdir(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "state.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := h.Must("list", "-q")
	if r.Stdout != good+"\n" || !strings.Contains(r.Stderr, bad) {
		t.Errorf("stdout %q, stderr %q", r.Stdout, r.Stderr)
	}
	if r := h.Run("delete", bad); r.Status != 1 {
		t.Errorf("delete of a broken container: %+v", r)
	}
	h.Must("delete", "--force", bad)
	h.Must("delete", "--force", good)
}

func TestLogJSON(t *testing.T) {
	h := linuxtest.One(t)
	log := filepath.Join(h.Dir, "log")
	for range 2 { // appended, not replaced
		r := h.Run("--log", log, "--log-format", "json", "state", h.ID("no \"such\" <one>"))
		if r.Status != 1 || r.Stderr != "invalid container ID format\n" {
			t.Errorf("%+v", r)
		}
	}
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(string(data), "\n"), "\n")
	if len(lines) != 2 {
		t.Fatalf("log: %q", data)
	}
	for _, line := range lines {
		var record map[string]string
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if _, err := time.Parse(time.RFC3339, record["time"]); err != nil {
			t.Error(err)
		}
		if record["level"] != "error" || record["msg"] != "invalid container ID format" || len(record) != 3 {
			t.Errorf("record %v", record)
		}
	}
}

func TestLogText(t *testing.T) {
	h := linuxtest.One(t)
	log := filepath.Join(h.Dir, "log")
	r := h.Run("--log", log, "state", h.ID("none"))
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`^time="[-0-9:T+Z]+" level=error msg="container does not exist"\n$`)
	if !line.Match(data) || r.Stderr != "container does not exist\n" {
		t.Errorf("log %q, stderr %q", data, r.Stderr)
	}
	// Without a log the same line is on standard error.
	if r := h.Run("state", h.ID("none")); !line.MatchString(r.Stderr) {
		t.Errorf("stderr %q", r.Stderr)
	}
	if r := h.Run("--log-format", "xml", "list"); r.Status != 1 || !strings.Contains(r.Stderr, "invalid log-format: xml") {
		t.Errorf("%+v", r)
	}
}

// `spec` writes the configuration that the tests build on, and does not
// overwrite one.
func TestSpec(t *testing.T) {
	h := linuxtest.One(t)
	bundle := h.Bundle()
	if r := h.Run("spec", "--bundle", bundle); r.Status != 1 || !strings.Contains(r.Stderr, "config.json") {
		t.Errorf("spec beside a config.json: %+v", r)
	}
	if err := os.Remove(filepath.Join(bundle, "config.json")); err != nil {
		t.Fatal(err)
	}
	h.Must("spec", "--bundle", bundle)
	config, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(config), `"terminal": true`, `"terminal": false`, 1)
	text = strings.Replace(text, `"sh"`, `"sh", "-c", "hostname; id -u"`, 1)
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := h.Must("run", "--bundle", bundle, h.ID("a")); r.Stdout != "runc\n0\n" || r.Stderr != "" {
		t.Errorf("%+v", r)
	}
}

func TestVersion(t *testing.T) {
	h := linuxtest.One(t)
	want := []string{"tongs version", "commit:", "spec:", "go:"}
	for _, flag := range []string{"--version", "-v"} {
		lines := strings.Split(h.Exec(linuxtest.Command{Args: []string{flag}, Bare: true}).Stdout, "\n")
		if !slices.EqualFunc(lines, append(want, ""), strings.HasPrefix) {
			t.Errorf("%s prints %q", flag, lines)
		}
	}
}
