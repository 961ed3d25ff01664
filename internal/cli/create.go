package cli

import (
	"fmt"
	"os"
	"strconv"

	"tongs/internal/container"
)

func createCommand() command {
	return command{
		name:  "create",
		args:  "ID",
		short: "make a container, to be started later",
		about: "The container's process waits until `tongs start ID`.\n\nexample: tongs create -b /bundles/web web1\n",
		flags: createFlags,
		min:   1, max: 1,
		run: runCreate,
	}
}

// createFlags are those that run has, too.
func createFlags(fs *flagSet, o *options) {
	fs.stringVar(&o.bundle, "bundle", "b", "", "`DIR` of config.json (default: where we are)")
	fs.stringVar(&o.consoleSocket, "console-socket", "", "", "send the terminal's master to this AF_UNIX `PATH`")
	fs.stringVar(&o.pidfdSocket, "pidfd-socket", "", "", "send a pidfd of the process to this AF_UNIX `PATH`")
	fs.stringVar(&o.pidFile, "pid-file", "", "", "write the process id to `FILE`")
	fs.boolVar(&o.noPivot, "no-pivot", "", "no pivot_root: for a root on a ramdisk")
	fs.boolVar(&o.noNewKeyring, "no-new-keyring", "", "keep the caller's session keyring")
	fs.intVar(&o.preserveFDs, "preserve-fds", 0, "pass `N` descriptors from 3 on to the container")
}

func runCreate(a *app, o *options, args []string) (int, error) {
	if err := a.create(o, args[0]); err != nil {
		return exitFailure, fmt.Errorf("tongs create failed: %w", err)
	}
	return exitOK, nil
}

func (a *app) create(o *options, id string) error {
	s, err := a.store()
	if err != nil {
		return err
	}
	defer s.Close()
	co := a.createOptions(o, id)
	co.Detach, co.Park = true, true
	// What Create returns is not closed: it ends with us, and unmapping the
	// shared memory before would cost a twentieth of an empty program's time.
	_, err = container.Create(s, co)
	return err
}

func (a *app) createOptions(o *options, id string) container.CreateOptions {
	return container.CreateOptions{
		ID:            id,
		BundleDir:     o.bundle,
		PidFile:       o.pidFile,
		ConsoleSocket: o.consoleSocket,
		PidfdSocket:   o.pidfdSocket,
		NoPivot:       o.noPivot,
		NoNewKeyring:  o.noNewKeyring,
		SystemdCgroup: a.systemdCgroup,
		NoCgroup:      a.cgroupManager == "disabled",
		Rootless:      a.rootless,
		PreserveFDs:   o.preserveFDs,
		ListenFDs:     listenFDs(),
		NotifySocket:  os.Getenv("NOTIFY_SOCKET"),
		Warn:          a.log.warn,
	}
}

// listenFDs is the number of sockets that a service manager has passed to this
// very process (sd_listen_fds(3)).
func listenFDs() int {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return 0
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 0 {
		return 0
	}
	return n
}
