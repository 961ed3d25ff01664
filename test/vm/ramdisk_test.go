package vm

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// On a machine that never leaves its initial ramdisk, a container takes
// --no-pivot: pivot_root(2) refuses to put away the first mount of all.
func TestRamdisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("making the image of the virtual machine needs root")
	}
	i := openImage(t)
	m := boot(t, "/dev/null", "-m", "512", "-kernel", i.file("bookworm/vmlinuz"), "-initrd", ramdisk(t, "ramdisk", t.TempDir()),
		"-append", "console=ttyS0 quiet loglevel=0 panic=-1 rdinit=/init", "-chardev", "stdio,id=results", "-serial", "chardev:results")
	outputs := map[string]string{}
	for _, name := range []string{"run", "run --no-pivot", "left"} {
		outputs[name] = m.section(t, name)
	}
	refused := outputs["run"]
	if !strings.Contains(refused, "pivot_root") || !strings.Contains(refused, "--no-pivot") || !strings.HasSuffix(refused, "@@end 1\n") {
		t.Errorf("with a pivot:\n%s", refused)
	}
	got := outputs["run --no-pivot"]
	for _, want := range []string{"root\nbin   dev   proc  sys\n", "cat: can't open '/host'", "cat: can't open '/proc/1/root/host'"} {
		if !strings.Contains(got, want) {
			t.Errorf("without: %q is missing in\n%s", want, got)
		}
	}
	if strings.Contains(got, "secret") {
		t.Errorf("without: the container sees a file of the host:\n%s", got)
	}
	if left := outputs["left"]; left != "@@end 0\n" {
		t.Errorf("left behind: %s", left)
	}
}

// section reads what the machine writes between "@@begin NAME" and "@@end",
// which is its last line.
func (m *machine) section(t *testing.T, name string) string {
	t.Helper()
	var text strings.Builder
	for begun := false; ; {
		line, err := m.next(bootTime, name)
		if err != nil {
			t.Fatalf("%v\n%s", err, text.String())
		}
		line = strings.TrimRight(line, "\r ")
		if begun {
			text.WriteString(line + "\n")
		}
		if begun && strings.HasPrefix(line, "@@end") {
			return text.String()
		}
		begun = begun || line == strings.TrimSpace("@@begin "+name)
	}
}

// ramdisk makes an initial file system (cpio(5), "newc") of what a directory has,
// tongs, busybox and a script.
func ramdisk(t *testing.T, script, dir string) string {
	t.Helper()
	build(t, "build", "-trimpath", "-o", dir+"/bin/tongs", "tongs/cmd/tongs")
	file := filepath.Join(t.TempDir(), "ramdisk")
	log, err := runBounded(exec.Command("sh", "-e", "-c", `
		busybox=$(command -v busybox)
		cp "$busybox" "$1/bin/busybox" && cp "$3" "$1/init" && cd "$1"
		"$busybox" find . | "$busybox" cpio -o -H newc >"$2"`, "sh", dir, file, script), time.Minute)
	if err != nil {
		t.Fatalf("cannot make the initial file system: %v\n%s", err, log)
	}
	return file
}
