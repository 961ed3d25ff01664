package container

import (
	"os"
	"testing"

	"tongs/internal/state"
)

// A create that was killed may not have made the groups that it has announced;
// what its state says of other file systems is not believed.
func TestDeleteResctrl(t *testing.T) {
	s := testStore(t)
	elsewhere := t.TempDir() + "/c1"
	if err := os.Mkdir(elsewhere, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		id    string
		owned []string
		want  string
	}{
		{"gone", []string{"/sys/fs/resctrl/gone", "/sys/fs/resctrl/gone/mon_groups/gone"}, ""},
		{"elsewhere", []string{elsewhere}, "linux.intelRdt: cannot remove group: rmdir \"" + elsewhere + "\": no such device"},
	} {
		d := put(t, s, c.id, 0, func(st *state.State) {
			st.Tongs.Phase = state.Creating
			st.Tongs.Runtime.Start--
			st.IntelRdtPath, st.Tongs.Owned.Resctrl = c.owned[0], c.owned
		})
		wantError(t, c.id, Delete(s, c.id, false, noWarning(t)), c.want)
		if c.want == "" {
			wantGone(t, d.Path())
		} else if _, err := os.Stat(elsewhere); err != nil {
			t.Errorf("%s: %v", elsewhere, err)
		}
	}
}

func TestMonitorDir(t *testing.T) {
	st := &state.State{ID: "c1", IntelRdtPath: "/sys/fs/resctrl/gold"}
	if dir := monitorDir(st); dir != "" {
		t.Errorf("none was made: %q", dir)
	}
	st.Tongs.Owned.Resctrl = []string{"/sys/fs/resctrl/gold/mon_groups/c1"}
	if dir := monitorDir(st); dir != "/sys/fs/resctrl/gold/mon_groups/c1" {
		t.Errorf("got %q", dir)
	}
}
