package vm

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

// On a machine that enforces a policy of SELinux, processes and mounts have the
// labels of the configuration.
func TestSELinux(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("making the image of the virtual machine needs root")
	}
	i := openImage(t)
	dir := t.TempDir()
	if log, err := runBounded(exec.Command("secilc", "-c", "33", "-o", dir+"/policy", "-f", "/dev/null", "selinux.cil"), time.Minute); err != nil {
		t.Fatalf("cannot compile the policy: %v\n%s", err, log)
	}
	const look = "cat /proc/self/attr/current; echo; echo text > /secret/file && cat /secret/file"
	label := func(s *specs.Spec) {
		s.Process.SelinuxLabel, s.Linux.MountLabel = "u:r:container_t:s0", "u:r:secret_t:s0"
	}
	for name, edits := range map[string][]linuxtest.Edit{"labels": {label}, "plain": nil, "wrong": {label, func(s *specs.Spec) { s.Process.SelinuxLabel = "u:r:nobody_t:s0" }},
		"sleep": {label, linuxtest.Args("/bin/sleep", "1000")}} {
		edits = append([]linuxtest.Edit{linuxtest.Shell("exec 2>&1; " + look), linuxtest.Mount("/secret", "tmpfs", "tmpfs")}, edits...)
		bundle(t, filepath.Join(dir, "bundles", name), linuxtest.Spec(edits...))
	}
	m := boot(t, "/dev/null", "-m", "512", "-kernel", i.file("bookworm/vmlinuz"), "-initrd", ramdisk(t, "selinux", dir),
		"-append", "console=ttyS0 quiet loglevel=0 panic=-1 rdinit=/init security=selinux selinux=1", "-chardev", "stdio,id=results", "-serial", "chardev:results")
	const denied = "u:r:container_t:s0\ncat: can't open '/secret/file': Permission denied\n"
	for _, c := range []struct{ name, want string }{
		{"off", "process.selinuxLabel: selinux label is specified in config, but selinux is disabled or not supported"},
		{"policy", "@@end 0"},
		{"run", denied},
		{"nolabel", "u:r:kernel_t:s0\ntext\n@@end 0"},
		{"wrong", "process.selinuxLabel: cannot set the label of the session keyring: write("},
		{"detached", "@@end 0"},
		{"exec", denied},
		{"other", "u:r:other_t:s0\ntext\n@@end 0"},
		{"delete", "@@end 0"},
	} {
		if got := strings.ReplaceAll(m.section(t, c.name), "\x00", ""); !strings.Contains(got, c.want) {
			t.Errorf("%s: got\n%swant\n%s", c.name, got, c.want)
		}
	}
}

// bundle makes a bundle with a busybox root.
func bundle(t *testing.T, dir string, spec *specs.Spec) {
	t.Helper()
	root := filepath.Join(dir, "rootfs")
	for _, d := range []string{"bin", "proc", "sys", "dev", "secret"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(busybox)
	if err == nil {
		err = os.WriteFile(filepath.Join(root, "bin/busybox"), data, 0o755)
	}
	for _, name := range []string{"sh", "cat", "echo", "sleep"} {
		if err == nil {
			err = os.Symlink("busybox", filepath.Join(root, "bin", name))
		}
	}
	if err == nil {
		data, err = json.Marshal(spec)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
