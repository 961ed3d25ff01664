package cli

import (
	"flag"
	"io"
	"time"
)

// flagSet is the standard library's, which runc's command line is built on as
// well: one or two dashes, --flag=value, flags before arguments. A flag may
// have a short name besides. It prints nothing by itself.
type flagSet struct {
	*flag.FlagSet
	list []option
}

// option is a flag as the help shows it.
type option struct {
	*flag.Flag
	short  string
	hidden bool
	plain  bool // takes no value
}

func newFlagSet(name string) *flagSet {
	f := &flagSet{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError)}
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	return f
}

func (f *flagSet) stringVar(p *string, long, short, value, usage string) {
	f.StringVar(p, long, value, usage)
	if short != "" {
		f.StringVar(p, short, value, usage)
	}
	f.add(long, short, false)
}

func (f *flagSet) boolVar(p *bool, long, short, usage string) {
	f.BoolVar(p, long, false, usage)
	if short != "" {
		f.BoolVar(p, short, false, usage)
	}
	f.add(long, short, true)
}

// listVar is a flag that may come more than once.
func (f *flagSet) listVar(p *[]string, long, short, usage string) {
	add := func(s string) error {
		*p = append(*p, s)
		return nil
	}
	f.Func(long, usage, add)
	if short != "" {
		f.Func(short, usage, add)
	}
	f.add(long, short, false)
}

func (f *flagSet) intVar(p *int, long string, value int, usage string) {
	f.IntVar(p, long, value, usage)
	f.add(long, "", false)
}

func (f *flagSet) durationVar(p *time.Duration, long string, value time.Duration, usage string) {
	f.DurationVar(p, long, value, usage)
	f.add(long, "", false)
}

func (f *flagSet) add(long, short string, plain bool) {
	f.list = append(f.list, option{Flag: f.Lookup(long), short: short, plain: plain})
}

// hide leaves the flag that was added last out of the help.
func (f *flagSet) hide() { f.list[len(f.list)-1].hidden = true }
