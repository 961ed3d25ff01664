package container

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tongs/internal/cgroup"
	"tongs/internal/state"
)

func TestStatus(t *testing.T) {
	s := testStore(t)
	pid := spawn(t, "sleep", "1000").Process.Pid
	for _, c := range []struct {
		id     string
		pid    int
		want   Status
		fifo   bool
		change func(*state.State)
	}{
		{"waits", pid, Created, true, nil},
		{"started", pid, Running, false, nil},
		{"run", pid, Running, true, func(st *state.State) { st.Tongs.Phase = state.Running }},
		{"being-made", 0, Creating, false, func(st *state.State) { st.Tongs.Phase = state.Creating }},
		{"maker-killed", pid, Stopped, true, func(st *state.State) {
			st.Tongs.Phase = state.Creating
			st.Tongs.Runtime.Start--
		}},
		{"pid-reused", pid, Stopped, true, func(st *state.State) { st.Start++ }},
		{"before-reboot", pid, Stopped, true, func(st *state.State) { st.Tongs.BootID = "other" }},
	} {
		d := put(t, s, c.id, c.pid, c.change)
		if c.fifo {
			if err := d.MakeFIFO(os.Getuid(), os.Getgid()); err != nil {
				t.Fatal(err)
			}
		}
		wantStatus(t, s, c.id, c.want)
	}
	infos, err := List(s, noWarning(t))
	if err != nil || len(infos) != 7 || infos[0].State.ID != "before-reboot" {
		t.Errorf("List: got %d, %v", len(infos), err)
	}
	if got := infos[0].PID(); got != 0 {
		t.Errorf("pid of a stopped container: got %d, want 0", got)
	}
}

func TestListSkipsBroken(t *testing.T) {
	s := testStore(t)
	put(t, s, "good", os.Getpid(), nil)
	bad := put(t, s, "bad", os.Getpid(), nil)
	empty := put(t, s, "empty", os.Getpid(), nil)
	err := errors.Join(os.WriteFile(bad.Path()+"/state.json", []byte("{"), 0o600), os.Remove(empty.Path()+"/state.json"))
	if err != nil {
		t.Fatal(err)
	}
	var warnings []string
	infos, err := List(s, func(msg string) { warnings = append(warnings, msg) })
	if err != nil || len(infos) != 1 || infos[0].State.ID != "good" {
		t.Errorf("got %v, %v; want only \"good\"", infos, err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], `container "bad"`) {
		t.Errorf("warnings: got %q, want one about \"bad\"", warnings)
	}
}

func TestStartReleasesTheProcess(t *testing.T) {
	s := testStore(t)
	_, cmd := waiting(t, s, "c1")
	wantStatus(t, s, "c1", Created)
	if err := Start(s, "c1", "", func(w string) { t.Error(w) }); err != nil {
		t.Fatal(err)
	}
	// Start returns when the execve has closed descriptors; the name changes a moment later.
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid))
		if string(comm) == "sleep\n" {
			break
		}
		if time.Now().After(end) {
			t.Errorf("the process is %q (%v), want sleep", comm, err)
			break
		}
	}
	wantStatus(t, s, "c1", Running)
	wantError(t, "second start", Start(s, "c1", "", func(w string) { t.Error(w) }), "cannot start an already running container")
}

// An earlier start was killed between its write and the removal of the FIFO.
func TestStartAfterKilledStart(t *testing.T) {
	s := testStore(t)
	d := put(t, s, "c1", spawn(t, "sleep", "1000").Process.Pid, nil)
	if err := d.MakeFIFO(os.Getuid(), os.Getgid()); err != nil {
		t.Fatal(err)
	}
	wantError(t, "start", Start(s, "c1", "", func(w string) { t.Error(w) }), "cannot start an already running container")
	wantStatus(t, s, "c1", Running)
}

