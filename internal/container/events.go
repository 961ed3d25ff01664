package container

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"tongs/internal/cgroup"
	"tongs/internal/resctrl"
	"tongs/internal/state"
)

// Event is a line of `events`: of type "stats", or "oom" without data.
type Event struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Data *Stats `json:"data,omitempty"`
}

// Stats is what a container uses. The key at the end is runc's: of containers
// that config.json describes it knows no network interfaces.
type Stats struct {
	*cgroup.Stats
	IntelRdt          *resctrl.Stats `json:"intel_rdt"`
	NetworkInterfaces []struct{}     `json:"network_interfaces"`
}

// ReadStats reads the statistics of a container that has not stopped.
func ReadStats(store *state.Store, id string) (*Event, error) {
	w, err := openWatched(store, id)
	if err != nil {
		return nil, err
	}
	defer w.close()
	return w.stats()
}

// Watch reports statistics at each interval, and each lack of memory at once,
// until the container ends. An error of emit ends it too. Statistics that cannot
// be read are left out, with a warning.
func Watch(store *state.Store, id string, interval time.Duration, emit func(*Event) error, warn func(string)) error {
	w, err := openWatched(store, id)
	if err != nil {
		return err
	}
	defer w.close()
	oom := -1 // which poll(2) skips
	w.oom, err = w.group.WatchOOM()
	if err == nil {
		oom = w.oom.FD()
	} else if !errors.Is(err, cgroup.ErrNoMemoryController) {
		return err
	}
	fds := []unix.PollFd{{Fd: int32(w.init.FD()), Events: unix.POLLIN}, {Fd: int32(oom), Events: unix.POLLIN}}
	for next := time.Now().Add(interval); ; {
		left := max(time.Until(next), 0) // a reading that took too long delays those after it
		if _, err := unix.Poll(fds, int((left+time.Millisecond-1)/time.Millisecond)); err != nil && err != unix.EINTR {
			return fmt.Errorf("cannot wait for events: poll: %w", err)
		}
		// What the container has died of comes before its end.
		if err := w.reportOOM(emit); err != nil {
			return err
		}
		if fds[0].Revents != 0 {
			return nil
		}
		if time.Now().Before(next) {
			continue
		}
		next = next.Add(max(interval, time.Since(next)))
		if e, err := w.stats(); err != nil {
			if ended, errWait := w.init.Wait(0); errWait == nil && ended {
				continue // and everything was removed meanwhile
			}
			warn(err.Error())
		} else if err := emit(e); err != nil {
			return err
		}
	}
}

// watched is a container that is looked at for some time.
type watched struct {
	id    string
	st    *state.State
	group *cgroup.Group
	init  *state.Process
	oom   *cgroup.OOM // may be nil
}

func openWatched(store *state.Store, id string) (*watched, error) {
	info, err := Query(store, id)
	if err != nil {
		return nil, err
	}
	var p *state.Process
	if info.Status != Stopped {
		p, err = state.OpenProcess(info.State.Init())
	}
	switch {
	case info.Status == Stopped || errors.Is(err, state.ErrProcessDone):
		return nil, fmt.Errorf("container with id %s is not running", id) // runc's phrase
	case err != nil:
		return nil, err
	}
	g, err := cgroup.Load(info.State.CgroupPaths, false) // only its files are read
	if err != nil {
		p.Close()
		return nil, err
	}
	return &watched{id: id, st: info.State, group: g, init: p}, nil
}

func (w *watched) close() {
	if w.oom != nil {
		w.oom.Close()
	}
	w.group.Close()
	w.init.Close()
}

func (w *watched) stats() (*Event, error) {
	s, err := w.group.Stats()
	if err != nil {
		return nil, err
	}
	rdt := new(resctrl.Stats)
	if w.st.IntelRdtPath != "" {
		root, err := resctrl.Root()
		if err != nil {
			return nil, err
		}
		rdt = resctrl.ReadStats(root, w.st.IntelRdtPath, monitorDir(w.st))
	}
	return &Event{Type: "stats", ID: w.id, Data: &Stats{Stats: s, IntelRdt: rdt}}, nil
}

func (w *watched) reportOOM(emit func(*Event) error) error {
	if w.oom == nil {
		return nil
	}
	n, err := w.oom.News()
	for ; err == nil && n > 0; n-- {
		err = emit(&Event{Type: "oom", ID: w.id})
	}
	return err
}
