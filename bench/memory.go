package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// memory prints the private memory of a created container that waits for
// start: what nobody shares, from /proc/PID/smaps_rollup.
func (b *bench) memory() error {
	fmt.Printf("\n| memory of a created container | private KiB |\n|---|---|\n")
	for _, p := range b.programs {
		kib, err := b.created(p)
		if err != nil {
			fmt.Printf("| %s | failed |\n", p.name)
			b.complain(fmt.Sprintf("%s: %v", p.name, err))
			continue
		}
		fmt.Printf("| %s | %d |\n", p.name, kib)
	}
	return nil
}

func (b *bench) created(p program) (int, error) {
	id := fmt.Sprintf("tongs-bench-%d-memory", os.Getpid())
	do := func(args ...string) *exec.Cmd {
		argv := slices.Concat(b.at(p), args)
		return exec.Command(argv[0], argv[1:]...)
	}
	// The container's init keeps stderr open: a pipe would not end.
	log, err := os.Create(b.dir + "/log")
	if err != nil {
		return 0, err
	}
	defer log.Close()
	create := do("create", "--bundle", b.bundle(p, "sleep"), id)
	create.Stderr = log
	defer func() { do("delete", "--force", id).Run() }()
	if err := create.Run(); err != nil {
		text, _ := os.ReadFile(log.Name())
		return 0, fmt.Errorf("cannot create: %w: %s", err, strings.TrimSpace(string(text)))
	}
	out, err := do("state", id).Output()
	if err != nil {
		return 0, fmt.Errorf("cannot get state: %w", err)
	}
	var state struct{ Pid int }
	if err := json.Unmarshal(out, &state); err != nil || state.Pid < 1 {
		return 0, fmt.Errorf("cannot read state %q: %w", out, err)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", state.Pid))
	if err != nil {
		return 0, err
	}
	sum := 0
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && strings.HasPrefix(f[0], "Private_") {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				return 0, err
			}
			sum += n
		}
	}
	return sum, nil
}
