package engines

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"tongs/internal/linuxtest"
)

// sandboxImage holds the pods: its program has a name that no test looks for.
const sandboxImage = "sandbox:critest"

// Programs of critest's images, as far as busybox does not have them.
const (
	// webServer answers as nginx and httpd do for critest: by a main page, a
	// process of that name, its number in a file, and a word in the log.
	webServer = `#!/bin/sh
echo $$ >/var/run/nginx.pid
echo "${0##*/}"
httpd -p "${2:-80}" -h /www
while :; do sleep 1000; done
`
	ipcs  = "#!/bin/sh\ncat /proc/sysvipc/shm\n"
	pgrep = "#!/bin/sh\npidof \"$1\"\n"
)

// critestImages makes the images that critest asks for. All have one root.
func critestImages(t *testing.T, h *linuxtest.Host) map[string]image {
	t.Helper()
	root := h.Bundle() + "/rootfs"
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	list, err := exec.Command("busybox", "--list").Output()
	must(err)
	for name := range strings.FieldsSeq(string(list)) {
		if err := os.Symlink("busybox", root+"/bin/"+name); !os.IsExist(err) {
			must(err)
		}
	}
	for _, dir := range []string{"/var/run", "/www", "/root"} {
		must(os.MkdirAll(root+dir, 0o755))
	}
	for name, text := range map[string]string{"/bin/nginx": webServer, "/bin/httpd-2.4": webServer, "/bin/ipcs": ipcs, "/bin/pgrep": pgrep, "/www/index.html": "here\n",
		"/etc/passwd": "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\nwww-data:x:33:33::/:/bin/sh\n",
		"/etc/group":  "root:x:0:\nuser:x:1000:\nin-image:x:50000:user\nnobody:x:65534:\nwww-data:x:33:\n"} {
		must(os.WriteFile(root+name, []byte(text), 0o755))
	}
	must(linuxtest.Program(root+"/bin/setuid", "test/engines/setuid"))
	must(os.Chmod(root+"/bin/setuid", 0o755|os.ModeSetuid))
	tar := filepath.Join(h.Dir, "critest.tar")
	if out, err := exec.Command("tar", "-C", root, "-cf", tar, ".").CombinedOutput(); err != nil {
		t.Fatalf("cannot make an image: %v: %s", err, out)
	}
	layer, err := os.ReadFile(tar)
	must(err)
	images := make(map[string]image)
	add := func(config object, names ...string) {
		for _, name := range names {
			config["Labels"] = object{"name": name} // no two are the same
			images[name] = newImage(t, layer, config)
		}
	}
	started := func(args ...string) object { return object{"Entrypoint": args} }
	add(object{"Cmd": []string{"/bin/sh"}}, "e2e-test-images/busybox:1.29-2", "pause:3.9", "k8s-staging-cri-tools/test-image-latest:latest",
		"k8s-staging-cri-tools/test-image-tag:test", "k8s-staging-cri-tools/test-image-tag:all", "k8s-staging-cri-tools/test-image-1:latest",
		"k8s-staging-cri-tools/test-image-2:latest", "k8s-staging-cri-tools/test-image-3:latest", "k8s-staging-cri-tools/test-image-tags:1")
	for _, tag := range []string{"2", "3"} {
		images["k8s-staging-cri-tools/test-image-tags:"+tag] = images["k8s-staging-cri-tools/test-image-tags:1"]
	}
	add(started("/bin/tail", "-f", "/dev/null"), sandboxImage)
	add(started("/bin/nginx", "master process"), "e2e-test-images/nginx:1.14-2")
	add(started("/bin/httpd-2.4", "master process"), "e2e-test-images/httpd:2.4.39-4")
	add(started("/bin/nginx", "master process", "12003"), "k8s-staging-cri-tools/hostnet-nginx-"+runtime.GOARCH+":latest")
	add(started("/bin/setuid"), "e2e-test-images/nonewprivs:1.3")
	for name, user := range map[string]string{"user-uid": "1002", "user-username": "www-data", "user-uid-group": "1003:users", "user-username-group": "www-data:100", "predefined-group": "1000"} {
		add(object{"User": user, "Cmd": []string{"/bin/sh"}}, "k8s-staging-cri-tools/test-image-"+name+":latest")
	}
	return images
}

// spec is what critest says of one of its tests.
type spec struct {
	name, state, message string // state: passed, failed, skipped, timedout, panicked…
}

// separator stands between the texts of a spec's containers and its own, in its name.
const separator = " / "

// critest runs the tests for a runtime handler and reads its report. One that is
// not asked for is not in the result.
func (c *cri) critest(handler string, flags ...string) (specs []spec) {
	t := c.t
	t.Helper()
	report := filepath.Join(c.dir, "report.json")
	argv := append([]string{"--runtime-endpoint", c.endpoint(), "--runtime-handler", handler, "--ginkgo.json-report", report, "--ginkgo.timeout", "15m",
		"--ginkgo.no-color"}, flags...)
	cmd := exec.Command(c.dir+"/bin/critest", argv...)
	cmd.Dir, cmd.Env = c.dir, append(os.Environ(), "TMPDIR="+c.dir)
	out, errRun := cmd.CombinedOutput() // fails if a test does
	data, err := os.ReadFile(report)
	var suites []struct {
		SpecReports []struct {
			ContainerHierarchyTexts           []string
			LeafNodeType, LeafNodeText, State string
			Failure                           struct{ Message string }
		}
	}
	if err == nil {
		err = json.Unmarshal(data, &suites)
	}
	if err != nil || len(suites) != 1 {
		t.Fatalf("critest has no report: %v, %v\n%s", errRun, err, out)
	}
	for _, s := range suites[0].SpecReports {
		if s.LeafNodeType == "It" && (s.State != "skipped" || s.Failure.Message != "") {
			specs = append(specs, spec{strings.Join(append(s.ContainerHierarchyTexts, s.LeafNodeText), separator), s.State, s.Failure.Message})
		}
	}
	return specs
}

