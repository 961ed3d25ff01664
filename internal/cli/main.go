// Package cli turns arguments into calls of package container, and results into
// the texts and exit codes that runc's callers expect. One file a command.
//
// It deliberately does not
//   - decide anything about containers;
//   - exit: Main returns the code;
//   - decode config.json or state.json.
package cli

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"tongs/internal/container"
	"tongs/internal/state"
)

// Exit codes. The foreground run returns the container's own besides.
const (
	exitOK      = 0
	exitFailure = 1
	exitUnknown = 3 // no such command; runc took it from its command-line library
)

// A command is one word of the command line.
type command struct {
	name  string
	args  string // after the flags, in the usage line
	short string // one line for the list of commands
	about string // further lines of the command's own help
	flags func(*flagSet, *options)
	min   int // number of arguments
	max   int
	run   func(*app, *options, []string) (int, error)
}

// commands is ordered as the help shows it.
func commands() []command {
	return []command{
		createCommand(), runCommand(), startCommand(), execCommand(), stateCommand(), killCommand(),
		deleteCommand(), listCommand(), psCommand(), pauseCommand(), resumeCommand(), updateCommand(), eventsCommand(),
		checkpointCommand(), restoreCommand(), featuresCommand(), doctorCommand(), specCommand(),
	}
}

// options are the values of all commands' flags; each command fills its own.
type options struct {
	// create and run
	bundle, consoleSocket, pidfdSocket, pidFile string
	noPivot, noNewKeyring                       bool
	preserveFDs                                 int
	detach, keep, noSubreaper                   bool // run

	exec       execOptions
	update     updateOptions
	checkpoint container.CheckpointOptions
	restore    container.RestoreOptions
	all        bool   // kill
	force      bool   // delete
	format     string // list
	quiet      bool   // list

	interval time.Duration // events
	stats    bool          // events

	rootless bool // spec
	probe    bool // features
}

// app holds the global flags.
type app struct {
	root          string
	logFile       string
	logFormat     string
	debug         bool
	systemdCgroup bool
	rootless      string

	version, commit string
	log             *logger
}

// Main runs tongs with the arguments after the program's name and returns the
// exit code. Version and commit are printed by --version.
func Main(args []string, version, commit string) int {
	// Before all else: callers ask it often, and nothing else may matter to it.
	if len(args) == 1 && (args[0] == "--version" || args[0] == "-v") {
		return printVersion(version, commit)
	}
	growStack(args == nil) // which os.Args[1:] is not
	a := &app{version: version, commit: commit, log: newLogger(os.Stderr, "text")}
	code, err := a.dispatch(args)
	if err != nil {
		a.log.fatal(err.Error())
	}
	return code
}

func (a *app) dispatch(args []string) (int, error) {
	fs := newFlagSet("tongs")
	fs.stringVar(&a.root, "root", "", "", "keep state below `DIR` (default: /run/tongs)")
	fs.stringVar(&a.logFile, "log", "", "", "append messages to `FILE` instead of standard error")
	fs.stringVar(&a.logFormat, "log-format", "", "text", "format of messages: `text` or json")
	fs.boolVar(&a.debug, "debug", "", "log the command and its end")
	fs.boolVar(&a.systemdCgroup, "systemd-cgroup", "", "let systemd make the cgroups")
	fs.stringVar(&a.rootless, "rootless", "", "auto", "go without forbidden cgroups: `true`, false or auto")
	var showVersion bool
	fs.boolVar(&showVersion, "version", "v", "print the version")
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp) || err == nil && fs.NArg() == 0 && !showVersion:
		printHelp(fs)
		return exitOK, nil
	case err != nil:
		return exitFailure, fmt.Errorf("tongs: %v", err)
	case showVersion:
		return printVersion(a.version, a.commit), nil
	}
	if err := a.checkGlobals(); err != nil {
		return exitFailure, err
	}
	name := fs.Arg(0)
	if name == "help" {
		return help(fs, fs.Args()[1:])
	}
	cmd := find(name)
	if cmd == nil {
		return exitUnknown, fmt.Errorf("tongs: unknown command %q", name)
	}
	return a.runCommand(cmd, fs.Args()[1:])
}

func (a *app) runCommand(cmd *command, args []string) (int, error) {
	o := new(options)
	fs := cmd.flagSet(o)
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		cmd.printHelp(fs)
		return exitOK, nil
	}
	if err != nil {
		return exitFailure, fmt.Errorf("tongs: %s: %v", cmd.name, err)
	}
	if err := cmd.checkArgs(fs.NArg()); err != nil {
		return exitFailure, err
	}
	if !a.debug {
		return cmd.run(a, o, fs.Args())
	}
	begin := time.Now()
	a.log.debug(fmt.Sprintf("tongs %s (%s): %s %q, state below %s", a.version, a.commit, cmd.name, args, a.stateRoot()))
	status, err := cmd.run(a, o, fs.Args())
	a.log.debug(fmt.Sprintf("%s ends with status %d after %v", cmd.name, status, time.Since(begin).Round(time.Microsecond)))
	return status, err
}

// checkGlobals opens the log first, so that later complaints reach it.
func (a *app) checkGlobals() error {
	if a.logFormat != "text" && a.logFormat != "json" {
		return fmt.Errorf("invalid log-format: %s", a.logFormat) // runc's phrase
	}
	out := os.Stderr
	if a.logFile != "" {
		// O_SYNC: containerd reads the file after we have exited by a crash, too.
		f, err := os.OpenFile(a.logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_SYNC, 0o644)
		if err != nil {
			return fmt.Errorf("cannot open --log: %v", err)
		}
		out = f
	}
	a.log = newLogger(out, a.logFormat)
	a.log.verbose = a.debug
	if a.rootless != "auto" && a.rootless != "" {
		if _, err := strconv.ParseBool(a.rootless); err != nil {
			return fmt.Errorf("cannot use --rootless %q: it is true, false or auto", a.rootless)
		}
	}
	return nil
}

// store opens the directory of all containers.
func (a *app) store() (*state.Store, error) { return state.Open(a.stateRoot()) }

func (a *app) stateRoot() string { return cmp.Or(a.root, state.DefaultRoot()) }

func (c *command) flagSet(o *options) *flagSet {
	fs := newFlagSet(c.name)
	if c.flags != nil {
		c.flags(fs, o)
	}
	return fs
}

func (c *command) checkArgs(n int) error {
	switch { // runc's phrases
	case n == c.min || n > c.min && n <= c.max:
		return nil
	case c.min == c.max:
		return fmt.Errorf("tongs: %q requires exactly %d argument(s)", c.name, c.min)
	case n < c.min:
		return fmt.Errorf("tongs: %q requires a minimum of %d argument(s)", c.name, c.min)
	}
	return fmt.Errorf("tongs: %q requires a maximum of %d argument(s)", c.name, c.max)
}

func find(name string) *command {
	for _, c := range commands() {
		if c.name == name {
			return &c
		}
	}
	return nil
}

// printVersion writes the lines of runc --version without its libraries. Old
// clients of containerd want three lines and the first two words of the first.
func printVersion(version, commit string) int {
	text := "tongs version " + version + "\ncommit: " + commit + "\nspec: " + specVersion() + "\ngo: " + goVersion() + "\n"
	if _, err := unix.Write(1, []byte(text)); err != nil {
		return exitFailure
	}
	return exitOK
}
