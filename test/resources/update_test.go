package resources

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

// change is a call of `update`, with what must be in files afterwards. A change
// begins where the one before has ended.
type change struct {
	flags  string // separated by spaces
	file   string // for -r
	want   map[string]string
	fails  string // what the error says; nothing changes then
	unlike string // why runc 1.1.5 is not asked
}

func changes() []change {
	const unlimited = "9223372036854771712"
	return []change{
		{flags: "--memory 64m", want: map[string]string{"memory.limit_in_bytes": "67108864", "memory.memsw.limit_in_bytes": unlimited}},
		{flags: "--memory-swap 128m", want: map[string]string{"memory.limit_in_bytes": "67108864", "memory.memsw.limit_in_bytes": "134217728"}},
		{flags: "--memory 256m", fails: "linux.resources.memory.limit: cannot set \"268435456\""}, // above memory and swap
		{flags: "--memory 256m --memory-swap 512m", want: map[string]string{"memory.limit_in_bytes": "268435456", "memory.memsw.limit_in_bytes": "536870912"}},
		{flags: "--memory 32m --memory-swap 48m", want: map[string]string{"memory.limit_in_bytes": "33554432", "memory.memsw.limit_in_bytes": "50331648"}},
		{flags: "--memory-reservation 16M", want: map[string]string{"memory.soft_limit_in_bytes": "16777216", "memory.limit_in_bytes": "33554432"}},
		{flags: "--memory -1", want: map[string]string{"memory.limit_in_bytes": unlimited, "memory.memsw.limit_in_bytes": unlimited}},
		{flags: "--memory 1g", want: map[string]string{"memory.limit_in_bytes": "1073741824"}},
		{flags: "--memory 4k", fails: "linux.resources.memory.limit: unable to set memory limit to 4096 (current usage"},
		{flags: "--kernel-memory 50m --kernel-memory-tcp 50m", want: map[string]string{"memory.limit_in_bytes": "1073741824"}},

		{flags: "--cpu-share 100", want: map[string]string{"cpu.shares": "100"}},
		{flags: "--cpu-quota 40000", want: map[string]string{"cpu.cfs_quota_us": "40000", "cpu.cfs_period_us": "100000", "cpu.shares": "100"}},
		{flags: "--cpu-period 50000", want: map[string]string{"cpu.cfs_quota_us": "40000", "cpu.cfs_period_us": "50000"}},
		{flags: "--cpu-quota 30000", want: map[string]string{"cpu.cfs_quota_us": "30000", "cpu.cfs_period_us": "50000"}},
		{flags: "--cpu-period 10000 --cpu-quota 3000", want: map[string]string{"cpu.cfs_quota_us": "3000", "cpu.cfs_period_us": "10000"}},
		{flags: "--cpu-quota -1", want: map[string]string{"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "10000"}},
		{flags: "--cpu-quota 20000 --cpu-burst 5000", want: map[string]string{"cpu.cfs_quota_us": "20000", "cpu.cfs_burst_us": "5000"}, unlike: "it has no burst"},
		{flags: "--cpu-burst 0", want: map[string]string{"cpu.cfs_quota_us": "20000", "cpu.cfs_burst_us": "0"}, unlike: "it has no burst"},
		{flags: "--cpu-idle 1", want: map[string]string{"cpu.idle": "1"}, unlike: "it has no idle"},
		{flags: "--cpu-idle 0", want: map[string]string{"cpu.idle": "0"}, unlike: "it has no idle"},
		{flags: "--cpu-share 100 --cpu-quota 20000", want: map[string]string{"cpu.shares": "100", "cpu.cfs_quota_us": "20000"}},
		{flags: "--cpuset-cpus 1", want: map[string]string{"cpuset.cpus": "1", "cpuset.mems": "0"}},
		{flags: "--cpuset-cpus 0-1 --cpuset-mems 0", want: map[string]string{"cpuset.cpus": "0-1", "cpuset.mems": "0"}},
		{flags: "--pids-limit 33", want: map[string]string{"pids.max": "33"}},
		{flags: "--pids-limit -1", want: map[string]string{"pids.max": "max"}},
		{flags: "--pids-limit 0", want: map[string]string{"pids.max": "1"}, unlike: "it takes 0 for unset"},
		{flags: "--pids-limit 20", want: map[string]string{"pids.max": "20"}},
		{flags: "--blkio-weight 300", want: map[string]string{"blkio.bfq.weight": "300"}},

		{file: `{}`, want: map[string]string{"blkio.bfq.weight": "300", "pids.max": "20", "cpu.shares": "100"}},
		{file: `{"memory":{"limit":33554432},"cpu":{"shares":99,"quota":15000,"period":30000,"cpus":"0","mems":"0"},"pids":{"limit":21},"blockIO":{"weight":200}}`,
			want: map[string]string{"memory.limit_in_bytes": "33554432", "cpu.shares": "99", "cpu.cfs_quota_us": "15000", "cpu.cfs_period_us": "30000", "cpuset.cpus": "0", "pids.max": "21", "blkio.bfq.weight": "200"}},
		{file: `{"devices":[{"allow":true,"access":"rwm"}]}`, want: map[string]string{"pids.max": "21"}}, // devices never change
		{file: `{"blockIO":{"throttleReadBpsDevice":[{"major":254,"minor":0,"rate":1073741824}]}}`, unlike: "it takes the weight only", want: map[string]string{"blkio.throttle.read_bps_device": "254:0 1073741824"}},
		{file: `{"blockIO":{"throttleReadBpsDevice":[{"major":254,"minor":0,"rate":0}]}}`, unlike: "it takes the weight only", want: map[string]string{"blkio.throttle.read_bps_device": ""}},

		// Of devices, too, all is as before, whether they had a line of their own or not.
		{file: blockIO(1<<20, nowhere), fails: `linux.resources.blockIO.throttleWriteIOPSDevice: cannot set "240:9 5"`, unlike: "it takes the weight only"},
		{file: blockIO(1<<30, disk), want: throttled(1 << 30), unlike: "it takes the weight only"},
		{file: blockIO(1<<20, nowhere), fails: `linux.resources.blockIO.throttleWriteIOPSDevice: cannot set "240:9 5"`, unlike: "it takes the weight only"},
		{file: `{"memory":{"limit":33554432,"disableOOMKiller":true},"blockIO":{"weight":250,"throttleReadBpsDevice":[{"major":240,"minor":9,"rate":5}]}}`,
			fails: "linux.resources.blockIO.throttleReadBpsDevice: cannot set", unlike: "it takes the weight only"},

		{flags: "--memory 64m --pids-limit 50 --cpuset-cpus 4000", fails: `linux.resources.cpu.cpus: cannot set "4000"`},
		{flags: "--cpu-share 77 --pids-limit 50 --cpu-quota 5", fails: `linux.resources.cpu.quota: cannot set "5"`},
		{flags: "--cpu-share 1", fails: "linux.resources.cpu.shares: "},
		{flags: "--blkio-weight 5", fails: "linux.resources.blockIO.weight: ", unlike: "it writes 5"},
		{flags: "--memory 1x", fails: `invalid value for memory: "1x"`},
		{flags: "--pids-limit many", fails: `invalid value for pids-limit: "many"`},
		{file: `{"memory":`, fails: "--resources: "},
		{file: `{"memory":{"limit":"64m"}}`, fails: "memory.limit"},
		{file: `{"unified":{"memory.high":"1"}}`, fails: "linux.resources.unified: "},
	}
}

// changesOfRealTime are for a kernel that groups real-time processes.
func changesOfRealTime() []change {
	return []change{
		{flags: "--cpu-rt-period 900000 --cpu-rt-runtime 3000", want: map[string]string{"cpu.rt_period_us": "900000", "cpu.rt_runtime_us": "3000"}},
		{flags: "--cpu-rt-runtime 2000", want: map[string]string{"cpu.rt_period_us": "900000", "cpu.rt_runtime_us": "2000"}},
	}
}

const (
	disk    = `"major":254,"minor":0`
	nowhere = `"major":240,"minor":9`
)

// blockIO asks for the same rate of bytes and operations on the disk, but for
// that of another device, which comes last.
func blockIO(rate int, last string) string {
	one := func(name, device string, rate int) string {
		return fmt.Sprintf(`"%s":[{%s,"rate":%d}]`, name, device, rate)
	}
	n := rate
	if last == nowhere {
		n = 5
	}
	return `{"blockIO":{"weight":222,` + strings.Join([]string{one("throttleReadBpsDevice", disk, rate), one("throttleWriteBpsDevice", disk, rate),
		one("throttleReadIOPSDevice", disk, rate), one("throttleWriteIOPSDevice", last, n)}, ",") + "}}"
}

func throttled(rate int) map[string]string {
	want := map[string]string{"blkio.bfq.weight": "222"}
	for _, name := range []string{"read_bps", "write_bps", "read_iops", "write_iops"} {
		want["blkio.throttle."+name+"_device"] = fmt.Sprintf("254:0 %d", rate)
	}
	return want
}

// weights asks for one of the disk's own, then for what cannot be.
func weights(weight int, then string) string {
	return fmt.Sprintf(`{"blockIO":{"weightDevice":[{%s,"weight":%d}%s]}}`, disk, weight, then)
}

// changesOfWeights are for a disk that knows weights.
func changesOfWeights(file, field string) []change {
	return []change{
		{file: weights(333, `,{`+nowhere+`,"weight":444}`), fails: field, unlike: "it takes one weight for all"},
		{file: weights(333, ""), want: map[string]string{file: "254:0 333\ndefault 222"}, unlike: "the same"},
		{file: weights(444, `,{`+nowhere+`,"weight":444}`), fails: field, unlike: "the same"},
	}
}

// changesOfRDMA are for a device, if there is one.
func changesOfRDMA(device string) []change {
	if device == "" {
		return nil
	}
	limit := func(handles int, more string) string {
		return fmt.Sprintf(`{"rdma":{"%s":{"hcaHandles":%d}}%s}`, device, handles, more)
	}
	const wrong = `,"unified":{"memory.high":"many"}`
	return []change{
		{file: limit(3, wrong), fails: `linux.resources.unified["memory.high"]: cannot set "many"`},
		{file: limit(3, ""), want: map[string]string{"rdma.max": device + " hca_handle=3 hca_object=max"}},
		{file: limit(4, wrong), fails: `linux.resources.unified["memory.high"]: cannot set "many"`},
	}
}

// Each change sets what it names and nothing else, in any file of any controller,
// as runc's does. What fails changes nothing.
func TestUpdate(t *testing.T) {
	h := linuxtest.One(t)
	if h.V2 {
		t.Skip("this machine has no v1 hierarchies")
	}
	list := changes()
	if has("cpu/cpu.rt_runtime_us") {
		list = append(list, changesOfRealTime()...)
	}
	if linuxtest.WeighDisk(t) {
		list = append(list, changesOfWeights("blkio.bfq.weight_device", `linux.resources.blockIO.weightDevice: cannot set "240:9 444": write `)...)
	}
	runc := h.With("runc")
	bundle := h.Bundle(forever())
	pids := map[*linuxtest.Host]int{}
	for _, host := range []*linuxtest.Host{h, runc} {
		name := map[*linuxtest.Host]string{h: "tongs", runc: "runc"}[host]
		host.Must("run", "--detach", "--bundle", bundle, h.ID(name))
		st, _ := host.State(h.ID(name))
		pids[host] = st.PID
	}
	for _, c := range list {
		what := c.flags + c.file
		before := readAll(t, h, pids[h])
		r := update(t, h, h.ID("tongs"), c)
		after := readAll(t, h, pids[h])
		if c.fails != "" {
			if r.Status != 1 || !strings.Contains(strings.ReplaceAll(r.Stderr, `\"`, `"`), c.fails) {
				t.Errorf("%s: status %d, want the error %q in %s", what, r.Status, c.fails, r.Stderr)
			}
			if !maps.Equal(before, after) {
				t.Errorf("%s changed something:\n%v\n%v", what, before, after)
			}
			if c.unlike == "" {
				same(t, what+": status of runc", update(t, runc, h.ID("runc"), c).Status, 1)
			}
			continue
		}
		if r.Status != 0 {
			t.Errorf("%s: status %d, stderr %s", what, r.Status, r.Stderr)
		}
		for file, want := range c.want {
			same(t, what+": "+file, after[file], want)
		}
		if c.unlike != "" {
			continue
		}
		if r := update(t, runc, h.ID("runc"), c); r.Status != 0 {
			t.Errorf("%s: status of runc %d, stderr %s", what, r.Status, r.Stderr)
		}
		theirs := readAll(t, h, pids[runc])
		for _, file := range slices.Sorted(maps.Keys(before)) {
			if before[file] != after[file] || c.want[file] != "" {
				same(t, what+": "+file+" beside runc", after[file], theirs[file])
			}
		}
	}
	h.Must("delete", "--force", h.ID("tongs"))
	runc.Must("delete", "--force", h.ID("runc"))
}

// update gives the resources in a file where c says so, and by standard input
// for tongs: both are one to it.
func update(t *testing.T, h *linuxtest.Host, id string, c change) *linuxtest.Result {
	t.Helper()
	if c.file == "" {
		return h.Run(append(append([]string{"update"}, strings.Fields(c.flags)...), id)...)
	}
	file := filepath.Join(h.Dir, "resources.json")
	if err := os.WriteFile(file, []byte(c.file), 0o644); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(file)
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if strings.Contains(c.file, "unified") {
		return h.Run("update", "-r", file, id)
	}
	return h.Exec(linuxtest.Command{Args: []string{"update", "-r", "-", id}, Stdin: in})
}

// Containers in every state that has processes can be changed, others cannot.
func TestUpdateInStates(t *testing.T) {
	h := linuxtest.One(t)
	id := h.ID("a")
	same(t, "status without a container", h.Run("update", "--pids-limit", "5", id).Status, 1)
	h.Must("create", "--bundle", h.Bundle(forever()), id)
	st, _ := h.State(id)
	limit := func() string { return readAll(t, h, st.PID)["pids.max"] }
	h.Must("update", "--pids-limit", "51", id)
	same(t, "created", limit(), "51")
	h.Must("start", id)
	h.Must("pause", id)
	h.Must("update", "--pids-limit", "52", id)
	same(t, "paused", limit(), "52")
	same(t, "status", h.WaitFor(id, "paused").Status, "paused")
	h.Must("resume", id)
	h.Must("kill", id, "KILL")
	h.WaitFor(id, "stopped")
	if r := h.Run("update", "--pids-limit", "53", id); r.Status != 1 || !strings.Contains(r.Stderr, "container not running") {
		t.Errorf("stopped: status %d, stderr %s", r.Status, r.Stderr)
	}
	h.Must("delete", id)
}

// changesV2 is for a container with the limits that TestUpdateV2 gives it; those
// of controllers are for the virtual machine, whose v2 tree has all.
func changesV2(controllers bool) []change {
	list := []change{
		{file: `{"unified":{"cgroup.max.depth":"8"}}`, want: map[string]string{"cgroup.max.depth": "8"}},
		{file: `{"hugepageLimits":[{"pageSize":"2MB","limit":2097152}]}`, want: map[string]string{"hugetlb.2MB.max": "2097152", "hugetlb.2MB.rsvd.max": "2097152"}},
		{file: `{"unified":{"cgroup.max.descendants":"5","hugetlb.2MB.max":"much"}}`, fails: `linux.resources.unified["hugetlb.2MB.max"]: cannot set "much"`},
		{flags: "--memory-swap 64m", fails: "linux.resources.memory.swap: "},
	}
	if !controllers {
		return append(list, change{flags: "--memory 64m", fails: "linux.resources.memory.limit: cannot set: "},
			change{flags: "--cpu-quota 5000", fails: "linux.resources.cpu.quota: cannot set: "})
	}
	return append(list,
		change{flags: "--memory 64m --memory-reservation 16m", want: map[string]string{"memory.max": "67108864", "memory.low": "16777216"}},
		change{flags: "--memory 96m --memory-swap 128m", want: map[string]string{"memory.max": "100663296", "memory.swap.max": "33554432"}},
		change{flags: "--cpu-quota 20000", want: map[string]string{"cpu.max": "20000 100000"}},
		change{flags: "--cpu-period 50000", want: map[string]string{"cpu.max": "20000 50000"}},
		change{flags: "--cpu-quota 30000", want: map[string]string{"cpu.max": "30000 50000"}},
		change{flags: "--cpu-quota -1", want: map[string]string{"cpu.max": "max 50000"}},
		change{flags: "--cpu-period 100000", want: map[string]string{"cpu.max": "max 100000"}},
		change{flags: "--cpu-share 2048 --pids-limit 50", want: map[string]string{"cpu.weight": "174", "cpu.weight.nice": "-2", "pids.max": "50"}},
		change{flags: "--cpuset-cpus 0", want: map[string]string{"cpuset.cpus": "0", "cpuset.cpus.effective": "0"}},
		change{file: blockIO(1<<20, nowhere), fails: `linux.resources.blockIO.throttleWriteIOPSDevice: cannot set "240:9 wiops=5": write `},
		change{file: blockIO(1<<30, disk), want: map[string]string{"io.bfq.weight": "default 222", "io.max": "254:0 rbps=1073741824 wbps=1073741824 riops=1073741824 wiops=1073741824"}},
		change{file: blockIO(1<<20, nowhere), fails: `linux.resources.blockIO.throttleWriteIOPSDevice: cannot set "240:9 wiops=5": write `},
		change{flags: "--memory 32m --pids-limit 40 --cpu-quota 5", fails: `linux.resources.cpu.quota: cannot set "5 100000"`},
		change{flags: "--memory 32m --pids-limit 40 --cpuset-cpus 4000", fails: `linux.resources.cpu.cpus: cannot set "4000"`},
	)
}

// On cgroup v2 too, what is not named stays, and what fails changes nothing.
func TestUpdateV2(t *testing.T) {
	h := linuxtest.OneV2(t)
	weighs := linuxtest.WeighDisk(t)
	controllers, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	if err != nil {
		t.Fatal(err)
	}
	id := h.ID("a")
	h.Must("run", "--detach", "--bundle", h.Bundle(forever(), func(s *specs.Spec) {
		s.Linux.Resources.Unified = map[string]string{"hugetlb.2MB.max": "4194304", "cgroup.max.depth": "7"}
	}), id)
	st, _ := h.State(id)
	list := changesV2(strings.Contains(string(controllers), "memory"))
	if weighs { // in the virtual machine
		list = append(list, changesOfRDMA(linuxtest.RDMADevice(t))...)
		list = append(list, changesOfWeights("io.bfq.weight", `linux.resources.blockIO.weightDevice: cannot set "240:9 444": write `)...)
	}
	for _, c := range list {
		want := readAll(t, h, st.PID)
		r := update(t, h, id, c)
		if (r.Status != 0) != (c.fails != "") || !strings.Contains(strings.ReplaceAll(r.Stderr, `\"`, `"`), c.fails) {
			t.Errorf("%s%s: status %d, stderr %s", c.flags, c.file, r.Status, r.Stderr)
		}
		maps.Copy(want, c.want)
		now := readAll(t, h, st.PID)
		for _, file := range slices.Sorted(maps.Keys(want)) {
			same(t, c.flags+c.file+": "+file, now[file], want[file])
		}
	}
	h.Must("delete", "--force", id)
}
