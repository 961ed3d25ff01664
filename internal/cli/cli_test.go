package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tongs/internal/container"
	"tongs/internal/state"
)

// The test program becomes tongs when this is set.
const beTongs = "TONGS_TEST_IS_TONGS"

func TestMain(m *testing.M) {
	if os.Getenv(beTongs) != "" {
		os.Exit(Main(os.Args[1:], "1.2.3", "abc"))
	}
	os.Exit(m.Run())
}

type result struct {
	code        int
	out, errout string
}

func tongs(t *testing.T, args ...string) result {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), beTongs+"=1")
	cmd.Dir = t.TempDir()
	var out, errout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errout
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errout.String()}
}

// docker compares the beginnings of lines; old containerd clients want three
// lines before the libraries, and the first two words of the first.
func TestVersion(t *testing.T) {
	want := regexp.MustCompile(`^tongs version 1\.2\.3\ncommit: abc\nspec: 1\.3\.0\ngo: go1\.\S+\n$`)
	for _, args := range [][]string{{"--version"}, {"-v"}, {"--root", "/nonexistent", "--version"}} {
		r := tongs(t, args...)
		if r.code != 0 || r.errout != "" || !want.MatchString(r.out) {
			t.Errorf("%v: got %+v", args, r)
		}
	}
}

// The flags of runc 1.5 (and their letters), without those of later commands.
func TestFlags(t *testing.T) {
	create := []string{"--bundle -b", "--console-socket", "--pidfd-socket", "--pid-file", "--no-pivot", "--no-new-keyring", "--preserve-fds"}
	for name, want := range map[string][]string{
		"create": create,
		"run":    append(slices.Clone(create), "--detach -d", "--keep", "--no-subreaper"),
		"start":  nil,
		"state":  nil,
		"kill":   {"--all -a"},
		"delete": {"--force -f"},
		"list":   {"--format -f", "--quiet -q"},
		"spec":   {"--bundle -b", "--rootless"},
	} {
		c := find(name)
		if c == nil {
			t.Errorf("no command %q", name)
			continue
		}
		var got []string
		for _, f := range c.flagSet(new(options)).list {
			s := "--" + f.Name
			if f.short != "" {
				s += " -" + f.short
			}
			got = append(got, s)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

func TestFlagsReachCreate(t *testing.T) {
	o := new(options)
	fs := find("run").flagSet(o)
	err := fs.Parse([]string{"-b", "/b", "--console-socket=/s", "--pidfd-socket", "/p", "--pid-file", "f", "--no-pivot",
		"--no-new-keyring", "--preserve-fds", "3", "-d", "--keep", "--no-subreaper", "id", "--not-a-flag"})
	if err != nil || !slices.Equal(fs.Args(), []string{"id", "--not-a-flag"}) {
		t.Fatalf("got %v, %v", fs.Args(), err)
	}
	a := &app{systemdCgroup: true, cgroupManager: "disabled", rootless: "true", log: newLogger(os.Stderr, "text")}
	got := a.createOptions(o, "id")
	got.Warn = nil // functions do not compare
	want := container.CreateOptions{ID: "id", BundleDir: "/b", PidFile: "f", ConsoleSocket: "/s", PidfdSocket: "/p",
		NoPivot: true, NoNewKeyring: true, SystemdCgroup: true, NoCgroup: true, Rootless: "true", PreserveFDs: 3}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if !o.detach || !o.keep || !o.noSubreaper {
		t.Errorf("run's own flags: got %+v", o)
	}
}

// The phrases are those of Debian's runc 1.1.5 with its name replaced.
func TestErrors(t *testing.T) {
	root := t.TempDir()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"bogus"}, `tongs: unknown command "bogus"`},
		{[]string{"--bogus"}, "tongs: flag provided but not defined: -bogus"},
		{[]string{"state", "--bogus"}, "tongs: state: flag provided but not defined: -bogus"},
		{[]string{"state"}, `tongs: "state" requires exactly 1 argument(s)`},
		{[]string{"state", "a", "b"}, `tongs: "state" requires exactly 1 argument(s)`},
		{[]string{"kill"}, `tongs: "kill" requires a minimum of 1 argument(s)`},
		{[]string{"kill", "a", "9", "b"}, `tongs: "kill" requires a maximum of 2 argument(s)`},
		{[]string{"--log-format", "foo", "state", "a"}, "invalid log-format: foo"},
		{[]string{"--rootless", "maybe", "state", "a"}, `cannot use --rootless "maybe": it is true, false or auto`},
		{[]string{"--cgroup-manager", "mine", "state", "a"}, `cannot use --cgroup-manager "mine": it is cgroupfs, systemd or disabled`},
		{[]string{"--systemd-cgroup", "--cgroup-manager", "disabled", "state", "a"}, "cannot use --systemd-cgroup and --cgroup-manager disabled at once"},
		{[]string{"--root", root, "state", "nope"}, "container does not exist"},
		{[]string{"--root", root, "start", "nope"}, "container does not exist"},
		{[]string{"--root", root, "kill", "nope"}, "container does not exist"},
		{[]string{"--root", root, "kill", "nope", "FOO"}, `unknown signal "FOO"`},
		{[]string{"--root", root, "delete", "nope"}, "container does not exist"},
		{[]string{"--root", root, "state", ""}, "container id cannot be empty"},
		{[]string{"--root", root, "state", ".."}, "invalid container ID format"},
		{[]string{"--root", root, "list", "-f", "foo"}, "invalid format option"},
		{[]string{"--root", "/", "list"}, `cannot use --root "/": give the store a directory of its own`},
		{[]string{"--root", "/", "create", "x"}, `tongs create failed: cannot use --root "/": give the store a directory of its own`},
		{[]string{"--root", "/", "run", "x"}, `tongs run failed: cannot use --root "/": give the store a directory of its own`},
	} {
		log := filepath.Join(t.TempDir(), "log.json")
		r := tongs(t, append([]string{"--log", log, "--log-format", "json"}, c.args...)...)
		code := 1
		if c.args[0] == "bogus" {
			code = 3
		}
		if r.code != code || r.out != "" {
			t.Errorf("%v: exit code %d, output %q; want %d and none", c.args, r.code, r.out, code)
		}
		if !strings.Contains(r.errout, c.want) {
			t.Errorf("%v: stderr is %q, want %q in it", c.args, r.errout, c.want)
		}
		if c.args[0] == "--bogus" || c.args[0] == "--log-format" {
			continue // before the log is known
		}
		if last := lastError(t, log); last != c.want {
			t.Errorf("%v: the log's last error is %q, want %q", c.args, last, c.want)
		}
		if want := c.want + "\n"; r.errout != want {
			t.Errorf("%v: stderr is %q, want %q", c.args, r.errout, want)
		}
	}
}

