// Package dropin changes the runtime under containers that live: what runc has
// made is led on by tongs, and the other way round; and what others read of runc's
// files is in those of tongs.
package dropin

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

func TestMain(m *testing.M) { linuxtest.Main(m) }

// led is one runtime's commands on the containers of another.
type led struct {
	*linuxtest.Host
	root string
}

func (l *led) run(args ...string) *linuxtest.Result {
	return l.Exec(linuxtest.Command{Bare: true, Args: append([]string{"--root", l.root}, args...)})
}

func (l *led) must(t *testing.T, args ...string) string {
	t.Helper()
	r := l.run(args...)
	if r.Status != 0 {
		t.Errorf("%q: status %d: %s", args, r.Status, r.Stderr)
	}
	return r.Stdout
}

func (l *led) state(t *testing.T, id string) (st linuxtest.State) {
	t.Helper()
	if err := json.Unmarshal([]byte(l.must(t, "state", id)), &st); err != nil {
		t.Error(err)
	}
	return st
}

func (l *led) status(t *testing.T, id, want string) {
	t.Helper()
	got := ""
	if !linuxtest.Until(func() bool { got = l.state(t, id).Status; return got == want }) {
		t.Errorf("%s is %s, want %s", id, got, want)
	}
}

// Containers of runc's live on when tongs takes its place, and those of tongs when
// it goes.
func TestChangeOfRuntime(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		runc := h.With("runc")
		h.Sub(t, "to tongs", func(t *testing.T, h *linuxtest.Host) {
			change(t, runc, &led{h, runc.Root()})
			loose(t, runc, &led{h, runc.Root()})
			refused(t, runc, &led{h, runc.Root()})
		})
		h.Sub(t, "back to runc", func(t *testing.T, h *linuxtest.Host) { change(t, h, &led{runc, h.Root()}) })
	})
}

// change leads containers that one runtime has made with the other.
func change(t *testing.T, maker *linuxtest.Host, l *led) {
	annotated := func(s *specs.Spec) { s.Annotations = map[string]string{"org.example.a": "b=c"} }
	bundle := maker.Bundle(linuxtest.Args("/bin/sleep", "1000"), annotated)
	waiting, running := maker.ID("waiting"), maker.ID("running")
	maker.Must("create", "--bundle", bundle, waiting)
	maker.Must("run", "--detach", "--bundle", bundle, running)
	want, _ := maker.State(running)
	if got := l.state(t, running); got.PID != want.PID || got.Bundle != want.Bundle || got.Rootfs != want.Rootfs || got.Status != "running" ||
		!got.Created.Equal(want.Created) || got.Annotations["org.example.a"] != "b=c" {
		t.Errorf("state: got %+v, want %+v", got, want)
	}
	l.status(t, waiting, "created")
	if list := strings.Fields(l.must(t, "list", "--quiet")); !slices.Contains(list, running) || !slices.Contains(list, waiting) {
		t.Errorf("list: %q", list)
	}
	if out := l.must(t, "ps", "--format", "json", running); out != "["+strconv.Itoa(want.PID)+"]" && strings.TrimSpace(out) != "["+strconv.Itoa(want.PID)+"]" {
		t.Errorf("ps: %s", out)
	}
	if r := l.run("exec", running, "/bin/sh", "-c", "cat /proc/1/cmdline; hostname; exit 3"); r.Status != 3 || !strings.Contains(r.Stdout, "1000") || !strings.Contains(r.Stdout, "e2e") {
		t.Errorf("exec: status %d: %s%s", r.Status, r.Stdout, r.Stderr)
	}
	l.must(t, "pause", running)
	l.status(t, running, "paused")
	l.must(t, "resume", running)
	l.status(t, running, "running")
	if r := l.run("delete", running); r.Status == 0 {
		t.Error("a running container was deleted")
	}
	l.must(t, "kill", running, "KILL")
	l.status(t, running, "stopped")
	l.must(t, "delete", running)
	l.must(t, "delete", waiting)
	if out := l.must(t, "list", "--quiet"); strings.TrimSpace(out) != "" {
		t.Errorf("left: %s", out)
	}
	maker.CheckCleanButKeys()
}

// loose is a container without a PID namespace: only its cgroup tells what belongs
// to it. (runc leaves such a cgroup behind, also its own.)
func loose(t *testing.T, maker *linuxtest.Host, l *led) {
	bundle := maker.Bundle(linuxtest.Shell("sleep 1000 & sleep 1000"), linuxtest.WithoutNamespace(specs.PIDNamespace))
	id := maker.ID("loose")
	maker.Must("run", "--detach", "--bundle", bundle, id)
	l.must(t, "kill", id, "KILL")
	l.status(t, id, "stopped")
	l.must(t, "delete", id)
	maker.Must("run", "--detach", "--bundle", bundle, id)
	l.must(t, "delete", "--force", id)
	maker.CheckCleanButKeys()
}

