package setup

import (
	"bytes"
	"errors"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// Hooks is how steps execute hooks (runtime-spec 1.3, config § POSIX-platform
// Hooks). It belongs to whoever sets the container up.
type Hooks struct {
	// Run executes a hook in tongs' namespaces.
	Run func(field string, h *specs.Hook, st *specs.State) error
	// Fill writes the input of hooks that the container's process executes:
	// those of createContainer, and those of startContainer.
	Fill func(create, start *specs.State) error
	// Watch follows hooks that the container's process executes, from index first on.
	Watch func(list string, hooks []specs.Hook, first int) error

	// As the container's process calls them: where it reports and where its
	// hooks write, and their input.
	Report, Output          kernel.Handle
	StartInput, CreateInput kernel.Handle
}

// hooks is never nil.
func (e *Env) hooks() *specs.Hooks {
	if e.Joined != nil || e.Spec.Hooks == nil {
		return &specs.Hooks{}
	}
	return e.Spec.Hooks
}

// hooksBeforePivot reports whether hooks run that may look at or change what is
// mounted in the container.
func (e *Env) hooksBeforePivot() bool {
	h := e.hooks()
	//lint:ignore SA1019 configurations of older specifications use it
	return len(h.Prestart)+len(h.CreateRuntime)+len(h.CreateContainer) > 0
}

// HooksInside reports whether the container's process executes hooks.
func (e *Env) HooksInside() bool {
	return len(e.hooks().CreateContainer)+len(e.hooks().StartContainer) > 0
}

// State is the container's state as hooks are told.
func (e *Env) State(status specs.ContainerState, pid int) *specs.State {
	return &specs.State{Version: e.Spec.Version, ID: e.ID, Status: status, Pid: pid, Bundle: e.Bundle, Annotations: e.Spec.Annotations}
}

// runRuntimeHooks executes the hooks of prestart and createRuntime on the host,
// where the container's mounts are complete and its root is not entered yet.
func runRuntimeHooks(e *Env) error {
	h := e.hooks()
	if e.hooksBeforePivot() && e.filtered() { // not for a container that cannot be
		if _, err := e.compilation.compiled(); err != nil {
			return err
		}
	}
	for _, l := range []struct {
		list  string
		hooks []specs.Hook
	}{
		//lint:ignore SA1019 configurations of older specifications use it
		{"hooks.prestart", h.Prestart},
		{"hooks.createRuntime", h.CreateRuntime},
	} {
		for i := range l.hooks {
			if err := e.Sync(); err != nil {
				return err
			}
			if err := e.Hooks.Run(item(l.list, i), &l.hooks[i], e.State(specs.StateCreating, e.PID.Count(1<<31))); err != nil {
				return err
			}
		}
	}
	return nil
}

// runCreateContainerHooks lets the container's process execute the hooks of
// createContainer: in the container's namespaces, with paths of the host, which
// the process's root directory still is.
func runCreateContainerHooks(e *Env) error {
	if !e.HooksInside() {
		return nil
	}
	hooks, list := e.hooks().CreateContainer, "hooks.createContainer"
	if len(hooks) == 0 {
		list = "hooks.startContainer"
	}
	e.B.For(list, "cannot ask for the process's own number")
	pid := e.B.Getpid()
	if err := e.Sync(); err != nil {
		return err
	}
	own := pid.Count(1 << 31)
	if err := e.Hooks.Fill(e.State(specs.StateCreating, own), e.State(specs.StateCreated, own)); err != nil {
		return err
	}
	if len(hooks) == 0 {
		return nil
	}
	for i := range hooks {
		if err := e.runCreateContainerHook(list, hooks[:i+1], i); err != nil {
			return err
		}
	}
	return nil
}

// runCreateContainerHook is for one alone: each is watched while it runs.
func (e *Env) runCreateContainerHook(list string, hooks []specs.Hook, i int) error {
	err := e.queueHooks(list, hooks, i, e.Hooks.CreateInput, func() {
		// What is still that of tongs or of the set-up.
		e.B.Umask(0o022)
		e.B.SchedSetaffinity(bytes.Repeat([]byte{0xff}, maxProcessors/8))
		e.B.Chdir("/")
	}, func(*Env) error { return nil })
	if err != nil {
		return err
	}
	var failed error
	e.B.Meanwhile = func() error {
		failed = e.Hooks.Watch(list, hooks, i)
		return failed
	}
	err = e.run()
	if failed != nil {
		return failed
	}
	return err
}

// queueStartContainerHooks puts the hooks of startContainer between the start
// and the program: by then the process has nothing left of its rights but what
// the program gets, and so have the hooks, which have its filter as well. Nobody is needed to watch them: one
// that fails or takes too long ends the process.
func queueStartContainerHooks(e *Env) error {
	if hooks := e.hooks().StartContainer; len(hooks) > 0 {
		return e.queueHooks("hooks.startContainer", hooks, 0, e.Hooks.StartInput, func() {}, loadSeccompOfHook)
	}
	return nil
}

// queueHooks adds the calls that execute hooks, from index from on. first and last is
// what each of them does before it executes its program.
func (e *Env) queueHooks(list string, hooks []specs.Hook, from int, input kernel.Handle, first func(), last func(*Env) error) (err error) {
	for i := from; i < len(hooks); i++ {
		h := &hooks[i]
		b := e.B.For(item(list, i), "cannot complete "+h.Path)
		child := b.Vfork(func() {
			first()
			b.Lseek(input, kernel.N(0), unix.SEEK_SET)
			b.Dup3(input, 0, 0)
			b.Dup3(e.Hooks.Output, 1, 0)
			b.Dup3(e.Hooks.Output, 2, 0)
			b.CloseRange(3, 0)
			args := h.Args
			if len(args) == 0 {
				args = []string{h.Path}
			}
			err = errors.Join(err, last(e))
			b.For(item(list, i), "cannot complete "+h.Path)
			b.Execve(h.Path, args, h.Env).Allow()
			b.Write(kernel.NewHandle(2, "stderr"), "tongs: cannot execute "+h.Path+"\n").Allow()
			b.ExitGroup(hookNotExecuted)
		})
		seconds := 0
		if h.Timeout != nil {
			seconds = *h.Timeout
		}
		b.PollEnd(child, seconds).WaitChild(child).WriteStatus(child, e.Hooks.Report).RequireSuccess(child)
	}
	return err
}

// hookNotExecuted is the exit status in place of a hook's that cannot be
// executed, as of a shell's command.
const hookNotExecuted = 127

// attachForHooks puts the root tree where config.json says that it is, in the
// container's namespace, and not over "/": hooks find the container's mounts
// there, and what they mount there is the container's. The name is looked up
// before anything of the container's runs, and must lead to the directory that
// the tree was opened on. A user namespace's root may not be able to reach it.
func attachForHooks(e *Env) (bool, error) {
	if !e.hooksBeforePivot() {
		return false, nil
	}
	p := e.hostPath(e.Spec.Root.Path)
	e.B.For("root.path", "cannot open "+p+" in the container's mount namespace")
	at := e.B.Openat2(kernel.CWD(), p, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0, 0)
	e.B.Allow(unix.EACCES)
	there, root := e.B.Stat(at), e.B.Allow(unix.EBADF).Stat(e.root)
	if err := e.run(); err != nil {
		return false, err
	}
	if at.Errno() != 0 {
		e.Warn("hooks: they cannot see the container's mounts at " + p + ", which the root of the user namespace cannot reach")
		return false, nil
	}
	if !there.SameFile(root) {
		return false, errRootMoved
	}
	e.B.For("root.path", "cannot attach the root file system at "+p)
	e.B.MoveMount(e.root, at)
	e.B.Close(at)
	e.atName = true
	return true, nil
}

// verifyName looks up root.path again, when the mounts are complete and no hook has
// run: whoever exchanged it for another directory has made it lead elsewhere than to
// the container's root, which hooks would then not see.
func verifyName(e *Env) error {
	if !e.atName {
		return nil
	}
	p := e.hostPath(e.Spec.Root.Path)
	e.B.For("root.path", "cannot look for the root file system at "+p)
	root, there := e.B.Stat(e.Root.Dir), e.B.StatPath(p)
	e.B.Check(func() error {
		if !there.IsOneOf([]*kernel.Stat{root}) {
			return errRootMoved
		}
		return nil
	})
	return nil
}
