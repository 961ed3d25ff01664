package container

import (
	"fmt"
	"runtime"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/hook"
	"tongs/internal/kernel"
	"tongs/internal/setup"
	"tongs/internal/state"
)

// hookFiles are our ends of what the container's process has for its hooks.
type hookFiles struct {
	report, output          int
	createInput, startInput int
}

// prepareHooks tells the steps how hooks are executed.
func (c *creation) prepareHooks() {
	c.env.Hooks = &setup.Hooks{
		Run: func(field string, h *specs.Hook, st *specs.State) error {
			return runHook(field, h, c.b.Dir, st, c.leave)
		},
		Fill: func(create, start *specs.State) error {
			if err := hook.Fill(c.hookFiles.createInput, create); err != nil {
				return err
			}
			return hook.Fill(c.hookFiles.startInput, start)
		},
		Watch: func(list string, hooks []specs.Hook, first int) error {
			w := hook.Watcher{Report: c.hookFiles.report, Output: c.hookFiles.output, PidFD: c.stub.PidFD}
			return w.Watch(list, hooks, first)
		},
	}
}

// runHook executes a hook on the host. leave is what stay has returned, or nil: a
// hook does not belong on the one processor that set-ups are faster on. Any
// thread may have been made by the one that was kept there, so it is called in
// that which forks.
func runHook(field string, h *specs.Hook, dir string, st *specs.State, leave func()) error {
	if leave != nil {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		leave()
	}
	data, err := hook.State(st)
	if err != nil {
		return err
	}
	if unix.Access(dir, unix.F_OK) == unix.ENOENT { // it may outlive its bundle
		dir = "/"
	}
	return hook.Run(field, h, dir, data)
}

// openHooks makes the files for hooks that the container's process executes,
// and gives those that it inherits, in the order that setup counts on: the
// first three last until the program. FIFOs and not pipes: `start` watches the
// hooks of a container that was created by somebody who has left.
func (c *creation) openHooks() ([]kernel.Handle, error) {
	if !c.env.HooksInside() {
		return nil, nil
	}
	f := &c.hookFiles
	var list []kernel.Handle
	var err error
	for _, s := range []struct {
		name  string
		ours  *int
		flags int // of the container's
	}{{state.HookReport, &f.report, unix.O_RDWR}, {state.HookOutput, &f.output, unix.O_WRONLY}} {
		if err := c.dir.MakeHookFIFO(s.name); err != nil {
			return nil, err
		}
		// In both directions: it never reads as ended.
		if *s.ours, err = c.dir.OpenHookFIFO(s.name, unix.O_RDWR|unix.O_NONBLOCK); err != nil {
			return nil, err
		}
		theirs, err := c.dir.OpenHookFIFO(s.name, s.flags)
		if err != nil {
			return nil, err
		}
		list = append(list, kernel.NewHandle(int64(theirs), s.name))
	}
	for _, in := range []*int{&f.startInput, &f.createInput} {
		if *in, err = hook.Input(); err != nil {
			return nil, err
		}
		list = append(list, kernel.NewHandle(int64(*in), "state"))
	}
	return list, nil
}

// giveHooks takes what the process calls the files of openHooks from the list of
// what it has inherited, and closes our copies of those that are its alone.
func (c *creation) giveHooks(files, inherited []kernel.Handle) (rest []kernel.Handle) {
	if len(files) == 0 {
		return inherited
	}
	h := c.env.Hooks
	h.Report, h.Output, h.StartInput, h.CreateInput = inherited[0], inherited[1], inherited[2], inherited[3]
	for _, theirs := range files[:2] {
		n, _, _ := theirs.Number(nil)
		unix.Close(int(n))
	}
	return inherited[len(files):]
}

// openWatcher opens what is needed to follow the hooks of startContainer in a
// container that this process has not created. It comes before they may run:
// what is written to a FIFO that nobody has open is lost.
func openWatcher(d *state.Dir, p *state.Process) (*hook.Watcher, error) {
	report, err := d.OpenHookFIFO(state.HookReport, unix.O_RDWR|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	output, err := d.OpenHookFIFO(state.HookOutput, unix.O_RDWR|unix.O_NONBLOCK)
	if err != nil {
		unix.Close(report)
		return nil, err
	}
	return &hook.Watcher{Report: report, Output: output, PidFD: p.FD()}, nil
}

func closeWatcher(w *hook.Watcher) {
	unix.Close(w.Report)
	unix.Close(w.Output)
}

func specState(st *state.State, status specs.ContainerState, pid int) *specs.State {
	return &specs.State{Version: st.Tongs.OCIVersion, ID: st.ID, Status: status, Pid: pid, Bundle: st.Tongs.Bundle, Annotations: st.Tongs.Annotations}
}

// runPoststart runs the hooks of poststart, up to the first that fails.
func runPoststart(st *state.State, hooks []specs.Hook, leave func()) error {
	for i := range hooks {
		if err := runHook(fmt.Sprintf("hooks.poststart[%d]", i), &hooks[i], st.Tongs.Bundle, specState(st, specs.StateRunning, st.PID), leave); err != nil {
			return err
		}
	}
	return nil
}

// runPoststop runs the hooks of poststop, all of them: the container is gone,
// whatever one of them says (runtime-spec 1.3, runtime § Lifecycle).
func runPoststop(st *state.State, hooks []specs.Hook, warn func(string), leave func()) {
	for i := range hooks {
		if err := runHook(fmt.Sprintf("hooks.poststop[%d]", i), &hooks[i], st.Tongs.Bundle, specState(st, specs.StateStopped, 0), leave); err != nil {
			warn(err.Error())
		}
	}
}