// refused is what tongs does not take over.
func refused(t *testing.T, runc *linuxtest.Host, l *led) {
	id := runc.ID("start")
	runc.Must("create", "--bundle", runc.Bundle(linuxtest.Args("/bin/true")), id)
	if r := l.run("start", id); r.Status != 1 || !strings.Contains(r.Stderr, "use runc start") {
		t.Errorf("start: status %d: %s", r.Status, r.Stderr)
	}
	runc.Must("start", id)
	l.status(t, id, "stopped")
	l.must(t, "delete", id)
	// A file of nobody's is not touched.
	dir := filepath.Join(l.root, runc.ID("other"))
	if err := os.Mkdir(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/state.json", []byte(`{"id":"`+filepath.Base(dir)+`","init_process_pid":1,"init_process_start":1,"config":{"labels":["a=b"]}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := l.run("kill", filepath.Base(dir), "KILL"); r.Status == 0 || !strings.Contains(r.Stderr, "not written by tongs or runc") {
		t.Errorf("a state of nobody's: status %d: %s", r.Status, r.Stderr)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}

// reader is what monitoring agents take from state.json (cAdvisor's
// libcontainer helpers, GPU tools): the types are libcontainer's.
type reader struct {
	ID             string            `json:"id"`
	PID            int               `json:"init_process_pid"`
	Start          uint64            `json:"init_process_start"`
	Created        string            `json:"created"`
	Rootless       bool              `json:"rootless"`
	CgroupPaths    map[string]string `json:"cgroup_paths"`
	NamespacePaths map[string]string `json:"namespace_paths"`
	IntelRdtPath   string            `json:"intel_rdt_path"`
	Config         struct {
		Rootfs     string `json:"rootfs"`
		Hostname   string `json:"hostname"`
		Namespaces []struct {
			Type string `json:"type"`
			Path string `json:"path"`
		} `json:"namespaces"`
		Cgroups struct {
			Name string `json:"name"`
			Path string `json:"path"`
		} `json:"cgroups"`
		Labels []string `json:"labels"`
	} `json:"config"`
}

func read(t *testing.T, h *linuxtest.Host, id string) (r reader) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(h.Root(), id, "state.json"))
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What readers of runc's state.json look for is in ours, and leads to the
// container.
func TestReaders(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		runc := h.With("runc")
		bundle := h.Bundle(linuxtest.Args("/bin/sleep", "1000"))
		id := h.ID("a")
		h.Must("run", "--detach", "--bundle", bundle, id)
		ours := read(t, h, id)
		for controller, path := range ours.CgroupPaths {
			data, err := os.ReadFile(path + "/cgroup.procs")
			if err != nil || !slices.Contains(strings.Fields(string(data)), strconv.Itoa(ours.PID)) {
				t.Errorf("the process is not in cgroup_paths[%q]: %s: %q, %v", controller, path, data, err)
			}
		}
		for ns, path := range ours.NamespacePaths {
			if _, err := os.Readlink(path); err != nil {
				t.Errorf("namespace_paths[%q]: %v", ns, err)
			}
		}
		st, _ := h.State(id)
		if ours.PID != st.PID || ours.Start == 0 || ours.Created == "" {
			t.Errorf("state.json has another process or time: %+v, %+v", ours, st)
		}
		h.Must("delete", "--force", id)
		runc.Must("run", "--detach", "--bundle", bundle, id)
		theirs := read(t, runc, id)
		// What is another process's is no difference.
		for name, path := range theirs.NamespacePaths {
			theirs.NamespacePaths[name] = strings.ReplaceAll(path, strconv.Itoa(theirs.PID), strconv.Itoa(ours.PID))
		}
		theirs.PID, theirs.Start, theirs.Created = ours.PID, ours.Start, ours.Created
		got, want := show(t, ours), show(t, theirs)
		if got != want {
			t.Errorf("readers find\n%s\nand with runc\n%s", got, want)
		}
		runc.Must("delete", "--force", id)
	})
}

// show is a reader's view as text, with lists in one order.
func show(t *testing.T, r reader) string {
	t.Helper()
	slices.Sort(r.Config.Labels)
	slices.SortFunc(r.Config.Namespaces, func(a, b struct {
		Type string `json:"type"`
		Path string `json:"path"`
	}) int {
		return strings.Compare(a.Type, b.Type)
	})
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
