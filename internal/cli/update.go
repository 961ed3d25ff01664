package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/bundle"
	"tongs/internal/container"
	"tongs/internal/state"
)

// updateOptions are the flags of update, as they were written.
type updateOptions struct {
	resources                                              string
	blkioWeight, cpuPeriod, cpuQuota, cpuBurst, cpuShare   string
	cpuRTPeriod, cpuRTRuntime, cpuIdle                     string
	cpus, mems, memory, reservation, swap, pids, l3, memBW string
	kernelMemory                                           string
}

func updateCommand() command {
	return command{
		name:  "update",
		args:  "ID",
		short: "change the limits of a container",
		about: "What is not named stays as it is. Sizes may end in k, m, g or t; -1 is no limit.\n\nexample: tongs update --memory 512m --pids-limit 100 web1\n",
		flags: func(fs *flagSet, o *options) {
			u := &o.update
			fs.stringVar(&u.resources, "resources", "r", "", "read linux.resources from `FILE` (-: stdin)")
			for _, f := range []struct {
				value       *string
				name, usage string
			}{
				{&u.blkioWeight, "blkio-weight", "relative weight of block I/O, `10..1000`"},
				{&u.cpuPeriod, "cpu-period", "period of the CPU limit in `MICROSECONDS`"},
				{&u.cpuQuota, "cpu-quota", "CPU limit in `MICROSECONDS` a period"},
				{&u.cpuBurst, "cpu-burst", "CPU burst in `MICROSECONDS`"},
				{&u.cpuShare, "cpu-share", "relative `WEIGHT` of CPU time"},
				{&u.cpuRTPeriod, "cpu-rt-period", "real-time period in `MICROSECONDS`"},
				{&u.cpuRTRuntime, "cpu-rt-runtime", "real-time limit in `MICROSECONDS`"},
				{&u.cpuIdle, "cpu-idle", "`1` to run only when nothing else does"},
				{&u.cpus, "cpuset-cpus", "`LIST` of CPUs"},
				{&u.mems, "cpuset-mems", "`LIST` of memory nodes"},
				{&u.memory, "memory", "memory limit in `BYTES`"},
				{&u.reservation, "memory-reservation", "memory protection in `BYTES`"},
				{&u.swap, "memory-swap", "limit of memory and swap in `BYTES`"},
				{&u.pids, "pids-limit", "`NUMBER` of processes"},
				{&u.l3, "l3-cache-schema", "`SCHEMA` of the L3 cache, as L3:0=ff;1=f"},
				{&u.memBW, "mem-bw-schema", "`SCHEMA` of memory bandwidth, as MB:0=50"},
			} {
				fs.stringVar(f.value, f.name, "", "", f.usage)
			}
			for _, f := range []struct {
				value *string
				name  string
			}{{&u.kernelMemory, "kernel-memory"}, {&u.kernelMemory, "kernel-memory-tcp"}} {
				fs.stringVar(f.value, f.name, "", "", "")
				fs.hide()
			}
		},
		min: 1, max: 1,
		run: runUpdate,
	}
}

func runUpdate(a *app, o *options, args []string) (int, error) {
	res, err := a.updateResources(&o.update)
	if err != nil {
		return exitFailure, err
	}
	changes := container.Changes{Resources: res, L3CacheSchema: o.update.l3, MemBwSchema: o.update.memBW, Warn: a.log.warn}
	return a.withStore(args[0], func(s *state.Store, id string) error { return container.Update(s, id, changes) })
}

// updateResources is what --resources or the flags say; like runc, the file
// excludes the flags.
func (a *app) updateResources(u *updateOptions) (*specs.LinuxResources, error) {
	if u.kernelMemory != "" {
		a.log.warn("Kernel memory settings are ignored and will be removed") // runc's
	}
	var res *specs.LinuxResources
	var err error
	if u.resources != "" {
		res, err = a.readResources(u.resources)
	} else {
		res, err = u.parse()
	}
	if err != nil {
		return nil, err
	}
	return res, bundle.CheckResources(res)
}

