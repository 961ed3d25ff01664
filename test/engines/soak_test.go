package engines

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tongs/internal/linuxtest"
)

// soak is some clients of one containerd, for which tongs is killed now and then.
type soak struct {
	*containerd
	end   time.Time
	kills string // directory with a file for each container that a tongs was killed for

	mutex sync.Mutex
	done  int // operations
}

// killer is the runtime that containerd gets: one in eight times it kills tongs after
// some milliseconds. That is noted before, so that who sees the effect finds the note.
// The caller finds that it was killed itself.
const killer = `#!/bin/bash
[ $((RANDOM % 8)) = 0 ] || exec TONGS "$@"
TONGS "$@" <&0 &
sleep 0.00$((RANDOM % 10))$((RANDOM % 10))
for a; do
	case $a in PREFIX*) echo >>KILLS/"$a";; esac
done
kill -KILL $! && kill -KILL $$
`

// TestSoak leads containers through random lives, from several clients at once, for
// half a minute, or half an hour if TONGS_LONG is set. tongs is killed at random.
// What fails must have been killed; in the end nothing is left.
func TestSoak(t *testing.T) {
	h := linuxtest.One(t)
	privateRun(t, h)
	s := &soak{containerd: startContainerd(t, h, withoutCRI), kills: directory(t, h, "kills")}
	t.Cleanup(s.containerd.end)
	s.binary = h.Dir + "/killer"
	script := strings.NewReplacer("TONGS", h.Argv()[0], "PREFIX", h.ID(""), "KILLS", s.kills).Replace(killer)
	if err := os.WriteFile(s.binary, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	length := 30 * time.Second
	if os.Getenv("TONGS_LONG") != "" {
		length = 30 * time.Minute
	}
	s.end = time.Now().Add(length)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var clients sync.WaitGroup
	for n := range 3 {
		h.Go(&clients, func() { s.live(n, rand.New(rand.NewPCG(seed, uint64(n)))) })
	}
	clients.Wait()
	killed, err := os.ReadDir(s.kills)
	t.Logf("%d operations; for %d containers tongs was killed", s.done, len(killed))
	if err != nil || s.done < enough || len(killed) == 0 {
		t.Errorf("too little has happened: %v", err)
	}
	s.rest()
}

// enough is how many operations there are at least, however long they take.
const enough = 20

// goesOn reports whether clients have more to do.
func (s *soak) goesOn() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return !s.t.Failed() && (time.Now().Before(s.end) || s.done < enough)
}

// wasKilled counts the kills of what worked for a container.
func (s *soak) wasKilled(id string) int64 {
	st, err := os.Stat(filepath.Join(s.kills, id))
	if err != nil {
		return 0
	}
	return st.Size()
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
	for i := 0; s.goesOn(); i++ {
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
