package lifecycle

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tongs/internal/linuxtest"
)

// states are those in which a command can meet a container.
func states() []string { return []string{"missing", "created", "running", "stopped", "paused"} }

// commands are those that take a container; ID stands for its name.
func commands() []string {
	return []string{"start ID", "state ID", "kill ID", "kill ID KILL", "kill --all ID KILL", "kill ID 0", "delete ID", "delete --force ID",
		"create --bundle BUNDLE ID", "run --bundle BUNDLE ID", "exec ID true", "pause ID", "resume ID", "exec --detach ID /nowhere", "exec ID",
		"ps -f json ID", "events --stats ID", "update ID"}
}

// answer is how a runtime reacts.
type answer struct {
	status int
	text   string // of the last error, with runc's name replaced
	after  string // status of the container afterwards, or "missing"
}

// differences from Debian's runc 1.1.5, by "command in state": what tongs does,
// and why. docs/differences.md tells users.
func differences() map[string]struct {
	answer
	reason string
} {
	type difference = struct {
		answer
		reason string
	}
	const missing = "exec failed: process.args[0]: exec: \"/nowhere\": stat /nowhere: no such file or directory"
	const field = "the field is named; what callers match is the same"
	return map[string]difference{
		"exec --detach ID /nowhere in created": {answer{255, missing, "created"}, field},
		"exec --detach ID /nowhere in running": {answer{255, missing, "running"}, field},
		"kill ID in created": {answer{after: "created"},
			"the waiting process handles no signal, as a first process of its namespace that is C; runc's is a Go program, which does"},
	}
}

// TestCommandsInStates asks each command in each state of both runtimes.
func TestCommandsInStates(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		runc := h.With("runc")
		seen := 0
		for _, state := range states() {
			for _, command := range commands() {
				got, want := ask(t, h, command, state), ask(t, runc, command, state)
				for range 3 { // 1.1.5 sometimes removes a cgroup before its processes have gone
					if !strings.Contains(want.text, "device or resource busy") {
						break
					}
					want = ask(t, runc, command, state)
				}
				name := command + " in " + state
				if d, ok := differences()[name]; ok {
					seen++
					if got == want {
						t.Errorf("%s: no difference any more", name)
					}
					want = d.answer
				}
				if got != want {
					t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, want)
				}
			}
		}
		if seen != len(differences()) {
			t.Errorf("%d of %d differences are about nothing", len(differences())-seen, len(differences()))
		}
	})
}

// ask makes a container, gives the command and removes the container.
func ask(t *testing.T, h *linuxtest.Host, command, state string) answer {
	t.Helper()
	id, bundle := h.ID("a"), h.Bundle(forever)
	pid := 0
	if state != "missing" {
		h.Must("create", "--bundle", bundle, id)
		st, _ := h.State(id)
		pid = st.PID
	}
	switch state {
	case "running", "paused":
		h.Must("start", id)
		awaitName(t, pid, "sleep") // runc's own process, which signals end, is there a moment longer
	case "stopped":
		h.Must("kill", id, "KILL")
		h.WaitFor(id, "stopped")
	}
	if state == "paused" {
		h.Freeze(pid, true)
	}
	log := filepath.Join(h.Dir, "log.json")
	args := append([]string{"--log", log, "--log-format", "json"}, strings.Fields(command)...)
	for i, a := range args {
		args[i] = strings.NewReplacer("ID", id, "BUNDLE", bundle).Replace(a)
	}
	if command == "run --bundle BUNDLE ID" && state == "missing" {
		h.WriteConfig(bundle, linuxtest.Spec(linuxtest.Shell("exit 9")))
	}
	r := h.Run(args...)
	a := answer{status: r.Status, text: lastError(t, log)}
	os.Remove(log) // may not exist

	settles, dies := time.Now(), false
	if strings.HasPrefix(command, "kill") && a.status == 0 && state != "missing" {
		settles = settles.Add(200 * time.Millisecond) // what does not die of it lives still
		dies = strings.HasSuffix(command, "KILL") || command == "kill ID" && state == "created" && filepath.Base(h.Argv()[0]) == "runc"
	}
	linuxtest.Until(func() bool {
		st, ok := h.State(id)
		if a.after = st.Status; !ok {
			a.after = "missing"
		}
		return a.after == "stopped" || !dies && !time.Now().Before(settles)
	})
	h.Must("delete", "--force", id)
	return a
}