func (a *app) readResources(path string) (*specs.LinuxResources, error) {
	data, err := readInput("--resources", path)
	if err != nil {
		return nil, err
	}
	res, warnings, err := bundle.DecodeResources(data)
	if err != nil {
		return nil, fmt.Errorf("--resources: %w", err)
	}
	for _, w := range warnings {
		a.log.warn(w)
	}
	return res, nil
}

// readInput reads the JSON that a flag names; "-" is standard input.
func readInput(flag, path string) ([]byte, error) {
	f := os.Stdin
	if path != "-" {
		var err error
		if f, err = os.Open(path); err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		defer f.Close()
	}
	const most = 1 << 20
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	if len(data) > most {
		return nil, fmt.Errorf("%s: more than %d bytes", flag, most)
	}
	return data, nil
}

// parse makes resources of the flags.
func (u *updateOptions) parse() (*specs.LinuxResources, error) {
	p := &flagParser{}
	cpu := &specs.LinuxCPU{Cpus: u.cpus, Mems: u.mems}
	memory := &specs.LinuxMemory{}
	res := &specs.LinuxResources{CPU: cpu, Memory: memory}
	if n, ok := p.unsigned("blkio-weight", u.blkioWeight, 16); ok {
		weight := uint16(n)
		res.BlockIO = &specs.LinuxBlockIO{Weight: &weight}
	}
	p.pointer(&cpu.Period, "cpu-period", u.cpuPeriod)
	p.pointer(&cpu.Burst, "cpu-burst", u.cpuBurst)
	p.pointer(&cpu.Shares, "cpu-share", u.cpuShare)
	p.pointer(&cpu.RealtimePeriod, "cpu-rt-period", u.cpuRTPeriod)
	p.signed(&cpu.Quota, "cpu-quota", u.cpuQuota)
	p.signed(&cpu.RealtimeRuntime, "cpu-rt-runtime", u.cpuRTRuntime)
	p.signed(&cpu.Idle, "cpu-idle", u.cpuIdle)
	p.size(&memory.Limit, "memory", u.memory)
	p.size(&memory.Reservation, "memory-reservation", u.reservation)
	p.size(&memory.Swap, "memory-swap", u.swap)
	var pids *int64
	if p.signed(&pids, "pids-limit", u.pids); pids != nil {
		res.Pids = &specs.LinuxPids{Limit: pids}
	}
	return res, errors.Join(p.errs...)
}

// flagParser reads numbers of flags and keeps what was wrong.
type flagParser struct{ errs []error }

func (p *flagParser) wrong(name, text string) {
	p.errs = append(p.errs, fmt.Errorf("invalid value for %s: %q", name, text))
}

func (p *flagParser) unsigned(name, text string, bits int) (uint64, bool) {
	if text == "" {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, bits)
	if err != nil {
		p.wrong(name, text)
	}
	return n, err == nil
}

func (p *flagParser) pointer(to **uint64, name, text string) {
	if n, ok := p.unsigned(name, text, 64); ok {
		*to = &n
	}
}

func (p *flagParser) signed(to **int64, name, text string) {
	if text == "" {
		return
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		p.wrong(name, text)
		return
	}
	*to = &n
}

// size reads bytes with a binary suffix; -1 is no limit.
func (p *flagParser) size(to **int64, name, text string) {
	if text == "" {
		return
	}
	digits := strings.TrimRight(strings.ToLower(text), "kmgtpib")
	unit := strings.ToLower(text)[len(digits):]
	shift, known := map[string]uint{"": 0, "b": 0, "k": 10, "kb": 10, "kib": 10, "m": 20, "mb": 20, "mib": 20,
		"g": 30, "gb": 30, "gib": 30, "t": 40, "tb": 40, "tib": 40, "p": 50, "pb": 50, "pib": 50}[unit]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !known || n < -1 || n == -1 && shift > 0 || n > 1<<62>>shift {
		p.wrong(name, text)
		return
	}
	n <<= shift
	*to = &n
}