// lastError reads a log as containerd's runc client does: a stream of JSON
// objects with a time, of which it takes the last with level "error".
func lastError(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	msg := ""
	for {
		var r struct {
			Level, Msg string
			Time       time.Time
		}
		if err := dec.Decode(&r); err == io.EOF {
			return msg
		} else if err != nil {
			t.Fatalf("cannot decode %q: %v", data, err)
		}
		if time.Since(r.Time).Abs() > time.Hour {
			t.Errorf("time of %q is not now", data)
		}
		if r.Level == "error" {
			msg = r.Msg
		}
	}
}

func TestLogFormats(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	hostile := "a\n\"level\":\"error\" \xff <&> \u2028"
	l := newLogger(f, "json")
	l.debug("not shown")
	l.error(hostile)
	l.warn("w")
	l.info("i")
	l.verbose = true
	l.debug("d")
	if got, want := lastError(t, path), strings.ToValidUTF8(hostile, "\ufffd"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	data, _ := os.ReadFile(path)
	lines := strings.Split(string(data), "\n")
	if want := regexp.MustCompile(`^\{"level":"warning","msg":"w","time":"[^"]+"\}$`); len(lines) != 5 || !want.MatchString(lines[1]) {
		t.Errorf("JSON: got %q", data)
	}
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	newLogger(f, "text").error(`say "no"`)
	data, _ = os.ReadFile(path)
	if want := regexp.MustCompile(`time="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)" level=error msg="say \\"no\\""\n$`); !want.Match(data) {
		t.Errorf("text: got %q", data)
	}
}

// Without --log the record goes to standard error, once.
func TestErrorOnStderr(t *testing.T) {
	r := tongs(t, "--root", t.TempDir(), "state", "nope")
	if want := regexp.MustCompile(`^time="\S+" level=error msg="container does not exist"\n$`); !want.MatchString(r.errout) {
		t.Errorf("text: got %q", r.errout)
	}
	r = tongs(t, "--root", t.TempDir(), "--log-format", "json", "state", "nope")
	if want := regexp.MustCompile(`^\{"level":"error","msg":"container does not exist","time":"\S+"\}\n$`); !want.MatchString(r.errout) {
		t.Errorf("JSON: got %q", r.errout)
	}
	r = tongs(t, "--log", "/nonexistent/log", "state", "nope")
	if r.code != 1 || !strings.Contains(r.errout, "cannot open --log: open /nonexistent/log") {
		t.Errorf("log that cannot be opened: got %+v", r)
	}
}

func TestParseSignal(t *testing.T) {
	for s, want := range map[string]unix.Signal{
		"TERM": 15, "SIGTERM": 15, "sigkill": 9, "Kill": 9, "9": 9, "0": 0, "64": 64,
		"WINCH": 28, "RTMIN": 34, "sigrtmin+3": 37, "RTMAX": 64, "RTMAX-1": 63,
	} {
		if got, err := parseSignal(s); err != nil || got != want {
			t.Errorf("%q: got %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"FOO", "-1", "65", "SIG", "TERM ", "SIGSIGTERM", "RTMIN-1", "RTMIN+31", "RTMIN+x", "RTMAX+1", "RTMIN+"} {
		if got, err := parseSignal(s); err == nil || err.Error() != fmt.Sprintf("unknown signal %q", s) {
			t.Errorf("%q: got %d, %v; want an error", s, got, err)
		}
	}
}

// put writes the state of a container whose process is the test.
func put(t *testing.T, root, id string) {
	t.Helper()
	s, err := state.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d, err := s.Create(id)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	me, err := state.Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	st := &state.State{PID: me.PID, Start: me.Start, Created: time.Date(2026, 11, 24, 3, 5, 12, 834744988, time.UTC)}
	st.Config = state.Config{Rootfs: "/b/rootfs", Namespaces: []state.Namespace{{Type: "NEWPID"}}}
	st.Tongs = state.Own{Phase: state.Running, Bundle: "/b", OCIVersion: "1.3.0"}
	if err := d.Write(st); err != nil {
		t.Fatal(err)
	}
}

// The texts were compared with what Debian's runc 1.1.5 prints.
func TestStateAndList(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	if r := tongs(t, "--root", root, "list", "-f", "json"); r.out != "null\n" || r.code != 0 {
		t.Errorf("list of nothing: got %+v", r)
	}
	put(t, root, "c1")
	pid := os.Getpid()
	want := fmt.Sprintf(`{
  "ociVersion": "1.3.0",
  "id": "c1",
  "pid": %d,
  "status": "running",
  "bundle": "/b",
  "rootfs": "/b/rootfs",
  "created": "2026-11-24T03:05:12.834744988Z",
  "owner": ""
}`, pid)
	if r := tongs(t, "--root", root, "state", "c1"); r.out != want || r.code != 0 {
		t.Errorf("state: got %+v\nwant %s", r, want)
	}
	if r := tongs(t, "--root", root, "list", "-q"); r.out != "c1\n" {
		t.Errorf("list -q: got %+v", r)
	}
	owner := userName(os.Getuid())
	want = "ID          PID         STATUS      BUNDLE      CREATED                          OWNER\n" +
		fmt.Sprintf("c1          %-12drunning     /b          2026-11-24T03:05:12.834744988Z   %s\n", pid, owner)
	if r := tongs(t, "--root", root, "list"); r.out != want {
		t.Errorf("list: got  %q\nwant %q", r.out, want)
	}
	want = fmt.Sprintf(`[{"ociVersion":"1.3.0","id":"c1","pid":%d,"status":"running","bundle":"/b","rootfs":"/b/rootfs",`+
		`"created":"2026-11-24T03:05:12.834744988Z","owner":%q}]`, pid, owner) + "\n"
	if r := tongs(t, "--root", root, "list", "--format", "json"); r.out != want {
		t.Errorf("list --format json: got %s\nwant %s", r.out, want)
	}
	if err := os.WriteFile(root+"/c1/state.json", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := tongs(t, "--root", root, "list", "-q"); r.code != 0 || r.out != "" || !strings.Contains(r.errout, `container "c1"`) {
		t.Errorf("list with a broken one: got %+v", r)
	}
}

func TestReportIndented(t *testing.T) {
	plain := report{OCIVersion: "1.3.0", ID: "a", PID: 7, Status: "running", Bundle: "/b", Rootfs: "/r", Created: time.Now().UTC(), Owner: "root"}
	hostile := report{Bundle: "/a \"b\" <&> \n\xff\\", Rootfs: "ä", Annotations: map[string]string{"b": "1", "a\t": `{"x":"y"}`}}
	for _, r := range []report{{}, plain, hostile} {
		want, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if got := r.indented(); got != string(want) {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
}

func TestKillAllIsSilentAboutTheDead(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	put(t, root, "c1")
	data, err := os.ReadFile(root + "/c1/state.json")
	if err != nil {
		t.Fatal(err)
	}
	data = regexp.MustCompile(`"init_process_start":\d+`).ReplaceAll(data, []byte(`"init_process_start":1`))
	if err := os.WriteFile(root+"/c1/state.json", data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"--all", "-a"} {
		if r := tongs(t, "--root", root, "kill", flag, "c1", "KILL"); r.code != 0 || r.errout != "" {
			t.Errorf("kill %s: got %+v", flag, r)
		}
	}
	if r := tongs(t, "--root", root, "kill", "c1", "KILL"); r.code != 1 || !strings.Contains(r.errout, `msg="container not running"`) {
		t.Errorf("kill: got %+v", r)
	}
	if r := tongs(t, "--root", root, "delete", "c1"); r.code != 0 || r.errout != "" {
		t.Errorf("delete: got %+v", r)
	}
	if r := tongs(t, "--root", root, "delete", "--force", "c1"); r.code != 0 || r.errout != "" {
		t.Errorf("delete --force of a missing one: got %+v", r)
	}
}

func TestSpec(t *testing.T) {
	for _, extra := range [][]string{nil, {"--rootless"}} {
		dir := t.TempDir()
		args := append(append([]string{"spec"}, extra...), "-b", dir)
		if r := tongs(t, args...); r.code != 0 || r.out+r.errout != "" {
			t.Fatalf("%v: got %+v", args, r)
		}
		data, err := os.ReadFile(dir + "/config.json")
		if err != nil || !bytes.HasPrefix(data, []byte("{\n\t\"ociVersion\": \"1.3.0\"")) {
			t.Errorf("%v: got %.60q, %v", args, data, err)
		}
		if got := bytes.Contains(data, []byte(`"type": "user"`)); got != (extra != nil) {
			t.Errorf("%v: user namespace: %v", args, got)
		}
		r := tongs(t, args...)
		if r.code != 1 || !strings.Contains(r.errout, `msg="File config.json exists. Remove it first"`) {
			t.Errorf("%v again: got %+v", args, r)
		}
		if again, _ := os.ReadFile(dir + "/config.json"); !bytes.Equal(again, data) {
			t.Errorf("%v again: the file was changed", args)
		}
	}
}

func TestHelpFitsTheTerminal(t *testing.T) {
	all := [][]string{{}, {"--help"}, {"-h"}, {"help"}}
	for _, c := range commands() {
		all = append(all, []string{c.name, "--help"}, []string{"help", c.name})
	}
	for _, args := range all {
		r := tongs(t, args...)
		lines := strings.Split(strings.TrimSuffix(r.out, "\n"), "\n")
		if r.code != 0 || r.errout != "" || !strings.Contains(r.out, "usage: tongs") || !strings.Contains(r.out, "example: tongs") {
			t.Errorf("%v: got %+v", args, r)
		}
		if len(lines) > 34 { // the list of commands is the longest
			t.Errorf("%v: %d lines", args, len(lines))
		}
		for _, l := range lines {
			if len(l) > 80 {
				t.Errorf("%v: %d columns: %s", args, len(l), l)
			}
		}
	}
	if r := tongs(t, "help", "bogus"); r.code != 3 {
		t.Errorf("help bogus: got %+v", r)
	}
}
