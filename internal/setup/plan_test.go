package setup

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tongs/internal/bundle"
	"tongs/internal/kernel"
	"tongs/internal/kernel/record"
)

// The golden tests: each file of testdata says what calls a configuration
// leads to. Its sections:
//
//	config   a fragment, merged into minimal: a JSON merge patch (RFC 7396),
//	         where a key that ends in "+" adds to a list
//	options  what the command line and the host add, one a line
//	answers  what the kernel answers, see world
//	plan     the calls, all of them …
//	change   … or those that the minimal plan does not have (+) and lacks (-)
//	error    the error that ends the set-up
//	same     there is no difference to the minimal plan
//	unchecked  why bundle.Check, which would refuse the configuration, is left out
//
// go test -update writes the last three anew.

// minimal is a configuration that Check accepts and that asks for nothing else.
const minimal = `{
	"ociVersion": "1.3.0",
	"root": {"path": "rootfs"},
	"mounts": [{"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}],
	"process": {"args": ["/bin/true"], "cwd": "/", "env": ["HOME=/", "PATH=/usr/bin:/bin"]},
	"linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "uts"}, {"type": "ipc"}, {"type": "network"}]}
}`

func update() bool { return flag.Lookup("update").Value.String() == "true" }

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write golden files anew")
	flag.Parse()
	os.Exit(m.Run())
}

// plan is one recorded set-up.
type plan struct {
	env    *Env
	world  *world
	kernel *record.Kernel
	text   strings.Builder
	order  string
	calls  []kernel.Call // those that were recorded
}

// side is the host's or the container's end of a plan's kernel.
type side struct {
	p    *plan
	host bool
}

func (s side) Run(b *kernel.Batch) error {
	who := "container"
	if s.host {
		who = "host"
	}
	s.p.world.host = s.host
	before, count := s.p.kernel.Text.Len(), s.p.kernel.Count
	err := s.p.kernel.Run(b)
	done := b.Calls[:min(s.p.kernel.Count-count, len(b.Calls))] // a check may have run calls of its own
	if len(b.Calls) > 0 {
		s.p.text.WriteString("# " + s.p.order + ": " + who + "\n")
		lines := strings.SplitAfter(s.p.kernel.Text.String()[before:], "\n")
		for i := range done {
			s.p.text.WriteString(withWords(lines[i], &done[i]))
		}
	}
	for _, c := range done {
		purpose := *c.Purpose // the batch uses its memory again
		c.Purpose = &purpose
		s.p.calls = append(s.p.calls, c)
	}
	return err
}

// withWords shows the content of structs that the recorder prints as their
// size only, as 32-bit words.
func withWords(line string, c *kernel.Call) string {
	for _, a := range c.Args {
		if a.Kind() != kernel.Memory || a.Mem.Out || a.Mem.Text || a.Mem.Note != nil || len(a.Mem.Refs) > 0 {
			continue
		}
		words := make([]string, 0, 8)
		for i := 0; i+4 <= len(a.Mem.Bytes); i += 4 {
			words = append(words, strconv.FormatUint(uint64(binary.NativeEndian.Uint32(a.Mem.Bytes[i:])), 10))
		}
		line = strings.Replace(line, a.Mem.String(), "["+strings.Join(words, " ")+"]", 1)
	}
	return line
}

// merge is a JSON merge patch, where "list+" adds to a list.
func merge(into, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	m, ok := into.(map[string]any)
	if !ok {
		m = map[string]any{}
	}
	for k, v := range p {
		name, more := strings.CutSuffix(k, "+")
		switch {
		case v == nil:
			delete(m, k)
		case more:
			old, _ := m[name].([]any)
			m[name] = append(slices.Clone(old), v.([]any)...)
		default:
			m[k] = merge(m[k], v)
		}
	}
	return m
}

func decode(text string) (v any, err error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	return v, d.Decode(&v)
}

func mergedSpec(fragment string) (*specs.Spec, error) {
	base, err := decode(minimal)
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(fragment) != "" {
		patch, err := decode(fragment)
		if err != nil {
			return nil, fmt.Errorf("config: %w", err)
		}
		base = merge(base, patch)
	}
	data, err := json.Marshal(base)
	if err != nil {
		return nil, err
	}
	spec, warnings, err := bundle.Decode(data)
	if err == nil && len(warnings) > 0 {
		err = fmt.Errorf("config: %q", warnings)
	}
	return spec, err
}

// newPlan prepares the set-up of a golden file.
func newPlan(s *sections) (*plan, error) {
	spec, err := mergedSpec(s.text["config"])
	if err != nil {
		return nil, err
	}
	if _, ok := s.text["unchecked"]; !ok {
		if err := bundle.Check(spec); err != nil {
			return nil, err
		}
	}
	return planOf(spec, s.text["options"], s.text["answers"])
}

