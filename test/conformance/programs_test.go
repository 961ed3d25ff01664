// Package conformance runs the validation programs of the OCI's runtime-tools
// against tongs. What they find wrong must be what docs/conformance.md lists, no
// more and no less; what that says of runc is asked of runc.
//
// It deliberately has no opinion of its own on containers.
package conformance

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tongs/internal/linuxtest"
)

func TestMain(m *testing.M) { linuxtest.Main(m) }

const module = "github.com/opencontainers/runtime-tools"

// programs builds the validation programs into a directory, beside what they look
// for there.
func programs(t *testing.T, dir string) []string {
	t.Helper()
	run := func(args ...string) string {
		cmd := exec.Command("go", args...)
		cmd.Dir = "programs"
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("cannot build the validation programs: go %q: %v\n%s", args, err, stderr.Bytes())
		}
		return strings.TrimSpace(string(out))
	}
	run("build", "-trimpath", "-ldflags", "-s -w", "-o", dir+"/", module+"/cmd/runtimetest", module+"/validation/...")
	var list []string
	for path := range strings.FieldsSeq(run("list", "-f", "{{if eq .Name \"main\"}}{{.ImportPath}}{{end}}", module+"/validation/...")) {
		list = append(list, filepath.Base(path))
	}
	tar := fmt.Sprintf("rootfs-%s.tar.gz", runtime.GOARCH)
	data, err := os.ReadFile(filepath.Join(run("list", "-m", "-f", "{{.Dir}}", module), tar))
	if os.IsNotExist(err) {
		t.Skipf("%s has no %s", module, tar)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, tar), data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// suite is the programs as they are run against one runtime.
type suite struct {
	h       *linuxtest.Host
	t       *testing.T
	dir     string // of the programs
	runtime string
	peer    bool // it is not tongs

	mutex    sync.Mutex
	verdicts map[string]verdict
}

func newSuite(t *testing.T, h *linuxtest.Host, dir string) *suite {
	t.Helper()
	s := &suite{h: h, t: t, dir: dir, verdicts: make(map[string]verdict)}
	s.runtime = filepath.Join(h.Dir, "runtime-"+filepath.Base(h.Argv()[0]))
	script := fmt.Sprintf("#!/bin/sh\nexec %s \"$@\"\n", strings.Join(h.Argv(), " "))
	if err := os.WriteFile(s.runtime, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs programs. They mostly sleep, so several run at once, but for those that
// use one and the same cgroup.
func (s *suite) run(list []string) {
	work := make(chan string, len(list))
	var cgroups []string
	for _, p := range list {
		if strings.Contains(p, "cgroups") || strings.Contains(p, "resources") {
			cgroups = append(cgroups, p)
		} else {
			work <- p
		}
	}
	close(work)
	var wg sync.WaitGroup
	s.h.Go(&wg, func() {
		for _, p := range cgroups {
			s.one(p)
		}
	})
	for range 8 {
		s.h.Go(&wg, func() {
			for p := range work {
				s.one(p)
			}
		})
	}
	wg.Wait()
	s.clean()
}

// racing is a program that compares the order of two lines, which a hook and the
// container's shell write after both have begun: on a busy machine the hook's is first
// in some 4 of 100 runs, although its shell was started last.
const racing = "poststart"

// starved is a program that limits its address space: of runc, which takes the
// limit before it makes the seccomp filter, a "create" ends in ENOMEM now and then.
const starved = "process_rlimits"

// signalled is a program that sends a signal as soon as the container is running: its
// shell, as the first process, does not get it if it has not come to "trap" by then.
const signalled = "killsig"

// ended is a program that kills a container whose "true" has mostly, not always, ended.
const ended = "pidfile"

// asksAgain reports whether an answer may be chance. Nothing that tongs fails in is
// asked again, but for the races.
func (s *suite) asksAgain(program string, v verdict) bool {
	switch program {
	case racing, signalled:
		return len(v.failures) > 0
	case ended:
		return len(v.failures) == 0
	case starved:
		return s.peer && strings.Contains(v.output, "cannot allocate memory")
	}
	return false
}

func (s *suite) one(program string) {
	v := s.ask(program)
	for tries := 1; s.asksAgain(program, v) && tries < 4; tries++ {
		v = s.ask(program)
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.verdicts[program] = v
}

func (s *suite) ask(program string) verdict {
	ctx, cancel := context.WithTimeout(s.t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.dir, program))
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "TMPDIR="+s.h.Dir, "RUNTIME="+s.runtime)
	// Without a mount namespace runc leaves its mounts behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	v := judge(stdout.String(), err)
	v.output = fmt.Sprintf("%v\n%s%s", err, brief(stdout.String()), stderr.String())
	return v
}

// clean removes what programs leave: containers, if they give up half-way, and the
// parent of a cgroup.
func (s *suite) clean() {
	for id := range strings.FieldsSeq(s.h.Must("list", "--quiet").Stdout) {
		s.h.Must("delete", "--force", id)
	}
	for _, pattern := range []string{"/sys/fs/cgroup/testdir", "/sys/fs/cgroup/*/testdir"} {
		dirs, _ := filepath.Glob(pattern) // which is fine
		for _, dir := range dirs {
			os.Remove(filepath.Join(dir, "cgrouptest"))
			os.Remove(dir)
		}
	}
}

// TestValidation wants each program to be content, but for what is listed.
func TestValidation(t *testing.T) {
	rows := readList(t, "../../docs/conformance.md")
	dir := t.TempDir()
	list := programs(t, dir)
	if len(list) < 50 {
		t.Fatalf("only %d programs were found", len(list))
	}
	for _, r := range rows {
		if !slices.Contains(list, r.program) {
			t.Errorf("docs/conformance.md lists %s, which is no program", r.program)
		}
	}
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		here := slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return !r.applies(t, h) })
		tongs := newSuite(t, h, dir)
		tongs.run(list)
		runc := newSuite(t, h.With("runc"), dir)
		runc.peer = true
		var listed []string
		for _, r := range here {
			listed = append(listed, r.program)
		}
		slices.Sort(listed)
		runc.run(slices.Compact(listed))
		for _, program := range slices.Sorted(maps.Keys(tongs.verdicts)) {
			t.Run(program, func(t *testing.T) { check(t, program, here, tongs.verdicts[program], runc.verdicts[program]) })
		}
	})
}

// check compares what a program said with the rows of the list.
func check(t *testing.T, program string, rows []row, tongs, runc verdict) {
	var expected []string
	for _, r := range rows {
		if r.program != program {
			continue
		}
		expected = append(expected, r.fails)
		if !tongs.fails(r.fails) {
			t.Errorf("docs/conformance.md lists %q, which is right now: strike it", r.fails)
		}
		if got := runc.fails(r.fails); got != (r.runc == same) {
			t.Errorf("docs/conformance.md says of runc and %q: %q, but it fails: %v\n%s", r.fails, r.runc, got, runc.output)
		}
	}
	for _, f := range tongs.failures {
		if !slices.Contains(expected, f) && !slices.Contains(expected, anything) {
			t.Errorf("fails: %s\n%s", f, tongs.output)
		}
	}
}
