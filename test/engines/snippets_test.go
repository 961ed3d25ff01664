package engines

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tongs/internal/linuxtest"
)

// TestKubernetes checks the manifest by Kubernetes' own types, and does what its
// DaemonSet does: its script installs a program on a node.
func TestKubernetes(t *testing.T) {
	h := linuxtest.One(t)
	cmd := exec.Command("go", "run", "-buildvcs=false", "./manifest", "../testdata/kubernetes.yaml", "../testdata/crio.conf")
	cmd.Dir = "cri"
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr // also tells of modules that are downloaded
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the manifest is wrong: %v: %s", err, &stderr)
	}
	handler, script, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	for file, name := range map[string]string{"containerd-v2.toml": "containerd.runtimes.%]", "containerd-v3.toml": "containerd.runtimes.%]"} {
		data, err := os.ReadFile("testdata/" + file)
		if want := strings.ReplaceAll(name, "%", handler); err != nil || !strings.Contains(string(data), want) {
			t.Errorf("%s has no handler %q: %v", file, handler, err)
		}
	}
	node := directory(t, h, "node")
	bundle := h.Bundle(linuxtest.Shell(strings.ReplaceAll(script, "exec sleep infinity", "exec true")), linuxtest.Mount("/host", "bind", node, "bind"))
	for name, target := range map[string]string{"cp": "busybox", "mv": "busybox"} {
		if err := os.Symlink(target, filepath.Join(bundle, "rootfs/bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(bundle+"/rootfs/tongs", []byte("the program"), 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 { // an update is the same
		h.Must("run", "--bundle", bundle, h.ID("install"))
	}
	st, err := os.Stat(node + "/" + filepath.Base(binary))
	if err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("the program was not installed: %v, %v", st, err)
	}
	if left, _ := os.ReadDir(node); len(left) != 1 {
		t.Errorf("there is more on the node: %v", left)
	}
}
