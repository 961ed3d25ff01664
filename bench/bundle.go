package main

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// config is the default configuration that the runtimes' "spec" command
// writes, without a terminal, and with a version that all of them take.
//
//go:embed config.json
var config string

// noDevices ends the name of a bundle without device rules.
const noDevices = "-no-devices"

// userNamespace ends the name of a bundle with a user namespace.
const userNamespace = "-user"

// mappings asks for a new user namespace, whose root is the host's: crun gives its
// streams, which are the machine's /dev/null here, to the container's root.
const mappings = `"uidMappings": [{"containerID": 0, "hostID": 0, "size": 65536}], "gidMappings": [{"containerID": 0, "hostID": 0, "size": 65536}],
		"namespaces": [{"type": "user"},`

// makeBundles makes bundles with a busybox root: "true", whose process ends at
// once, "seccomp", the same with Docker's default profile, and "sleep", whose
// process stays; and tries which of them each program takes.
func (b *bench) makeBundles() error {
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return fmt.Errorf("cannot make a root file system: install busybox-static: %w", err)
	}
	source, err := sourceDir()
	if err != nil {
		return err
	}
	profile, err := os.ReadFile(source + "/../internal/seccomp/testdata/docker.json")
	if err != nil {
		return fmt.Errorf("cannot read Docker's profile: %w", err)
	}
	for name, args := range map[string]string{"true": `"/bin/true"`, "seccomp": `"/bin/true"`, "sleep": `"/bin/sleep", "1000"`} {
		text := strings.Replace(config, `"@ARGS@"`, args, 1)
		if name == "seccomp" {
			text = strings.Replace(text, `"linux": {`, `"linux": {"seccomp": `+string(profile)+",", 1)
		}
		for _, suffix := range []string{"", userNamespace} {
			if suffix != "" {
				text = strings.Replace(text, `"namespaces": [`, mappings, 1)
			}
			if err := makeBundle(b.dir+"/"+name+suffix, busybox, text); err != nil {
				return err
			}
			if err := makeBundle(b.dir+"/"+name+suffix+noDevices, busybox, strings.Replace(text, `"resources": {`, `"x": {`, 1)); err != nil {
				return err
			}
		}
	}
	for i := range b.programs {
		b.choose(&b.programs[i])
	}
	return nil
}

func makeBundle(dir string, busybox []byte, config string) error {
	root := dir + "/rootfs"
	for _, d := range []string{"bin", "proc", "dev", "sys"} {
		if err := os.MkdirAll(root+"/"+d, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(root+"/bin/busybox", busybox, 0o755); err != nil {
		return err
	}
	for _, applet := range []string{"true", "sleep"} {
		if err := os.Symlink("busybox", root+"/bin/"+applet); err != nil {
			return err
		}
	}
	return os.WriteFile(dir+"/config.json", []byte(config), 0o644)
}

// choose falls back to a bundle without device rules for a program that cannot
// set them here, and says so: crun needs CAP_SYS_RESOURCE to load a device
// program where RLIMIT_MEMLOCK is finite. That spares the program some work.
func (b *bench) choose(p *program) {
	try := func(suffix string) ([]byte, error) {
		id := fmt.Sprintf("tongs-bench-%d-try", os.Getpid())
		argv := b.at(*p)
		defer func() { exec.Command(argv[0], append(argv[1:], "delete", "--force", id)...).Run() }()
		defer os.Remove("/sys/fs/cgroup/" + id) // crun leaves it when it fails
		cmd := exec.Command(argv[0], append(argv[1:], "run", "--bundle", b.dir+"/true"+suffix, id)...)
		return cmd.CombinedOutput()
	}
	out, err := try("")
	if err == nil {
		return
	}
	if _, err := try(noDevices); err == nil {
		p.suffix = noDevices
		p.note = fmt.Sprintf(" (measured without device rules: %s)", strings.TrimSpace(string(out)))
		return
	}
	p.note = fmt.Sprintf(" (does not run: %s)", strings.TrimSpace(string(out)))
}

// at returns the arguments of a runtime before its command. State lies in
// memory for all of them, as it does below /run on a machine in use.
func (b *bench) at(p program) []string {
	return []string{p.path, "--root", b.dir + "/run/" + p.name}
}

// bundle returns the directory of the bundle that the program takes.
func (b *bench) bundle(p program, name string) string {
	return b.dir + "/" + name + p.suffix
}
