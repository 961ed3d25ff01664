package container

import (
	"os"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/notify"
	"tongs/internal/state"
)

// announce adds to the configuration what the container's program finds of a
// service manager that has started us: its sockets (sd_listen_fds(3)), and a
// socket to say that it is ready (sd_notify(3)).
func (c *creation) announce() error {
	spec := c.b.Spec
	if n := c.o.ListenFDs; n > 0 {
		spec.Process.Env = append(spec.Process.Env, "LISTEN_FDS="+strconv.Itoa(n), "LISTEN_PID=1")
	}
	if c.o.NotifySocket == "" {
		return nil
	}
	return c.showNotify()
}

// showNotify adds the directory of the socket to the container.
func (c *creation) showNotify() error {
	spec := c.b.Spec
	if err := notify.MakeDir(c.dir.FD()); err != nil {
		return err
	}
	spec.Mounts = append(spec.Mounts, notifyMount(c.dir))
	spec.Process.Env = append(spec.Process.Env, notify.Env())
	return nil
}

// notifyMount is what the container sees of the directory of that socket.
func notifyMount(d *state.Dir) specs.Mount {
	return specs.Mount{Destination: notify.Inside, Type: "bind", Source: d.Path() + "/" + notify.DirName,
		Options: []string{"bind", "nosuid", "noexec", "nodev", "ro"}}
}

// awaitReady prepares to wait for the container's program to be ready, and
// gives the wait: until then, or until the program has ended.
func awaitReady(d *state.Dir, address string) (wait func(mainPID, pidfd int) error, err error) {
	none := func(int, int) error { return nil }
	if address == "" {
		return none, nil
	}
	s, ok, err := notify.Listen(d.FD())
	if err != nil || !ok {
		return none, err
	}
	return func(mainPID, pidfd int) error {
		defer s.Close()
		return s.Forward(address, mainPID, pidfd)
	}, nil
}

// readyInForeground passes on that the program is ready while we wait for its
// end: the service manager's main process is this one.
func readyInForeground(init *Init, address string, warn func(string)) error {
	wait, err := awaitReady(init.Dir, address)
	if err != nil || address == "" {
		return err
	}
	go func() {
		if err := wait(os.Getpid(), init.PidFD); err != nil {
			warn(err.Error())
		}
	}()
	return nil
}
