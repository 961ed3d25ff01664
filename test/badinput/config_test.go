package badinput

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

func TestMain(m *testing.M) { linuxtest.Main(m) }

// config gives the text of a working configuration, changed by replacements.
func config(t *testing.T, oldnew ...string) string {
	t.Helper()
	data, err := json.Marshal(linuxtest.Spec(linuxtest.Args("/bin/true")))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for i := 0; i < len(oldnew); i += 2 {
		if !strings.Contains(text, oldnew[i]) {
			t.Fatalf("%s is not in %s", oldnew[i], text)
		}
		text = strings.Replace(text, oldnew[i], oldnew[i+1], 1)
	}
	return text
}

// refuses checks that create and run fail with the texts in the error, with one
// error line, and that nothing is left.
func refuses(t *testing.T, h *linuxtest.Host, name, bundle string, texts ...string) {
	t.Helper()
	for _, command := range []string{"create", "run"} {
		begin := time.Now()
		r := h.Run("--log-format", "json", command, "--bundle", bundle, h.ID("a"))
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("%s: %s takes %v", name, command, took)
		}
		checkError(t, name+": "+command, r, texts...)
		if _, ok := h.State(h.ID("a")); ok {
			t.Errorf("%s: %s has failed and left a container", name, command)
			h.Must("delete", "--force", h.ID("a"))
		}
	}
	h.CheckCleanButKeys()
}

// checkError wants status 1, and one JSON record of level error with all texts
// in its message, besides warnings.
func checkError(t *testing.T, name string, r *linuxtest.Result, texts ...string) {
	t.Helper()
	var message string
	errors := 0
	for d := json.NewDecoder(bytes.NewReader([]byte(r.Stderr))); d.More(); {
		var record struct{ Level, Msg string }
		if err := d.Decode(&record); err != nil {
			t.Errorf("%s: standard error is not JSON: %v\n%s", name, err, r.Stderr)
			return
		}
		if record.Level == "error" {
			message = record.Msg
			errors++
		}
	}
	if r.Status != 1 || errors != 1 || r.Stdout != "" {
		t.Errorf("%s: status %d, want 1; %d errors, want 1; stdout %q; stderr: %s", name, r.Status, errors, r.Stdout, r.Stderr)
	}
	for _, text := range texts {
		if !strings.Contains(message, text) {
			t.Errorf("%s: %q is not in the error %q", name, text, message)
		}
	}
	if len(message) > 8192 {
		t.Errorf("%s: the error has %d bytes", name, len(message))
	}
}

func TestConfigFile(t *testing.T) {
	h := linuxtest.One(t)
	good := config(t)
	deep := strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000)
	for name, c := range map[string]struct {
		config string
		texts  []string
	}{
		"empty":             {"", []string{"config.json"}},
		"spaces":            {"  \n", []string{"config.json"}},
		"null":              {"null", []string{"config.json"}},
		"array":             {"[]", []string{"config.json"}},
		"string":            {`"x"`, []string{"config.json"}},
		"empty object":      {"{}", []string{"ociVersion: ", "process: ", "root: "}},
		"cut in the middle": {good[:len(good)/2], []string{"config.json"}},
		"cut at the end":    {good[:len(good)-1], []string{"config.json"}},
		"two objects":       {good + good, []string{"config.json"}},
		"rubbish behind":    {good + "x", []string{"config.json"}},
		"binary":            {"\x7fELF\x02\x01\x01\x00", []string{"config.json"}},
		"NUL bytes":         {strings.Repeat("\x00", 4096), []string{"config.json"}},
		"deep objects":      {deep, []string{"config.json"}},
		"deep arrays":       {strings.Repeat("[", 1_000_000), []string{"config.json"}},
		"deep unknown key":  {config(t, `{"ociVersion"`, `{"x":`+deep+`,"ociVersion"`), []string{"config.json"}},
		"deep annotations":  {config(t, `{"ociVersion"`, `{"annotations":`+deep+`,"ociVersion"`), []string{"annotations"}},
	} {
		bundle := h.Bundle()
		if err := os.WriteFile(filepath.Join(bundle, "config.json"), []byte(c.config), 0o644); err != nil {
			t.Fatal(err)
		}
		refuses(t, h, name, bundle, c.texts...)
	}
}

