package attack

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tongs/internal/linuxtest"
)

// tries and raceTime bound each race, which is none with fewer than a few containers.
const tries, few, many = 2000, 5, 100

func raceTime() time.Duration {
	if testing.Short() {
		return time.Second
	}
	return 20 * time.Second
}

// raceIn runs a subtest that is a race, beside others of the same test.
func raceIn(t *testing.T, h *linuxtest.Host, name string, test func(t *testing.T, h *linuxtest.Host)) {
	t.Helper()
	h.Sub(t, "race: "+name, func(t *testing.T, h *linuxtest.Host) {
		t.Parallel()
		test(t, h)
	})
}

// race lets one goroutine act without a pause while containers are tried, and
// tells how often each happened.
func (s *scene) race(act func() error, try func(i int) (started bool)) ending {
	s.t.Helper()
	var stop atomic.Bool
	var acts, missed int
	var wg sync.WaitGroup
	s.Go(&wg, func() {
		for !stop.Load() {
			if err := act(); err == nil {
				acts++
			} else if missed++; errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
				s.t.Errorf("the attack does not work here: %v", err)
				return
			}
		}
	})
	end := func() { stop.Store(true); wg.Wait() }
	defer end() // of a test that gives up, too
	e := ending{t: s.t}
	for until := time.Now().Add(raceTime()); e.tries() < tries && (time.Now().Before(until) || e.tries() < few) && !s.t.Failed(); {
		if try(e.tries()) {
			e.started++
		} else {
			e.refused++
		}
		if e.tries()%100 == 0 {
			s.checkVictim()
		}
	}
	end()
	s.t.Logf("%d containers started, %d refused, %d swaps, %d missed", e.started, e.refused, acts, missed)
	if n := e.tries(); !s.t.Failed() && (acts < n || acts < missed) {
		s.t.Errorf("no race: %d swaps, %d missed, for %d containers", acts, missed, n)
	}
	return e
}

// runs is a try of a race: the scene's bundle is run, and what has started is checked.
func (s *scene) runs(check func(*testing.T, *scene, *outcome)) func(int) bool {
	return func(int) bool {
		s.t.Helper()
		o := s.run("a")
		if o.started {
			check(s.t, s, o)
		}
		return o.started
	}
}

// ending is how often the containers of a race started and were refused.
type ending struct {
	t                *testing.T
	started, refused int
}

func (e ending) tries() int { return e.started + e.refused }

// bothWays is for races in which a fifth of the containers start, and a fifth do not,
// whatever else the machine does: if none does, nobody has been attacked, or nothing
// was noticed. It takes many to tell.
func (e ending) bothWays() {
	e.t.Helper()
	if n := e.tries(); n >= many && (e.started == 0 || e.refused == 0) {
		e.t.Errorf("no race: of %d containers %d started", n, e.started)
	}
}

// swap is the exchange of a good object for a trap at a path of the root.
type swap struct {
	path string // absolute, in the root; "vol:/x" in a volume beside it
	good string // as in object
	trap string
}

// attackCase is a configuration with one or more swaps.
type attackCase struct {
	name  string
	dirs  []string // made in the root beforehand
	swaps []swap
	edits func(s *scene, i int) []linuxtest.Edit
	fresh bool // edits differ from try to try, by its number
	check func(t *testing.T, s *scene, o *outcome)
	// refused is a part of the static trap's error; "" if the container starts.
	refused string
	// noRace: the trap alone; a race would be the same as another one.
	noRace bool
	// bothWays: in the race some containers start, and some do not (ending).
	bothWays bool
}

// place is where a path of a swap lies on the host.
func (s *scene) place(path string) string {
	if rest, ok := strings.CutPrefix(path, "vol:"); ok {
		return s.volume() + rest
	}
	return s.root + path
}

// volume is a directory of the host that containers share.
func (s *scene) volume() string { return s.bundle + "/volume" }

// play plays each case as trap and as race.
func play(t *testing.T, h *linuxtest.Host, cases []attackCase) {
	for _, c := range cases {
		h.Sub(t, "trap: "+c.name, func(t *testing.T, h *linuxtest.Host) { c.trap(newScene(t, h)) })
		if !c.noRace {
			raceIn(t, h, c.name, func(t *testing.T, h *linuxtest.Host) { c.race(newScene(t, h)) })
		}
	}
}

// prepare makes the good objects, each with its trap beside it.
func (c *attackCase) prepare(s *scene) {
	s.object(s.volume(), "dir")
	for _, dir := range c.dirs {
		s.must(os.MkdirAll(s.place(dir), 0o755))
	}
	for _, w := range c.swaps {
		if w.good != "dir" || !slices.Contains(c.dirs, w.path) {
			s.object(s.place(w.path), w.good)
		}
		if w.good != "missing" {
			s.object(s.place(w.path)+".trap", w.trap)
		}
	}
}

func (c *attackCase) write(s *scene, i int) {
	edits := []linuxtest.Edit{look(), writable}
	if c.edits != nil {
		edits = append(edits, c.edits(s, i)...)
	}
	s.WriteConfig(s.bundle, linuxtest.Spec(edits...))
}

func (c *attackCase) trap(s *scene) {
	s.t.Helper()
	c.prepare(s)
	for _, w := range c.swaps {
		if w.good == "missing" {
			s.object(s.place(w.path), w.trap)
		} else {
			s.must(exchange(s.place(w.path), s.place(w.path)+".trap"))
		}
	}
	c.write(s, 0)
	o := s.run("trap")
	switch {
	case c.refused != "" && (o.started || !strings.Contains(o.Stderr, c.refused)):
		s.t.Errorf("status %d, stderr %q, want an error with %q", o.Status, o.Stderr, c.refused)
	case c.refused == "" && !o.started:
		s.t.Errorf("refused: %s", o.Stderr)
	}
	c.checkStarted(s, o)
}

func (c *attackCase) checkStarted(s *scene, o *outcome) {
	s.t.Helper()
	if !o.started {
		return
	}
	if c.check != nil {
		c.check(s.t, s, o)
	} else {
		s.t.Helper()
		correct(s.t, s, o)
	}
}

func (c *attackCase) race(s *scene) {
	s.t.Helper()
	c.prepare(s)
	next := 0
	act := func() error {
		w := s.place(c.swaps[next%len(c.swaps)].path)
		next++
		return exchange(w, w+".trap")
	}
	c.write(s, 0)
	e := s.race(act, func(i int) bool {
		if i > 0 && c.fresh {
			c.write(s, i)
		}
		o := s.run(fmt.Sprint(i))
		c.checkStarted(s, o)
		return o.started
	})
	if c.bothWays {
		e.bothWays()
	}
}