// lastError finds the error of a JSON log as containerd does: the last record
// whose level is "error".
func lastError(t *testing.T, log string) string {
	t.Helper()
	data, err := os.ReadFile(log)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	last := ""
	for d := json.NewDecoder(bytes.NewReader(data)); d.More(); {
		var record struct{ Level, Msg string }
		if err := d.Decode(&record); err != nil {
			t.Fatalf("%v in %q", err, data)
		}
		if record.Level == "error" {
			last = record.Msg
		}
	}
	return strings.ReplaceAll(last, "runc", "tongs")
}

// The processes of a container, those of exec among them, in the host's numbers.
func TestPs(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		id := running(t, h)
		file := filepath.Join(h.Dir, "pid")
		h.Must("exec", "--detach", "--pid-file", file, id, "sleep", "999")
		pid := readPID(t, file)
		h.Adopt(pid)
		st, _ := h.State(id)
		var pids []int
		if err := json.Unmarshal([]byte(h.Must("ps", "-f", "json", id).Stdout), &pids); err != nil {
			t.Fatal(err)
		}
		slices.Sort(pids)
		want := []int{st.PID, pid}
		slices.Sort(want)
		same(t, "pids", pids, want)
		var table []string
		if !linuxtest.Until(func() bool { // they have their arguments a moment after the commands have ended
			table = strings.Split(strings.TrimSpace(h.Must("ps", id, "-o", "pid,args", "-A").Stdout), "\n")
			return len(table) == 3 && strings.Contains(table[0], "PID") && strings.Contains(table[1]+table[2], "/bin/sleep 1000") && strings.Contains(table[1]+table[2], "sleep 999")
		}) {
			t.Errorf("table %q", table)
		}
		if r := h.Run("ps", id, "-o", "args"); r.Status != 1 || !strings.Contains(r.Stderr, "PID") {
			t.Errorf("without a PID column: %+v", r)
		}
	})
}

// Limits change, what is not named stays, wrong values change nothing.
func TestUpdate(t *testing.T) {
	h := linuxtest.One(t)
	if h.V2 {
		t.Skip("this machine has no v1 hierarchies")
	}
	id := running(t, h)
	st, _ := h.State(id)
	check := func(when, memory, pids, shares string) {
		t.Helper()
		for file, want := range map[string]string{"memory/memory.limit_in_bytes": memory, "pids/pids.max": pids, "cpu/cpu.shares": shares} {
			controller, name, _ := strings.Cut(file, "/")
			text, err := os.ReadFile(filepath.Join(h.CgroupDir(st.PID, controller), name))
			if got := strings.TrimSpace(string(text)); got != want {
				t.Errorf("%s: %s is %q, want %q: %v", when, name, got, want, err)
			}
		}
	}
	h.Must("update", "--memory", "64m", "--pids-limit", "33", "--cpu-share", "512", id)
	check("flags", "67108864", "33", "512")
	file := filepath.Join(h.Dir, "resources.json")
	if err := os.WriteFile(file, []byte(`{"memory": {"limit": 33554432}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	h.Must("update", "-r", file, id)
	check("file", "33554432", "33", "512")
	for _, args := range [][]string{{"--memory", "1x"}, {"--pids-limit", "many"}, {"--cpu-quota", "5"}, {"--cpuset-cpus", "999"}, {"-r", "/nowhere"}, {"-r", "/etc/passwd"}, {"--l3-cache-schema", "L3:0=f"}} {
		if r := h.Run(append(append([]string{"update"}, args...), id)...); r.Status != 1 || r.Stderr == "" {
			t.Errorf("%q: %+v", args, r)
		}
	}
	check("errors", "33554432", "33", "512")
	os.Remove(file)
}
