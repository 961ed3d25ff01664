// Command bench compares tongs with the kernel's own time (c/floor.c) and with
// the other runtimes that are installed: the time of whole commands, and the
// memory that a created container holds.
//
//	go run ./bench                      # everything, 50 rounds
//	go run ./bench -only run,memory -rounds 200 -tongs ./tongs
//	go run ./bench -only binds -rounds 10 # cost of one more bind mount
//
// All programs run the same bundle, each round runs every program once, and a
// ratio is made from the two times of one round: a change of the machine's
// speed meets both. Printed are medians with the quartiles. It needs root, a C
// compiler and busybox-static, and runs in a private mount namespace with a
// pure cgroup v2 view. It never fails because of a time.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// bench is one run of this command.
type bench struct {
	dir      string // everything we make is in here
	rounds   int
	programs []program
}

// program is something to measure; the first in bench.programs is tongs.
type program struct {
	name, path string
	suffix     string // of the bundles that it takes
	note       string // why not the usual one
}

func main() {
	rounds := flag.Int("rounds", 50, "`number` of measured rounds")
	only := flag.String("only", "run,user,seccomp,create,start,exec,state,kill,delete,list,version,memory", "comma-separated `list` of benchmarks")
	tongs := flag.String("tongs", "", "`path` of the tongs binary (default: build ./cmd/tongs)")
	peers := flag.String("peers", "runc,crun", "comma-separated `list` of runtimes to compare with")
	flag.Parse()
	if err := run(*rounds, strings.Split(*only, ","), *tongs, strings.Split(*peers, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(rounds int, only []string, tongs string, peers []string) error {
	if os.Getuid() != 0 {
		return fmt.Errorf("cannot make containers: it needs root")
	}
	if rounds < 1 {
		return fmt.Errorf("cannot measure %d rounds", rounds)
	}
	if done, err := enterView(); done || err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "tongs-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // root of a user namespace has to pass
		return err
	}
	b := &bench{dir: dir, rounds: rounds}
	state := dir + "/run"
	if err := os.Mkdir(state, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", state, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("cannot mount a tmpfs for state in the private view: %w", err)
	}
	defer unix.Unmount(state, unix.MNT_DETACH)
	if err := b.build(tongs, peers); err != nil {
		return err
	}
	if err := b.makeBundles(); err != nil {
		return err
	}
	b.header()
	for _, name := range only {
		switch name {
		case "memory":
			err = b.memory()
		case "binds":
			err = b.binds()
		default:
			err = b.time(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// build makes what has to be compiled and finds the peers.
func (b *bench) build(tongs string, peers []string) error {
	source, err := sourceDir()
	if err != nil {
		return err
	}
	for _, c := range [][]string{
		{"gcc", "-O2", "-static", "-o", b.dir + "/floor", source + "/c/floor.c"},
		{"gcc", "-O2", "-o", b.dir + "/loop", source + "/c/loop.c"},
	} {
		if err := command(c...); err != nil {
			return err
		}
	}
	if err := b.buildGo("empty", source+"/empty"); err != nil {
		return err
	}
	if tongs == "" {
		tongs = b.dir + "/tongs"
		if err := b.buildGo("tongs", source+"/../cmd/tongs"); err != nil {
			return err
		}
	}
	if tongs, err = filepath.Abs(tongs); err != nil {
		return err
	}
	if err := unix.Access(tongs, unix.X_OK); err != nil {
		return fmt.Errorf("cannot run %q: %w", tongs, err)
	}
	b.programs = []program{{name: "tongs", path: tongs}}
	for _, name := range peers {
		if path, err := exec.LookPath(name); err == nil {
			b.programs = append(b.programs, program{name: name, path: path})
		} else if name != "" {
			fmt.Fprintf(os.Stderr, "bench: %s is not installed and left out\n", name)
		}
	}
	return nil
}

// buildGo builds as a release is built, and copies the result as an installation
// does: pages of a file that the linker has just written are slower to map.
func (b *bench) buildGo(name, source string) error {
	linked := b.dir + "/" + name + ".linked"
	if err := command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", linked, source); err != nil {
		return err
	}
	return command("cp", linked, b.dir+"/"+name)
}

// sourceDir finds this command's directory from the root of the module or from
// itself.
func sourceDir() (string, error) {
	for _, dir := range []string{"bench", "."} {
		if _, err := os.Stat(dir + "/c/floor.c"); err == nil {
			return filepath.Abs(dir)
		}
	}
	return "", fmt.Errorf("cannot find c/floor.c: start it in the module's root directory")
}

func command(argv ...string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot run %s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	return nil
}

// header prints what the numbers were taken on.
func (b *bench) header() {
	var u unix.Utsname
	unix.Uname(&u)
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	var cpus unix.CPUSet
	unix.SchedGetaffinity(0, &cpus)
	fmt.Printf("Machine: %s, %d CPUs; Linux %s; %d rounds.\n\n", model, cpus.Count(), unix.ByteSliceToString(u.Release[:]), b.rounds)
	for _, p := range b.programs {
		out, err := exec.Command(p.path, "--version").Output()
		first, _, _ := strings.Cut(string(out), "\n")
		if err != nil {
			first = err.Error()
		}
		fmt.Printf("- %s: %s%s\n", p.name, first, p.note)
	}
}
