package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// binds prints what one more bind mount costs in a container that runs
// /bin/true: the time with n of them less that with none, divided by n, for
// tongs and its peers, and for c/binds.c, which only makes the mounts.
func (b *bench) binds() error {
	source, err := sourceDir()
	if err != nil {
		return err
	}
	if err := command("gcc", "-O2", "-static", "-o", b.dir+"/binds", source+"/c/binds.c"); err != nil {
		return err
	}
	counts := []int{0, 10, 100, 1000}
	points := b.dir + "/points"
	for _, n := range counts {
		if err := b.bindBundle(n); err != nil {
			return err
		}
	}
	for i := range counts[len(counts)-1] {
		if err := os.MkdirAll(points+"/"+strconv.Itoa(i), 0o755); err != nil {
			return err
		}
	}
	fmt.Printf("\n| one bind of | %s |\n|---|---|---|---|\n", strings.Trim(strings.Join(strings.Fields(fmt.Sprint(counts[1:])), " | "), "[]"))
	bare, err := b.costs(counts, func(n int) []string {
		return []string{b.dir + "/binds", b.dir, points, strconv.Itoa(n)}
	})
	if err != nil {
		return err
	}
	fmt.Printf("| bare, µs |%s\n", columns(bare, nil))
	for _, p := range b.programs {
		cost, err := b.costs(counts, func(n int) []string {
			return append(b.at(p), "run", "--bundle", b.bindDir(n), fmt.Sprintf("tongs-bench-%d-binds", os.Getpid()))
		})
		if err != nil {
			fmt.Printf("| %s | failed | | |\n", p.name)
			b.complain(fmt.Sprintf("%s: %v", p.name, err))
			continue
		}
		fmt.Printf("| %s, µs |%s\n| %s / bare |%s\n", p.name, columns(cost, nil), p.name, columns(cost, bare))
	}
	return nil
}

func columns(costs, bare []float64) string {
	var text strings.Builder
	for i, c := range costs {
		if bare != nil {
			c /= bare[i]
		}
		fmt.Fprintf(&text, " %.2f |", c)
	}
	return text.String()
}

func (b *bench) bindDir(n int) string { return fmt.Sprintf("%s/binds-%d", b.dir, n) }

// bindBundle is the bundle "true" with n binds on directories that exist.
func (b *bench) bindBundle(n int) error {
	dir := b.bindDir(n)
	if err := command("cp", "-a", b.dir+"/true"+noDevices, dir); err != nil {
		return err
	}
	var mounts strings.Builder
	for i := range n {
		if err := os.MkdirAll(fmt.Sprintf("%s/rootfs/mnt/%d", dir, i), 0o755); err != nil {
			return err
		}
		fmt.Fprintf(&mounts, `{"destination": "/mnt/%d", "type": "bind", "source": %q, "options": ["bind"]},`, i, b.dir)
	}
	data, err := os.ReadFile(dir + "/config.json")
	if err != nil {
		return err
	}
	text := strings.Replace(string(data), `"mounts": [`, `"mounts": [`+mounts.String(), 1)
	return os.WriteFile(dir+"/config.json", []byte(text), 0o644)
}

// costs are the medians in microseconds for one bind, for each count but the
// first, which is none: of the differences between two runs, one after the other,
// with the binds and without. The fewer binds, the more of these are needed to see
// them behind the rest of a run.
func (b *bench) costs(counts []int, argv func(n int) []string) ([]float64, error) {
	run := func(n int) (float64, error) {
		a := argv(n)
		start := time.Now()
		if out, err := exec.Command(a[0], a[1:]...).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("%d binds: %w: %s", n, err, out)
		}
		return float64(time.Since(start)) / 1000, nil
	}
	var list []float64
	for _, n := range counts[1:] {
		var costs []float64
		for range b.rounds * min(20, counts[len(counts)-1]/n) {
			with, err := run(n)
			if err != nil {
				return nil, err
			}
			without, err := run(counts[0])
			if err != nil {
				return nil, err
			}
			costs = append(costs, (with-without)/float64(n))
		}
		slices.Sort(costs)
		list = append(list, costs[len(costs)/2])
	}
	return list, nil
}
