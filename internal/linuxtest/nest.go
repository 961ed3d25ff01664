package linuxtest

import (
	"encoding/json"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Nest puts a bundle with the configuration into a root file system, in which
// tongs is, and tongs into its root file system.
func (h *Host) Nest(root string, spec *specs.Spec) (next string) {
	h.t.Helper()
	next = filepath.Join(root, "next")
	for _, dir := range []string{"bin", "dev", "etc", "proc", "run", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(next, "rootfs", dir), 0o755); err != nil {
			h.t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "run"), 0o755); err != nil {
		h.t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(root, "bin"))
	if err != nil {
		h.t.Fatal(err)
	}
	tongs := filepath.Join(root, "bin", "tongs")
	if _, err := os.Stat(tongs); err != nil {
		h.CopyProgram(tongs)
		entries, _ = os.ReadDir(filepath.Join(root, "bin")) // as above
	}
	for _, e := range entries {
		from, to := filepath.Join(root, "bin", e.Name()), filepath.Join(next, "rootfs", "bin", e.Name())
		if e.Type() == os.ModeSymlink {
			err = os.Symlink("busybox", to)
		} else {
			err = os.Link(from, to)
		}
		if err != nil {
			h.t.Fatal(err)
		}
	}
	data, err := json.Marshal(spec)
	if err == nil {
		err = os.WriteFile(filepath.Join(next, "config.json"), data, 0o644)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return filepath.Join(next, "rootfs")
}