func planOf(spec *specs.Spec, options, answers string) (*plan, error) {
	w, err := newWorld(answers)
	if err != nil {
		return nil, err
	}
	p := &plan{world: w, kernel: &record.Kernel{Answer: w.answer}}
	p.env = &Env{Options: Options{ID: "c1", Bundle: "/bundle", Scratch: "/state"}, Spec: spec, Host: side{p, true}, K: side{p, false}, B: &kernel.Batch{},
		PID: kernel.NewHandle(4321, "container"), Line: kernel.NewHandle(5, "line"), Fifo: kernel.NewHandle(6, "exec.fifo"), Warn: func(string) {}}
	p.env.Hooks = &Hooks{Report: kernel.NewHandle(7, "report"), Output: kernel.NewHandle(8, "output"),
		StartInput: kernel.NewHandle(9, "start input"), CreateInput: kernel.NewHandle(10, "create input"),
		Run: func(field string, h *specs.Hook, st *specs.State) error { return p.hook("run "+field+" "+h.Path, st) },
		Fill: func(create, start *specs.State) error {
			return errors.Join(p.hook("fill", create), p.hook("fill", start))
		},
		Watch: func(list string, hooks []specs.Hook, first int) error { return p.hook("watch "+list, nil) },
	}
	p.env.NetDevices = func() error { return p.hook("move linux.netDevices", nil) }
	p.env.Hide = func() { p.text.WriteString("# hide\n") }
	p.env.MapIDs = func(field, program string, pid kernel.Handle, list []specs.LinuxIDMapping) error {
		return p.hook("run "+program+" for "+field+" "+strings.ReplaceAll(strings.TrimSpace(mapping(list)), "\n", ", "), nil)
	}
	return p, setOptions(p.env, options)
}

// hook writes down what the owner of a set-up is asked to do; an answer
// "hook PATH text" lets it fail.
func (p *plan) hook(what string, st *specs.State) error {
	p.text.WriteString("# hook: " + what)
	if st != nil {
		fmt.Fprintf(&p.text, " %s %d", st.Status, st.Pid)
	}
	p.text.WriteString("\n")
	if words := strings.Fields(what); len(words) > 1 {
		key := "hook " + words[1]
		if a, ok := p.world.answers[key]; ok {
			p.world.used[key] = true
			return errors.New(a)
		}
	}
	return nil
}

func setOptions(e *Env, options string) error {
	for line := range strings.Lines(options) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		switch words[0] {
		case "user": // who has started tongs
			n, err := strconv.ParseUint(words[1], 10, 32)
			if err != nil {
				return err
			}
			e.UID, e.GID = uint32(n), uint32(n)
		case "park":
			e.Park = true
		case "listen-fds":
			e.ListenFDs, e.PreserveFDs = 2, 2
		case "net-namespace":
			e.NetNamespace, e.Meet, e.Part = true, func() {}, func() {}
		case "no-pivot":
			e.NoPivot = true
		case "no-new-keyring":
			e.NoNewKeyring = true
		case "exec":
			e.Joined = &Container{Namespaces: unix.CLONE_NEWNS | unix.CLONE_NEWPID, Keyring: true}
		case "restore":
			e.Restore = &Restore{Dir: "/run/tongs", OwnCgroups: len(words) > 1 && words[1] == "own-cgroups",
				Program: "/usr/sbin/criu", Args: func(n int) []string { return []string{"criu", "swrk", strconv.Itoa(n)} }, Env: []string{"PATH=/usr/sbin"}}
		case "cgroup-v2":
			e.CgroupV2 = true
		case "preserve-fds":
			n, err := strconv.Atoi(words[1])
			if err != nil {
				return err
			}
			e.PreserveFDs = n
		case "v1": // name, directory, options; links after a slash
			v := V1Hierarchy{Name: words[1], Dir: words[2], Options: strings.Split(words[3], ",")}
			if len(words) > 4 {
				v.Links = strings.Split(words[4], ",")
			}
			e.CgroupsV1 = append(e.CgroupsV1, v)
		default:
			return fmt.Errorf("options: unknown word %q", words[0])
		}
	}
	return nil
}

// exec goes through the orders as exec does.
func (p *plan) exec() error {
	p.order = "exec host order"
	if err := p.env.Do(ExecHostOrder()); err != nil {
		return err
	}
	p.order = "exec order"
	p.env.Joined.Process = kernel.NewHandle(p.world.add(file{}), "container")
	p.env.KeepContainer()
	if err := p.env.Inherited(p.world.inherit(p.env.Inherit())); err != nil {
		return err
	}
	return p.env.Do(ExecOrder())
}