// The phrases are those of Debian's runc 1.1.5; containerd and podman show them.
func TestStartErrors(t *testing.T) {
	s := testStore(t)
	wantError(t, "missing", Start(s, "c1", "", func(w string) { t.Error(w) }), "container does not exist")
	put(t, s, "stopped", os.Getpid(), func(st *state.State) { st.Start-- })
	wantError(t, "stopped", Start(s, "stopped", "", func(w string) { t.Error(w) }), "cannot start a container that has stopped")
	put(t, s, "creating", 0, func(st *state.State) { st.Tongs.Phase = state.Creating })
	wantError(t, "creating", Start(s, "creating", "", func(w string) { t.Error(w) }), "cannot start a container in the creating state")
	wantError(t, "bad name", Start(s, "a/b", "", func(w string) { t.Error(w) }), "invalid container ID format")
}

func TestKill(t *testing.T) {
	s := testStore(t)
	cmd := spawn(t, "sleep", "1000")
	put(t, s, "c1", cmd.Process.Pid, nil)
	if err := Kill(s, "c1", unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if ws := cmd.ProcessState.Sys().(interface{ Signal() unix.Signal }); ws.Signal() != unix.SIGTERM {
		t.Errorf("ended by %v, want SIGTERM", ws.Signal())
	}
	wantStatus(t, s, "c1", Stopped)
	// containerd's shim looks for this phrase.
	wantError(t, "kill again", Kill(s, "c1", unix.SIGTERM), "container not running")
	wantError(t, "missing", Kill(s, "c2", unix.SIGTERM), "container does not exist")
}

// The pid of the state belongs to another process: it must not be hurt.
func TestKillSparesReusedPID(t *testing.T) {
	s := testStore(t)
	cmd := spawn(t, "sleep", "1000")
	for _, own := range []bool{true, false} {
		id := fmt.Sprint("c-", own)
		put(t, s, id, cmd.Process.Pid, func(st *state.State) {
			st.Start++
			if !own {
				st.Config.Namespaces = nil
			}
		})
		wantError(t, id, Kill(s, id, unix.SIGKILL), "container not running")
		wantError(t, id+": delete", Delete(s, id, true, noWarning(t)), "")
	}
	if err := cmd.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("the innocent process: %v", err)
	}
	wantError(t, "signal between check and use",
		signalInit(&state.State{PID: cmd.Process.Pid, Start: 1}, unix.SIGKILL), "os: process already finished")
}

func TestKillWithoutPIDNamespaceTakesTheCgroup(t *testing.T) {
	dir := testCgroup(t)
	s := testStore(t)
	first, second := spawn(t, "sleep", "1000"), spawn(t, "sleep", "1000")
	enter(t, dir, first.Process.Pid)
	enter(t, dir, second.Process.Pid)
	put(t, s, "c1", first.Process.Pid, func(st *state.State) {
		st.Config.Namespaces = nil
		st.CgroupPaths = map[string]string{"": dir}
	})
	if err := Kill(s, "c1", unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range []*exec.Cmd{first, second} {
		if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
			t.Errorf("a process of the cgroup: %v", err)
		}
	}
	wantError(t, "kill again", Kill(s, "c1", unix.SIGKILL), "container not running")
}

func TestPaused(t *testing.T) {
	dir := testCgroup(t)
	s := testStore(t)
	cmd := spawn(t, "sleep", "1000")
	enter(t, dir, cmd.Process.Pid)
	d := put(t, s, "c1", cmd.Process.Pid, func(st *state.State) {
		st.CgroupPaths = map[string]string{"": dir}
		st.Tongs.Owned.Cgroups = []string{dir}
	})
	g, err := cgroup.Load(map[string]string{"": dir}, false)
	if err == nil {
		err = g.Freeze(true)
	}
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, s, "c1", Paused)
	wantError(t, "start", Start(s, "c1", "", func(w string) { t.Error(w) }), "cannot start a container in the paused state")
	wantError(t, "delete", Delete(s, "c1", false, noWarning(t)), "cannot delete container c1 that is not stopped: paused")
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // a zombie keeps its cgroup alive
	wantError(t, "delete --force", Delete(s, "c1", true, noWarning(t)), "")
	if err := <-ended; err == nil || err.Error() != "signal: killed" {
		t.Errorf("the process: %v", err)
	}
	wantGone(t, dir)
	wantGone(t, d.Path())
}

