package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// time runs one benchmark and prints its table.
func (b *bench) time(name string) error {
	var jobs strings.Builder
	var names []string
	add := func(program string, steps ...[]string) {
		names = append(names, program)
		fmt.Fprintf(&jobs, "case\t%s\n", program)
		for _, s := range steps {
			fmt.Fprintln(&jobs, strings.Join(s, "\t"))
		}
	}
	for i, p := range b.programs {
		steps := b.steps(name, p)
		if steps == nil {
			return fmt.Errorf("unknown benchmark %q", name)
		}
		add(p.name, steps...)
		if name == "seccomp" {
			add(p.name+unfiltered, b.steps("run", p)...)
		}
		if i > 0 {
			continue
		}
		// What tongs is held against besides peers comes second.
		if name == "user" {
			add("no user namespace", b.steps("run", p)...)
		} else if name == "run" {
			add("floor", []string{"timed", b.dir + "/floor", b.dir + "/true/rootfs", "/sys/fs/cgroup", "{}"})
		} else if name != "create" && name != "start" && name != "seccomp" {
			add("empty Go program", []string{"timed", b.dir + "/empty"})
		}
	}
	times, err := b.loop(jobs.String())
	if err != nil {
		return err
	}
	fmt.Printf("\n| %s | n | median ms | quartiles | tongs / it | quartiles |\n|---|---|---|---|---|---|\n", name)
	for _, n := range names {
		mine, its := times[names[0]], times[n]
		if len(its) == 0 {
			fmt.Printf("| %s | 0 | failed | | | |\n", n)
			continue
		}
		var ms, ratios []float64
		for round, t := range its {
			ms = append(ms, t/1e6)
			if m, ok := mine[round]; ok && n != names[0] {
				ratios = append(ratios, m/t)
			}
		}
		fmt.Printf("| %s | %d | %s | %s |\n", n, len(ms), quartiles(ms), quartiles(ratios))
	}
	if name == "seccomp" {
		b.filtered(times)
	}
	return nil
}

// unfiltered ends the name of a program that runs without the profile.
const unfiltered = " without"

// filtered prints what the profile adds, round by round.
func (b *bench) filtered(times map[string]map[int]float64) {
	fmt.Printf("\n| Docker's profile adds | median ms | quartiles |\n|---|---|---|\n")
	for _, p := range b.programs {
		var added []float64
		for round, with := range times[p.name] {
			if without, ok := times[p.name+unfiltered][round]; ok {
				added = append(added, (with-without)/1e6)
			}
		}
		fmt.Printf("| %s | %s |\n", p.name, quartiles(added))
	}
}

// steps are what the timing loop does for one program in one benchmark; the
// words are explained in c/loop.c. Nil for an unknown name.
func (b *bench) steps(name string, p program) [][]string {
	do := func(kind string, args ...string) []string {
		return slices.Concat([]string{kind}, b.at(p), args)
	}
	bundle := func(kind, command, which string) []string {
		return do(kind, command, "--bundle", b.bundle(p, which), "{}")
	}
	remove := func(kind string) []string { return do(kind, "delete", "--force", "{}") }
	switch name {
	case "run":
		return [][]string{bundle("timed", "run", "true"), remove("after")}
	case "seccomp":
		return [][]string{bundle("timed", "run", "seccomp"), remove("after")}
	case "user": // a new user namespace; it is to cost at most 1.5 ms more
		return [][]string{bundle("timed", "run", "true"+userNamespace), remove("after")}
	case "create":
		return [][]string{bundle("timed", "create", "sleep"), remove("after")}
	case "start":
		return [][]string{bundle("before", "create", "sleep"), do("timed", "start", "{}"), remove("after")}
	case "state":
		return [][]string{bundle("once", "create", "sleep"), do("timed", "state", "{0}"), remove("end")}
	case "kill":
		return [][]string{bundle("before", "create", "sleep"), do("before", "start", "{}"), do("timed", "kill", "{}", "KILL"), {"after", "sleep", "10"}, remove("after")}
	case "delete":
		return [][]string{bundle("before", "create", "sleep"), do("before", "kill", "{}", "KILL"), {"before", "sleep", "20"}, do("timed", "delete", "{}"), remove("after")}
	case "exec":
		return [][]string{bundle("once", "create", "sleep"), do("once", "start", "{0}"), do("timed", "exec", "{0}", "/bin/true"), remove("end")}
	case "list":
		return [][]string{bundle("once", "create", "sleep"), do("timed", "list"), remove("end")}
	case "version":
		return [][]string{{"timed", p.path, "--version"}}
	}
	return nil
}

// loop runs the timing loop and returns nanoseconds by case and round.
func (b *bench) loop(jobs string) (map[string]map[int]float64, error) {
	file := b.dir + "/jobs"
	if err := os.WriteFile(file, []byte(jobs), 0o644); err != nil {
		return nil, err
	}
	var complaints bytes.Buffer
	cmd := exec.Command(b.dir+"/loop", file, strconv.Itoa(b.rounds))
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("cannot run the timing loop: %w\n%s", err, complaints.String())
	}
	b.complain(complaints.String())
	times := make(map[string]map[int]float64)
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) != 3 {
			return nil, fmt.Errorf("cannot read %q from the timing loop", line)
		}
		round, err1 := strconv.Atoi(f[1])
		ns, err2 := strconv.ParseFloat(f[2], 64)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("cannot read %q from the timing loop", line)
		}
		if times[f[0]] == nil {
			times[f[0]] = make(map[int]float64)
		}
		times[f[0]][round] = ns
	}
	return times, nil
}

// complain shows the first lines that failing commands and the loop wrote.
func (b *bench) complain(text string) {
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if line == "" || i == 5 {
			return
		}
		fmt.Fprintln(os.Stderr, "bench:", line)
	}
}

// quartiles formats "median | p25–p75".
func quartiles(v []float64) string {
	if len(v) == 0 {
		return "|"
	}
	slices.Sort(v)
	at := func(q float64) float64 { return v[int(q*float64(len(v)-1)+0.5)] }
	return fmt.Sprintf("%.2f | %.2f–%.2f", at(0.5), at(0.25), at(0.75))
}