// restore goes through the orders as restore does, and shows what CRIU is told.
func (p *plan) restore() error {
	p.order = "restore host order"
	r := p.env.Restore
	r.Images = make([]kernel.Handle, 2)
	for name, h := range map[string]*kernel.Handle{"criu": &r.Socket, "work": &r.Work, "images": &r.Images[0], "parents": &r.Images[1]} {
		*h = kernel.NewHandle(p.world.add(file{path: "host:/" + name, mode: unix.S_IFDIR | 0o700}), name)
	}
	if err := p.env.Do(RestoreHostOrder()); err != nil {
		return err
	}
	p.order = "restore order"
	p.env.FirstOwn = 3
	if err := p.env.Inherited(p.world.inherit(p.env.Inherit())); err != nil {
		return err
	}
	if err := p.env.Do(RestoreOrder()); err != nil {
		return err
	}
	p.order = "restore tail"
	p.env.B = &kernel.Batch{}
	if err := p.env.Queue(RestoreTail()); err != nil {
		return err
	}
	if err := p.env.K.Run(p.env.B); err != nil {
		return err
	}
	for _, x := range p.env.Restore.Externals {
		fmt.Fprintf(&p.text, "# external: %s is %s\n", x.Name, x.Source)
	}
	for _, n := range p.env.InheritedNamespaces() {
		fmt.Fprintf(&p.text, "# namespace: %s %s\n", n.Type, n.Path)
	}
	return nil
}

// hostSteps is run up to where the container's process exists.
func (p *plan) hostSteps() error {
	p.order = "host order"
	if err := p.env.Do(HostOrder()); err != nil {
		return err
	}
	p.order = "create order"
	inherit := p.world.inherit(p.env.Inherit())
	p.env.FirstOwn = uint(3 + p.env.PreserveFDs)
	return p.env.Inherited(inherit)
}

// run goes through the orders as create does.
func (p *plan) run() error {
	if p.env.Joined != nil {
		return p.exec()
	}
	if p.env.Restore != nil {
		return p.restore()
	}
	if err := p.hostSteps(); err != nil {
		return err
	}
	if !p.env.hasNamespace("mount") {
		// Nothing is attached: the handle itself is the root.
		n, _, _ := p.env.root.Number(nil)
		if f := p.world.open[n]; f != nil {
			f.path = "/"
		}
	}
	if err := p.env.Do(CreateOrder()); err != nil {
		return err
	}
	p.order = "tail order"
	p.env.B = &kernel.Batch{}
	if err := p.env.Queue(TailOrder()); err != nil {
		return err
	}
	return p.env.K.Run(p.env.B)
}

func runFile(s *sections) (p *plan, err error) {
	if p, err = newPlan(s); err != nil {
		return nil, err
	}
	return p, p.run()
}

func goldenFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestPlan(t *testing.T) {
	base, err := runFile(&sections{text: map[string]string{}})
	if err != nil {
		t.Fatalf("the minimal configuration: %v", err)
	}
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			testFile(t, name, parseSections(string(data)), base.text.String())
		})
	}
}

func testFile(t *testing.T, name string, s *sections, base string) {
	p, err := runFile(s)
	if p == nil {
		t.Fatalf("%v", err)
	}
	for _, line := range p.world.unused() {
		t.Errorf("the answer %q was not asked for", line)
	}
	got := map[string]string{"error": ""}
	if err != nil {
		got["error"] = err.Error() + "\n"
	}
	if slices.Contains(s.names, "plan") {
		got["plan"] = p.text.String()
	} else if err == nil && p.text.String() != base {
		got["change"] = diff(base, p.text.String())
	}
	if update() {
		for k, v := range got {
			if v != "" {
				s.set(k, v)
			}
		}
		if err == nil && s.text["plan"] == "" && got["change"] == "" {
			s.set("same", "")
		}
		s.names = slices.DeleteFunc(s.names, func(n string) bool {
			return n == "error" && err == nil || n == "change" && got["change"] == "" || n == "same" && err != nil
		})
		if err := os.WriteFile(name, []byte(s.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, k := range []string{"error", "plan", "change"} {
		if v, want := got[k], s.text[k]; v != want {
			t.Errorf("%s differs (-want +got):\n%s", k, diff(want, v))
		}
	}
	if s.text["error"] == "" && s.text["plan"] == "" && s.text["change"] == "" && !slices.Contains(s.names, "same") {
		t.Error("the file expects nothing")
	}
}
