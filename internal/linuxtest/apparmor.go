package linuxtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// LoadProfiles loads profiles of AppArmor for the time of the test.
func LoadProfiles(t *testing.T, profiles string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "profiles")
	if err := os.WriteFile(file, []byte(profiles), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(action string) {
		t.Helper()
		if out, err := exec.Command("apparmor_parser", "-K", action, file).CombinedOutput(); err != nil {
			t.Errorf("apparmor_parser %s: %v\n%s", action, err, out)
		}
	}
	run("-r")
	t.Cleanup(func() { run("-R") })
}