func TestConfigHuge(t *testing.T) {
	h := linuxtest.One(t)
	bundle := h.Bundle()
	path := filepath.Join(bundle, "config.json")
	if err := os.Truncate(path, 1<<30); err != nil { // a hole
		t.Fatal(err)
	}
	refuses(t, h, "1 GiB", bundle, "config.json")
}

func TestConfigIsNoRegularFile(t *testing.T) {
	h := linuxtest.One(t)
	for name, replace := range map[string]func(path string) error{
		"missing":           func(string) error { return nil },
		"directory":         func(p string) error { return os.Mkdir(p, 0o755) },
		"dangling symlink":  func(p string) error { return os.Symlink("nowhere", p) },
		"symlink to itself": func(p string) error { return os.Symlink("config.json", p) },
		"FIFO":              mkfifo,
		"endless device":    func(p string) error { return os.Symlink("/dev/zero", p) },
		"empty device":      func(p string) error { return os.Symlink("/dev/null", p) },
	} {
		bundle := h.Bundle()
		path := filepath.Join(bundle, "config.json")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := replace(path); err != nil {
			t.Fatal(err)
		}
		refuses(t, h, name, bundle, "config.json")
	}
}

// Each wrong value is told of with its field.
func TestWrongTypes(t *testing.T) {
	h := linuxtest.One(t)
	for _, c := range []struct{ old, new, field string }{
		{`"ociVersion":"1.3.0"`, `"ociVersion":13`, "ociVersion"},
		{`"ociVersion":"1.3.0"`, `"ociVersion":"x"`, "ociVersion"},
		{`"ociVersion":"1.3.0",`, ``, "ociVersion"},
		{`"uid":0`, `"uid":"root"`, "process.user.uid"},
		{`"uid":0`, `"uid":-1`, "process.user.uid"},
		{`"uid":0`, `"uid":1.5`, "process.user.uid"},
		{`"uid":0`, `"uid":4294967296`, "process.user.uid"},
		{`"uid":0`, `"uid":1e400`, "process.user.uid"},
		{`"args":["/bin/true"]`, `"args":"/bin/true"`, "process.args"},
		{`"args":["/bin/true"]`, `"args":["/bin/true",1]`, "process.args[1]"},
		{`"args":["/bin/true"]`, `"args":["/bin/true","\u0000"]`, "process.args[1]"},
		{`"cwd":"/"`, `"cwd":{}`, "process.cwd"},
		{`"cwd":"/"`, `"cwd":"relative"`, "process.cwd"},
		{`"cwd":"/"`, `"cwd":""`, "process.cwd"},
		{`"TERM=xterm"`, `"TERM"`, "process.env[1]"},
		{`"noNewPrivileges":true`, `"noNewPrivileges":"yes"`, "process.noNewPrivileges"},
		{`"type":"RLIMIT_NOFILE"`, `"type":"RLIMIT_X"`, "process.rlimits[0].type"},
		{`"hard":1024`, `"hard":-1`, "process.rlimits[0].hard"},
		{`"hard":1024`, `"hard":1023`, "process.rlimits[0]"},
		{`"noNewPrivileges"`, `"scheduler":{"policy":"SCHED_FIFO"},"noNewPrivileges"`, "process.scheduler.priority"},
		{`"noNewPrivileges"`, `"scheduler":{"policy":"SCHED_FIFO","priority":-1e9},"noNewPrivileges"`, "process.scheduler.priority"},
		{`"noNewPrivileges"`, `"scheduler":{"policy":"SCHED_DEADLINE","runtime":-1},"noNewPrivileges"`, "process.scheduler.runtime"},
		{`"noNewPrivileges"`, `"ioPriority":{"class":"IOPRIO_CLASS_BE","priority":8},"noNewPrivileges"`, "process.ioPriority.priority"},
		{`"noNewPrivileges"`, `"ioPriority":{"class":3,"priority":0},"noNewPrivileges"`, "process.ioPriority.class"},
		{`"maskedPaths"`, `"personality":{"domain":"linux32"},"maskedPaths"`, "linux.personality.domain"},
		{`"maskedPaths"`, `"memoryPolicy":{"mode":"MPOL_BIND","nodes":"0-4294967296"},"maskedPaths"`, "linux.memoryPolicy.nodes"},
		{`"maskedPaths"`, `"memoryPolicy":{"mode":"MPOL_BIND","nodes":","},"maskedPaths"`, "linux.memoryPolicy.nodes"},
		{`"linux":{`, `"hooks":{"prestart":[{"path":"relative"}]},"linux":{`, "hooks.prestart[0].path"},
		{`"linux":{`, `"hooks":{"poststop":[{"path":""}]},"linux":{`, "hooks.poststop[0].path"},
		{`"linux":{`, `"hooks":{"startContainer":[{"path":"/x","timeout":0}]},"linux":{`, "hooks.startContainer[0].timeout"},
		{`"linux":{`, `"hooks":{"createContainer":[{"path":"/x","env":["a\u0000"]}]},"linux":{`, "hooks.createContainer[0].env[0]"},
		{`"linux":{`, `"hooks":{"createRuntime":{"path":"/x"}},"linux":{`, "hooks.createRuntime"},
		{`"readonly":true`, `"readonly":1`, "root.readonly"},
		{`"root":{`, `"root":[],"x":{`, "root"},
		{`"hostname":"e2e"`, `"hostname":["e2e"]`, "hostname"},
		{`"destination":"/proc"`, `"destination":7`, "mounts[0].destination"},
		{`"destination":"/proc"`, `"destination":""`, "mounts[0].destination"},
		{`"options":["nosuid"`, `"options":["nosuid",5`, "mounts[1].options[1]"},
		{`"namespaces":[{"type":"pid"}`, `"namespaces":[{"type":"pod"}`, "linux.namespaces[0].type"},
		{`"namespaces":[{"type":"pid"}`, `"namespaces":[{"type":"pid"},{"type":"pid"}`, "linux.namespaces[1]"},
		{`"namespaces":[{"type":"pid"}`, `"namespaces":[{"type":"pid"},{"type":"uts","path":"relative"}`, "linux.namespaces"},
		{`"maskedPaths":["/proc/acpi"`, `"maskedPaths":["proc/acpi"`, "linux.maskedPaths[0]"},
		{`"allow":false`, `"allow":0`, "linux.resources.devices[0].allow"},
		{`"linux":{`, `"linux":{"sysctl":{"kernel.pid_max":"1"},`, "linux.sysctl"},
		{`"linux":{`, `"linux":{"cgroupsPath":5,`, "linux.cgroupsPath"},
		{`"linux":{`, `"linux":{"rootfsPropagation":"upwards",`, "linux.rootfsPropagation"},
		{`"linux":{`, `"linux":{"seccomp":{"defaultAction":"SCMP_ACT_X"},`, "linux.seccomp"},
	} {
		bundle := h.Bundle()
		text := config(t, c.old, c.new)
		if err := os.WriteFile(filepath.Join(bundle, "config.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		refuses(t, h, c.new, bundle, c.field)
	}
}

// All that is wrong is told at once.
func TestErrorsTogether(t *testing.T) {
	h := linuxtest.One(t)
	bundle := h.Bundle(func(s *specs.Spec) {
		s.Process.Cwd = "relative"
		s.Process.Rlimits[0].Type = "RLIMIT_X"
		s.Linux.Namespaces[0].Type = "pod"
	})
	refuses(t, h, "three errors", bundle, "process.cwd", "process.rlimits[0].type", "linux.namespaces[0].type")
}

// Unknown keys are warned of, and the container runs.
func TestUnknownKeys(t *testing.T) {
	h := linuxtest.One(t)
	bundle := h.Bundle()
	text := config(t, `{"ociVersion"`, `{"rooot":{},"ociVersion"`, `"noNewPrivileges"`, `"noNewPrivilege":true,"noNewPrivileges"`,
		`"linux":{`, `"linux":{"cgroupPath":[1,{"deep":null}],`)
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(h.Dir, "log")
	h.Must("--log", log, "--log-format", "json", "run", "--bundle", bundle, h.ID("a"))
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"rooot", "process.noNewPrivilege", "linux.cgroupPath"} {
		found := false
		for line := range strings.Lines(string(data)) {
			found = found || strings.Contains(line, `"level":"warning"`) && strings.Contains(line, key)
		}
		if !found {
			t.Errorf("no warning of %s in the log:\n%s", key, data)
		}
	}
	if r := h.Must("run", "--bundle", bundle, h.ID("b")); strings.Count(r.Stderr, "level=warning") != 3 {
		t.Errorf("stderr: %s", r.Stderr)
	}
}
