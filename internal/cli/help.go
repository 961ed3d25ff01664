package cli

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// specVersion is the specification that tongs follows.
func specVersion() string { return specs.Version }

func goVersion() string { return runtime.Version() }

// printHelp writes the list of commands and the global flags, in lines of
// at most 80 columns.
func printHelp(fs *flagSet) {
	var b strings.Builder
	b.WriteString("tongs runs containers from bundles (config.json and a root file system).\n")
	b.WriteString("\nusage: tongs [global flags] command [flags] [arguments]\n")
	b.WriteString("\ncommands (more about one: tongs COMMAND --help):\n")
	for _, c := range commands() {
		fmt.Fprintf(&b, "  %-8s %s\n", c.name, c.short)
	}
	b.WriteString("\nglobal flags:\n" + flagLines(fs))
	b.WriteString("\nexample: tongs spec && tongs run my-container\n")
	os.Stdout.WriteString(b.String())
}

func (c *command) printHelp(fs *flagSet) {
	var b strings.Builder
	b.WriteString("tongs " + c.name + ": " + c.short + "\n\nusage: tongs " + c.name)
	flags := flagLines(fs)
	if flags != "" {
		b.WriteString(" [flags]")
	}
	if c.args != "" {
		b.WriteString(" " + c.args)
	}
	b.WriteString("\n\n" + c.about)
	if flags != "" {
		b.WriteString("\nflags:\n" + flags)
	}
	os.Stdout.WriteString(b.String())
}

// flagLines gives one line per flag. The library's own listing shows the type
// of each value, which says less than a name, and wraps.
func flagLines(fs *flagSet) string {
	var b strings.Builder
	for _, f := range fs.list {
		if f.hidden {
			continue
		}
		short := "    "
		if f.short != "" {
			short = "-" + f.short + ", "
		}
		value, usage := flag.UnquoteUsage(f.Flag)
		if f.plain {
			value = ""
		}
		fmt.Fprintf(&b, "  %s--%-22s %s\n", short, strings.TrimSpace(f.Name+" "+value), usage)
	}
	return b.String()
}

// help is the command of that name.
func help(global *flagSet, args []string) (int, error) {
	if len(args) == 0 {
		printHelp(global)
		return exitOK, nil
	}
	c := find(args[0])
	if c == nil {
		return exitUnknown, fmt.Errorf("tongs: unknown command %q", args[0])
	}
	c.printHelp(c.flagSet(new(options)))
	return exitOK, nil
}
