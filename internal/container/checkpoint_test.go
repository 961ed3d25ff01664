package container

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/criu"
	"tongs/internal/state"
)

// checkpointed is a container as its state has it.
func checkpointed() *state.State {
	return &state.State{PID: 42, Config: state.Config{Rootfs: "/r"}, CgroupPaths: map[string]string{"": "/sys/fs/cgroup/c"}}
}

func TestCheckpointOptions(t *testing.T) {
	for name, c := range map[string]struct {
		set   func(*CheckpointOptions, *state.State)
		check func(*criu.Options) bool
	}{
		"nothing": {func(*CheckpointOptions, *state.State) {}, func(o *criu.Options) bool {
			return o.PID == 42 && o.Root == "/r" && o.Freezer == "/sys/fs/cgroup/c" && o.EmptyNS == unix.CLONE_NEWNET && o.Cgroups == criu.CgroupDefault &&
				o.ConfigFile == "/etc/criu/runc.conf" && o.WorkDir == -1 && o.LogFile == "dump.log" && !o.TrackMemory && !o.LeaveRunning
		}},
		"parent":      {func(o *CheckpointOptions, _ *state.State) { o.ParentPath = "../1" }, func(o *criu.Options) bool { return o.ParentDir == "../1" && o.TrackMemory }},
		"page server": {func(o *CheckpointOptions, _ *state.State) { o.PageServer = "[::1]:9" }, func(o *criu.Options) bool { return o.PageServer == "::1" && o.PagePort == 9 }},
		"flags": {func(o *CheckpointOptions, _ *state.State) {
			o.TCPEstablished, o.ExtUnixSockets, o.ShellJob, o.FileLocks, o.AutoDedup, o.LazyPages = true, true, true, true, true, true
			o.LeaveRunning, o.TCPSkipInFlight, o.LinkRemap, o.EmptyNS = true, true, true, []string{"network", "network"}
		}, func(o *criu.Options) bool {
			return o.TCPEstablished && o.ExtUnixSockets && o.ShellJob && o.FileLocks && o.AutoDedup && o.LazyPages && o.LeaveRunning && o.TCPSkipInFlight && o.LinkRemap
		}},
		"configuration file": {func(_ *CheckpointOptions, st *state.State) {
			st.Tongs.Annotations = map[string]string{"org.criu.config": "/x"}
		},
			func(o *criu.Options) bool { return o.ConfigFile == "/x" }},
		"no configuration file": {func(_ *CheckpointOptions, st *state.State) {
			st.Tongs.Annotations = map[string]string{"org.criu.config": ""}
		},
			func(o *criu.Options) bool { return o.ConfigFile == "" }},
		"cgroup v1": {func(_ *CheckpointOptions, st *state.State) {
			st.CgroupPaths = map[string]string{"": "/u", "freezer": "/f", "cpu": "/c"}
		},
			func(o *criu.Options) bool { return o.Freezer == "/f" }},
		"ignored cgroups": {func(o *CheckpointOptions, _ *state.State) { o.CgroupMode = "ignore" }, func(o *criu.Options) bool { return o.Cgroups == criu.CgroupIgnore }},
		"strict cgroups":  {func(o *CheckpointOptions, _ *state.State) { o.CgroupMode = "strict" }, func(o *criu.Options) bool { return o.Cgroups == criu.CgroupStrict }},
	} {
		k := &checkpointing{o: CheckpointOptions{StatusFD: -1}, st: checkpointed()}
		c.set(&k.o, k.st)
		if o, err := k.options(); err != nil || !c.check(o) {
			t.Errorf("%s: %+v: %v", name, o, err)
		}
	}
}

func TestCheckpointOptionsRefused(t *testing.T) {
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for want, set := range map[string]func(*CheckpointOptions){
		"invalid manage-cgroups-mode value":            func(o *CheckpointOptions) { o.CgroupMode = "loose" },
		`--empty-ns: namespace "ipc" is not supported`: func(o *CheckpointOptions) { o.EmptyNS = []string{"network", "ipc"} },
		"--parent-path must be relative":               func(o *CheckpointOptions) { o.ParentPath = "/x" },
		"Use --page-server ADDRESS:PORT":               func(o *CheckpointOptions) { o.PageServer = "host" },
		"Invalid port number":                          func(o *CheckpointOptions) { o.PageServer = "host:x" },
		"invalid --status-fd argument 98765: bad file": func(o *CheckpointOptions) { o.StatusFD = 98765 },
		"not writable":                                 func(o *CheckpointOptions) { o.StatusFD = int(null.Fd()) },
	} {
		k := &checkpointing{o: CheckpointOptions{StatusFD: -1}, st: checkpointed()}
		set(&k.o)
		if o, err := k.options(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %+v", want, err, o)
		}
	}
}

func TestHidden(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir+"/open/shut/store", 0o755); err != nil {
		t.Fatal(err)
	}
	if got := hidden(dir + "/open/shut/store"); got != dir+"/open/shut/store" && !strings.HasPrefix(dir, got+"/") {
		t.Errorf("all can be searched: %s", got)
	}
	if err := os.Chmod(dir+"/open/shut", 0o700); err != nil {
		t.Fatal(err)
	}
	if got := hidden(dir + "/open/shut/store"); got != dir+"/open/shut" && !strings.HasPrefix(dir, got+"/") {
		t.Errorf("one cannot be searched: %s", got)
	}
}
