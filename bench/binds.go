package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// binds prints what one more bind mount costs in a container that runs
// /bin/true, for tongs and its peers, and for c/binds.c, which only makes the
// mounts: bare, and with what the rules for a container's files ask for besides.
// The first columns are the time with n of them less that with none, divided by
// n, the others the same between two numbers of them.
func (b *bench) binds() error {
	source, err := sourceDir()
	if err != nil {
		return err
	}
	if err := command("gcc", "-O2", "-static", "-o", b.dir+"/binds", source+"/c/binds.c"); err != nil {
		return err
	}
	points := b.dir + "/points"
	for _, n := range append(bindCounts(), 0) {
		if err := b.bindBundle(n); err != nil {
			return err
		}
		for i := range n {
			if err := os.MkdirAll(points+"/"+strconv.Itoa(i), 0o755); err != nil {
				return err
			}
		}
	}
	fmt.Printf("\n| one bind | of 10 | of 100 | of 1,000 | 10 to 100 | 100 to 1,000 |\n|---|---|---|---|---|---|\n")
	var bare []float64
	row := func(name string, argv func(n int) []string) error {
		cost, err := b.bindCosts(argv)
		if err != nil {
			return err
		}
		if bare == nil {
			bare = cost
		}
		fmt.Printf("| %s, µs |%s\n| %s / bare |%s\n", name, columns(cost, nil), name, columns(cost, bare))
		return nil
	}
	for _, way := range []string{"bare", "rules"} { // bare first: it is what the others are compared with
		if err := row(way, func(n int) []string { return []string{b.dir + "/binds", b.dir, points, strconv.Itoa(n), way} }); err != nil {
			return err
		}
	}
	for _, p := range b.programs {
		err := row(p.name, func(n int) []string {
			return append(b.at(p), "run", "--bundle", b.bindDir(n), fmt.Sprintf("tongs-bench-%d-binds", os.Getpid()))
		})
		if err != nil {
			fmt.Printf("| %s | failed | | | | |\n", p.name)
			b.complain(fmt.Sprintf("%s: %v", p.name, err))
		}
	}
	return nil
}

func bindCounts() []int { return []int{10, 100, 1000} }

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

// bindCosts are in microseconds for one bind: for each count, against none, and
// then between the counts. They come from the medians of the differences between
// two runs, with the binds and without, in an order that chance decides: each run
// finds the machine busy with the remains of the one before. The fewer binds, the
// more runs are needed to see them behind the rest of a run.
func (b *bench) bindCosts(argv func(n int) []string) ([]float64, error) {
	run := func(n int) (float64, error) {
		a := argv(n)
		start := time.Now()
		if out, err := exec.Command(a[0], a[1:]...).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("%d binds: %w: %s", n, err, out)
		}
		return float64(time.Since(start)) / 1000, nil
	}
	counts := bindCounts()
	most := counts[len(counts)-1]
	var alone, between []float64
	n0, t0 := 0, 0.0
	for _, n := range counts {
		var differences []float64
		for range b.rounds * min(20, most/n) {
			took := map[int]float64{}
			pair := []int{0, n}
			rand.Shuffle(2, func(i, j int) { pair[i], pair[j] = pair[j], pair[i] })
			for _, n := range pair {
				var err error
				if took[n], err = run(n); err != nil {
					return nil, err
				}
			}
			differences = append(differences, took[n]-took[0])
		}
		slices.Sort(differences)
		t := differences[len(differences)/2]
		alone = append(alone, t/float64(n))
		if n0 > 0 {
			between = append(between, (t-t0)/float64(n-n0))
		}
		n0, t0 = n, t
	}
	return append(alone, between...), nil
}
