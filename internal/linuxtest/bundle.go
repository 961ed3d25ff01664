package linuxtest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/bundle"
	"tongs/test/inside/report"
)

// applets are the names in /bin that link to busybox.
const applets = "cat chmod cut date dd echo env false grep head hostname id kill ls mkdir mknod mount ps pwd rm sh sleep stat stty test touch true tty umount uname wc"

// Edit changes a configuration.
type Edit func(*specs.Spec)

// Spec is the configuration that `spec` writes, without a terminal, changed by
// the edits in their order.
func Spec(edits ...Edit) *specs.Spec {
	spec := bundle.Example()
	spec.Process.Terminal = false
	spec.Hostname = "e2e"
	for _, e := range edits {
		e(spec)
	}
	return spec
}

// Args sets the program and its arguments.
func Args(args ...string) Edit {
	return func(s *specs.Spec) { s.Process.Args = args }
}

// Shell runs a script.
func Shell(script string) Edit { return Args("/bin/sh", "-c", script) }

// Terminal asks for a terminal.
func Terminal(s *specs.Spec) { s.Process.Terminal = true }

// WithoutNamespace shares a namespace with the host.
func WithoutNamespace(t specs.LinuxNamespaceType) Edit {
	return func(s *specs.Spec) {
		var list []specs.LinuxNamespace
		for _, n := range s.Linux.Namespaces {
			if n.Type != t {
				list = append(list, n)
			}
		}
		s.Linux.Namespaces = list
	}
}

// Namespace makes or joins (by path) a namespace.
func Namespace(t specs.LinuxNamespaceType, path string) Edit {
	return func(s *specs.Spec) {
		WithoutNamespace(t)(s)
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: t, Path: path})
	}
}

// Mount adds a mount.
func Mount(to, kind, source string, options ...string) Edit {
	return func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: to, Type: kind, Source: source, Options: options})
	}
}

// Bundle makes a bundle with a root file system and gives its directory. Many
// containers may use one bundle.
func (h *Host) Bundle(edits ...Edit) string {
	h.t.Helper()
	dir, err := os.MkdirTemp(h.Dir, "bundle-")
	if err != nil {
		h.t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := h.tools.makeRoot(filepath.Join(dir, "rootfs")); err != nil {
		h.t.Fatal(err)
	}
	if h.User != nil {
		edits = append([]Edit{h.User.rootless}, edits...)
	}
	h.WriteConfig(dir, Spec(edits...))
	if h.User != nil {
		h.Own(dir)
	}
	return dir
}

// WriteConfig replaces the config.json of a bundle.
func (h *Host) WriteConfig(dir string, spec *specs.Spec) {
	h.t.Helper()
	data, err := json.MarshalIndent(spec, "", "\t")
	if err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func (t *tools) makeRoot(root string) error {
	for _, dir := range []string{"bin", "dev", "etc", "proc", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	for name, from := range map[string]string{"busybox": t.busybox, "inside": t.inside} {
		if err := os.Link(from, filepath.Join(root, "bin", name)); err != nil {
			return err
		}
	}
	for name := range strings.FieldsSeq(applets) {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", name)); err != nil {
			return err
		}
	}
	const group = "root:x:0:\n"
	if err := os.WriteFile(filepath.Join(root, "etc", "group"), []byte(group), 0o644); err != nil {
		return err
	}
	const passwd = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n"
	return os.WriteFile(filepath.Join(root, "etc", "passwd"), []byte(passwd), 0o644)
}

// Inside runs the program that looks around, which is also told of paths.
func Inside(paths ...string) Edit {
	return func(s *specs.Spec) { s.Process.Args = append([]string{"/bin/inside"}, paths...) }
}

// Look decodes what the program of Inside has printed.
func (h *Host) Look(output string) *report.Report {
	h.t.Helper()
	r := new(report.Report)
	if err := json.Unmarshal([]byte(output), r); err != nil {
		h.t.Fatalf("cannot read the report from inside: %v\n%s", err, output)
	}
	return r
}

// RunInside runs a container with the program of Inside, if the edits do not say
// otherwise, to its end.
func (h *Host) RunInside(name string, edits ...Edit) *report.Report {
	h.t.Helper()
	edits = append([]Edit{Inside()}, edits...)
	return h.Look(h.Must("run", "--bundle", h.Bundle(edits...), h.ID(name)).Stdout)
}