// TestCritest is the validation suite of cri-tools, on containerd 2. What fails must
// be what docs/conformance.md lists, and fail with runc, too, if it says so.
func TestCritest(t *testing.T) {
	h := linuxtest.One(t)
	privateRun(t, h)
	ownNetwork(t)
	t.Cleanup(func() { // containerd leaves the parent of its pods
		for _, pattern := range []string{"/sys/fs/cgroup/k8s.io", "/sys/fs/cgroup/*/k8s.io"} {
			parents, _ := filepath.Glob(pattern) // which is fine
			for _, p := range parents {
				os.Remove(p) // unless others are in it
			}
		}
	})
	bin := directory(t, h, "cri/bin")
	buildCRI(t, bin, containerd2+"containerd", containerd2+"containerd-shim-runc-v2")
	cmd := exec.Command("go", "test", "-c", "-trimpath", "-ldflags", "-s -w", "-o", bin+"/critest", criTools+"critest")
	cmd.Dir = "cri"
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build critest: %v\n%s", err, out)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	r := &registry{images: critestImages(t, h)}
	host := "http://" + r.serve(t)
	hosts := directory(t, h, "cri/hosts/_default")
	if err := os.WriteFile(hosts+"/hosts.toml", []byte("started = \""+host+"\"\n[host.\""+host+"\"]\ncapabilities = [\"pull\", \"resolve\"]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := startCRI(t, h, bin+"/containerd", "containerd-v3.toml", `
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "native"
  use_local_image_pull = true
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "registry.k8s.io/`+sandboxImage+`"
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = "DIR/hosts"
`+criNetwork)
	if t.Failed() {
		return
	}
	rows := readSpecs(t, "../../docs/conformance.md")
	specs := c.critest("tongs")
	c.again(rows, specs)
	check(t, rows, specs)
	var failing []string
	for _, r := range rows {
		if r.outcome == "fails" {
			failing = append(failing, "--ginkgo.focus", regexp.QuoteMeta(r.spec))
		}
	}
	runc := c.critest("runc", failing...)
	for _, r := range rows {
		if i := slices.IndexFunc(runc, r.names); r.outcome == "fails" && (i < 0 || (runc[i].state == "failed") != (r.runc == "the same")) {
			t.Errorf("docs/conformance.md says of runc and %q: %q, which is not so: %v", r.spec, r.runc, runc)
		}
	}
}

// specRow is a line of the table of docs/conformance.md whose first column is "Spec":
// a part of the specs' names.
type specRow struct {
	spec, outcome, reason, runc string
}

func (r specRow) names(s spec) bool { return strings.Contains(s.name, r.spec) }

func readSpecs(t *testing.T, file string) (rows []specRow) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(data), "| Spec | Outcome | Reason | runc |\n|---|---|---|---|\n")
	if !found {
		t.Fatalf("%s has no table of specs", file)
	}
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(line, "| \n"), " | ")
		if !strings.HasPrefix(line, "|") {
			break
		}
		if len(cells) != 4 {
			t.Fatalf("%s: %q has not four columns", file, line)
		}
		rows = append(rows, specRow{cells[0], cells[1], cells[2], cells[3]})
	}
	return rows
}

// again runs what has failed and should not once more: some specs wait for a second
// where a busy machine takes longer.
func (c *cri) again(rows []specRow, specs []spec) {
	var failed []string
	for _, s := range specs {
		if s.state != "passed" && s.state != "skipped" && !slices.ContainsFunc(rows, func(r specRow) bool { return r.names(s) }) {
			c.t.Logf("%s: %s: %s", s.name, s.state, s.message)
			failed = append(failed, "--ginkgo.focus", regexp.QuoteMeta(s.name[strings.LastIndex(s.name, separator)+len(separator):]))
		}
	}
	if len(failed) == 0 {
		return
	}
	for _, s := range c.critest("tongs", failed...) {
		if i := slices.IndexFunc(specs, func(o spec) bool { return o.name == s.name && o.state != "passed" }); i >= 0 {
			specs[i] = s
		}
	}
}

// check wants that the specs pass, but for what is listed, and that this is so. What
// is listed as skipped may run on another machine.
func check(t *testing.T, rows []specRow, specs []spec) {
	t.Helper()
	passed := 0
	for _, s := range specs {
		i := slices.IndexFunc(rows, func(r specRow) bool { return r.names(s) })
		switch {
		case s.state == "passed" && i >= 0 && rows[i].outcome == "fails":
			t.Errorf("docs/conformance.md lists %q, which passes now: strike it", s.name)
		case s.state == "passed":
			passed++
		case i < 0 || (rows[i].outcome == "skipped") != (s.state == "skipped"):
			t.Errorf("%s: %s: %s", s.name, s.state, s.message)
		}
	}
	for _, r := range rows {
		if !slices.ContainsFunc(specs, r.names) {
			t.Errorf("docs/conformance.md lists %q, which is no spec", r.spec)
		}
	}
	t.Logf("%d of %d specs passed", passed, len(specs))
	if passed < 100 {
		t.Error("too few")
	}
}
