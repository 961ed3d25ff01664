package container

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/kernel"
	"tongs/internal/kernel/stub"
	"tongs/internal/listener"
	"tongs/internal/seccomp"
	"tongs/internal/setup"
	"tongs/internal/socket"
)

// agent is who answers for the calls that linux.seccomp gives SCMP_ACT_NOTIFY
// (runtime-spec 1.3, config-linux § Seccomp): it gets the listener of a
// process's filter, and is told whose it is.
type agent struct{ path, metadata string }

// agentOf is nil if the configuration needs none.
func agentOf(spec *specs.Spec, bundleDir string) *agent {
	if spec.Linux == nil || !seccomp.Notifies(spec.Linux.Seccomp) {
		return nil
	}
	s := spec.Linux.Seccomp
	a := &agent{s.ListenerPath, s.ListenerMetadata}
	if !filepath.IsAbs(a.path) {
		a.path = filepath.Join(bundleDir, a.path)
	}
	return a
}

// check finds an agent that is missing before there is a container.
func (a *agent) check() error {
	if a == nil {
		return nil
	}
	return a.wrap(socket.Check(a.path))
}

// agentError is what is wrong with the agent.
type agentError struct{ err error }

func (e *agentError) Error() string { return "linux.seccomp.listenerPath: " + e.err.Error() }

func (a *agent) wrap(err error) error {
	if err != nil {
		return &agentError{err}
	}
	return nil
}

// hold holds a process that is going to load its filter until the agent has the
// listener. st is the container that the process belongs to.
func (a *agent) hold(pid, pidfd int, st *specs.State) (*listener.Held, error) {
	if a == nil {
		return nil, nil
	}
	text, err := json.Marshal(&specs.ContainerProcessState{Version: specs.Version, Fds: []string{specs.SeccompFdName},
		Pid: pid, Metadata: a.metadata, State: *st})
	if err != nil {
		return nil, fmt.Errorf("linux.seccomp: cannot encode the state for the agent: %w", err)
	}
	h, err := listener.Hold(pid, pidfd, func(fd int) error { return a.wrap(socket.Deliver(a.path, string(text), fd)) })
	if err != nil {
		return nil, fmt.Errorf("linux.seccomp: %w", err)
	}
	return h, nil
}

// show lets an ordinary user hold the process: it was executed in the host's user
// namespace, where only root may trace what is not dumpable. Nothing of the
// host's is open in it by then.
func (a *agent) show(s *stub.Stub, env *setup.Env) error {
	if a == nil || os.Geteuid() == 0 {
		return nil
	}
	s.Show()
	env.B = &kernel.Batch{}
	return env.Do(setup.ShowOrder())
}

// told waits until the agent has the listener of a process that was held.
func told(h *listener.Held) error {
	if h == nil {
		return nil
	}
	err := h.Wait()
	if _, ok := err.(*agentError); ok || err == nil {
		return err
	}
	return fmt.Errorf("linux.seccomp: %w", err)
}