func TestDelete(t *testing.T) {
	s := testStore(t)
	wantError(t, "missing", Delete(s, "c1", false, noWarning(t)), "container does not exist")
	wantError(t, "missing with force", Delete(s, "c1", true, noWarning(t)), "")

	running := spawn(t, "sleep", "1000")
	d := put(t, s, "running", running.Process.Pid, nil)
	// containerd and podman show it.
	wantError(t, "running", Delete(s, "running", false, noWarning(t)), "cannot delete container running that is not stopped: running")
	if err := Delete(s, "running", true, noWarning(t)); err != nil {
		t.Fatal(err)
	}
	wantGone(t, d.Path())
	if err := running.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("running: its process: %v", err)
	}

	d, created := waiting(t, s, "created")
	if err := Delete(s, "created", false, noWarning(t)); err != nil {
		t.Fatal(err)
	}
	wantGone(t, d.Path())
	if err := created.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("created: its process: %v", err)
	}
}

// A create that was killed: it had made a cgroup and started a process, but
// written only what it was about to do.
func TestDeleteAfterKilledCreate(t *testing.T) {
	dir := testCgroup(t)
	s := testStore(t)
	cmd := spawn(t, "sleep", "1000")
	enter(t, dir, cmd.Process.Pid)
	d := put(t, s, "c1", 0, func(st *state.State) {
		st.Tongs.Phase = state.Creating
		st.Tongs.Runtime.Start--
		st.CgroupPaths = map[string]string{"": dir}
		st.Tongs.Owned.Cgroups = []string{dir}
	})
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	wantError(t, "delete", Delete(s, "c1", false, noWarning(t)), "")
	if err := <-ended; err == nil || err.Error() != "signal: killed" {
		t.Errorf("the process: %v", err)
	}
	wantGone(t, dir)
	wantGone(t, d.Path())
}

// The cgroup was there before the container: its processes are others' as long
// as create had not come to its end, and the directory stays in any case.
func TestDeleteSparesForeignCgroup(t *testing.T) {
	dir := testCgroup(t)
	s := testStore(t)
	cmd := spawn(t, "sleep", "1000")
	enter(t, dir, cmd.Process.Pid)
	put(t, s, "c1", 0, func(st *state.State) {
		st.Tongs.Phase = state.Creating
		st.CgroupPaths = map[string]string{"": dir}
	})
	wantError(t, "delete", Delete(s, "c1", true, noWarning(t)), "")
	if err := cmd.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("the other's process: %v", err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("the other's cgroup: %v", err)
	}
	cmd.Process.Kill()
	cmd.Wait()
}

func TestDeleteForceRemovesDamaged(t *testing.T) {
	s := testStore(t)
	for name, content := range map[string]string{"truncated": `{"id":"c1","init`, "empty": "", "foreign": `{"id":"c1"}`} {
		d := put(t, s, "c1", os.Getpid(), nil)
		if err := os.WriteFile(d.Path()+"/state.json", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Delete(s, "c1", false, noWarning(t)); err == nil || !strings.Contains(err.Error(), "cannot use") {
			t.Errorf("%s without force: got %v", name, err)
		}
		warned := 0
		wantError(t, name, Delete(s, "c1", true, func(string) { warned++ }), "")
		if warned != 1 {
			t.Errorf("%s: %d warnings, want 1", name, warned)
		}
		wantGone(t, d.Path())
	}
	// No state.json at all: the rest of a killed create or delete.
	d := put(t, s, "c1", os.Getpid(), nil)
	if err := os.Remove(d.Path() + "/state.json"); err != nil {
		t.Fatal(err)
	}
	wantError(t, "without state", Delete(s, "c1", false, noWarning(t)), "container does not exist")
	wantError(t, "without state, force", Delete(s, "c1", true, noWarning(t)), "")
	wantGone(t, d.Path())
}

func TestDeleteRaceHasOneWinner(t *testing.T) {
	s := testStore(t)
	for range 20 {
		put(t, s, "c1", os.Getpid(), func(st *state.State) { st.Start-- })
		var wg sync.WaitGroup
		errs := make([]error, 6)
		for i := range errs {
			wg.Go(func() { errs[i] = Delete(s, "c1", false, noWarning(t)) })
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			switch {
			case err == nil:
				won++
			case !errors.Is(err, state.ErrNotExist):
				t.Error(err)
			}
		}
		if won != 1 {
			t.Fatalf("%d deletes won", won)
		}
	}
}
