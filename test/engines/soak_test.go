package engines

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tongs/internal/linuxtest"
)

// soak is some clients of one containerd and somebody who kills tongs while it
// works for them.
type soak struct {
	*containerd
	end time.Time

	mutex  sync.Mutex
	kills  map[string]int // by container
	killed int
	done   int // operations
}

// TestSoak leads containers through random lives, from several clients at once, for
// half a minute, or half an hour if TONGS_LONG is set. tongs is killed at random.
// What fails must have been killed; in the end nothing is left.
func TestSoak(t *testing.T) {
	h := linuxtest.One(t)
	privateRun(t, h)
	s := &soak{containerd: startContainerd(t, h, withoutCRI), kills: make(map[string]int)}
	t.Cleanup(s.containerd.end)
	if t.Failed() {
		return
	}
	length := 30 * time.Second
	if os.Getenv("TONGS_LONG") != "" {
		length = 30 * time.Minute
	}
	s.end = time.Now().Add(length)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var clients, killer sync.WaitGroup
	stop := make(chan struct{})
	h.Go(&killer, func() { s.killer(rand.New(rand.NewPCG(seed, 0)), stop) })
	for n := range 3 {
		h.Go(&clients, func() { s.live(n, rand.New(rand.NewPCG(seed, uint64(n)+1))) })
	}
	clients.Wait()
	close(stop)
	killer.Wait()
	t.Logf("%d operations, %d of them with a kill", s.done, s.killed)
	if s.done < 20 || s.killed == 0 {
		t.Errorf("too little has happened: %d operations, %d kills", s.done, s.killed)
	}
	s.rest()
}

// killer kills a tongs every now and then, and notes for which container it worked.
func (s *soak) killer(r *rand.Rand, stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(1+r.IntN(20)) * time.Millisecond):
		}
		pid, args := s.victim(r)
		if pid == 0 || r.IntN(3) != 0 {
			continue
		}
		s.mutex.Lock()
		// Before the signal: who sees its effect finds the note.
		for _, a := range args {
			if strings.HasPrefix(a, s.h.ID("")) {
				s.kills[a]++
			}
		}
		s.killed++
		s.mutex.Unlock()
		syscall.Kill(pid, syscall.SIGKILL) // it may have ended
	}
}

// victim is a process of our tongs, if there is one: not a container's, which
// executes something else.
func (s *soak) victim(r *rand.Rand) (int, []string) {
	files, _ := filepath.Glob("/proc/[1-9]*/exe") // which is fine
	for _, i := range r.Perm(len(files)) {
		if path, err := os.Readlink(files[i]); err != nil || path != s.h.Argv()[0] {
			continue
		}
		dir := filepath.Dir(files[i])
		cmdline, err := os.ReadFile(dir + "/cmdline")
		pid, _ := strconv.Atoi(filepath.Base(dir)) // of digits
		if err == nil {
			return pid, strings.Split(string(bytes.TrimRight(cmdline, "\x00")), "\x00")
		}
	}
	return 0, nil
}

// wasKilled counts the kills of what worked for a container.
func (s *soak) wasKilled(id string) int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.kills[id]
}

// try runs an operation and wants its status and a text of its output, unless tongs
// was killed meanwhile. It reports whether all went well.
func (s *soak) try(id, want string, status int, op func() (string, int)) bool {
	before := s.wasKilled(id)
	out, got := op()
	s.mutex.Lock()
	s.done++
	s.mutex.Unlock()
	if got == status && strings.Contains(out, want) {
		return true
	}
	if s.wasKilled(id) == before {
		s.t.Errorf("%s: refused without a reason: status %d, want %d and %q: %s", id, got, status, want, out)
	}
	return false
}

// live is one client: it makes a container, does things with it, and removes it.
func (s *soak) live(n int, r *rand.Rand) {
	for i := 0; time.Now().Before(s.end) && !s.t.Failed(); i++ {
		id := s.h.ID(fmt.Sprintf("%d-%d", n, i))
		if r.IntN(3) == 0 {
			s.try(id, "said\n", 7, func() (string, int) { return s.sh(id, nil, "echo said; exit 7") })
		} else if s.try(id, "", 0, func() (string, int) { return s.run(id, []string{"--detach"}, "/bin/sleep", "1000") }) {
			s.use(id, r)
		}
		s.remove(id)
	}
}

// use does random things with a running container.
func (s *soak) use(id string, r *rand.Rand) {
	do := func(args ...string) func() (string, int) {
		return func() (string, int) { return s.do(append([]string{"tasks"}, args...)...) }
	}
	for i := range r.IntN(8) {
		ok := true
		switch r.IntN(5) {
		case 0:
			ok = s.try(id, "inside\n", 3, do("exec", "--exec-id", fmt.Sprint("e", i), id, "/bin/sh", "-c", "echo inside; sleep 0.2; exit 3"))
		case 1:
			ok = s.try(id, "PID", 0, do("ps", id))
		case 2:
			ok = s.try(id, id, 0, do("metrics", id))
		case 3:
			ok = s.try(id, "", 0, do("pause", id)) && s.try(id, "", 0, do("resume", id))
		case 4:
			ok = s.try(id, "", 0, do("kill", "--signal", "URG", id))
		}
		if !ok {
			return
		}
		time.Sleep(time.Duration(r.IntN(200)) * time.Millisecond)
	}
}

// remove removes a container, again and again while tongs is being killed.
func (s *soak) remove(id string) {
	there := func(args ...string) bool {
		out, status := s.do(args...)
		return status != 0 || strings.Contains(out, id+"\n")
	}
	for range 30 {
		s.do("tasks", "kill", "--signal", "KILL", id)
		s.do("tasks", "rm", "--force", id)
		s.do("containers", "rm", id)
		if !there("containers", "ls", "--quiet") && !there("tasks", "ls", "--quiet") {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.t.Errorf("%s cannot be removed", id)
}

// rest finds what is left: of containers whose delete was killed, and which
// containerd has given up, their state. A delete by hand ends them, too.
func (s *soak) rest() {
	for _, what := range []string{"tasks", "containers"} {
		if out := strings.TrimSpace(s.must(what, "ls", "--quiet")); out != "" {
			s.t.Errorf("%s are left: %s", what, out)
		}
	}
	const root = "/run/containerd/runc/default"
	entries, err := os.ReadDir(root)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		if s.wasKilled(e.Name()) == 0 {
			s.t.Errorf("%s is left, and nobody was killed for it", e.Name())
		}
		r := s.h.Exec(linuxtest.Command{Bare: true, Args: []string{"--root", root, "delete", "--force", e.Name()}})
		if r.Status != 0 {
			s.t.Errorf("%s cannot be deleted: %s", e.Name(), r.Stderr)
		}
	}
	s.t.Logf("%d were left to be deleted by hand", len(entries))
	if left, _ := os.ReadDir(root); len(left) > 0 {
		s.t.Errorf("state is left: %v", left)
	}
}
