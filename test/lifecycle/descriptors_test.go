package lifecycle

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tongs/internal/linuxtest"
)

// TestDescriptors looks at the process from the host: its table is exactly what
// was asked for, in every way to start it.
func TestDescriptors(t *testing.T) {
	h := linuxtest.One(t)
	var files []*os.File
	for i := range 5 {
		f, err := os.Create(filepath.Join(h.Dir, fmt.Sprintf("file%d", i)))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	for _, terminal := range []bool{false, true} {
		for _, preserve := range []int{0, 1, 3} {
			for _, way := range []string{"create", "run", "run --detach"} {
				name := fmt.Sprintf("%s %d %t", way, preserve, terminal)
				h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
					// One more than is preserved: it must not come along.
					checkDescriptors(t, h, way, files[:preserve+1], preserve, terminal)
				})
			}
		}
	}
}

func checkDescriptors(t *testing.T, h *linuxtest.Host, way string, files []*os.File, preserve int, terminal bool) {
	var edits []linuxtest.Edit
	if terminal {
		edits = append(edits, linuxtest.Terminal)
	}
	id := h.ID(strings.NewReplacer(" ", "", "/", "").Replace(t.Name()))
	c := linuxtest.Command{Files: files}
	c.Args = append(strings.Fields(way), "--preserve-fds", strconv.Itoa(preserve), "--bundle", h.Bundle(append(edits, forever)...))
	var socket *linuxtest.Socket
	if terminal && way == "run" {
		_, side := h.Terminal()
		c.Stdin, c.Out, c.Session = side, side, true
	} else if terminal {
		socket = h.Listen(id)
		c.Args = append(c.Args, "--console-socket", socket.Path)
	}
	c.Args = append(c.Args, id)

	p := h.Start(c)
	if way != "run" {
		if r := p.Wait(); r.Status != 0 {
			t.Fatalf("status %d, stderr %q", r.Status, r.Stderr)
		}
	}
	if socket != nil {
		_, master := socket.Receive()
		defer master.Close()
	}
	if way == "create" {
		h.Must("start", id)
	}
	st := h.WaitFor(id, "running")
	isSleep := func() bool {
		data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", st.PID))
		return strings.HasPrefix(string(data), "/bin/sleep\x00")
	}
	if !linuxtest.Until(isSleep) { // from "running" to the program there are a few calls
		t.Fatal("the program does not begin")
	}
	got := descriptors(t, st.PID)
	want := []string{"0", "1", "2"}
	for i := range preserve {
		want = append(want, strconv.Itoa(3+i))
		if target := got[strconv.Itoa(3+i)]; target != files[i].Name() {
			t.Errorf("descriptor %d is %q, want %q", 3+i, target, files[i].Name())
		}
	}
	if numbers := slices.Sorted(maps.Keys(got)); !slices.Equal(numbers, want) {
		t.Errorf("descriptors %v, want %v", got, want)
	}
	for _, n := range want[:3] {
		if isTerminal := strings.HasPrefix(got[n], "/dev/pts/") || strings.HasPrefix(got[n], "/0"); isTerminal != terminal {
			t.Errorf("descriptor %s is %q", n, got[n])
		}
	}
	h.Must("kill", id, "KILL")
	if way == "run" {
		if r := p.Wait(); r.Status != 137 {
			t.Errorf("status %d, want 137", r.Status)
		}
		return
	}
	h.WaitFor(id, "stopped")
	h.Must("delete", id)
}

// descriptors gives the targets of a process's descriptors by number.
func descriptors(t *testing.T, pid int) map[string]string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	list := make(map[string]string)
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
		if err == nil {
			list[e.Name()] = target
		}
	}
	return list
}

// A created container may hold its own mounts, and no directory of the host's.
func TestDescriptorsOfCreated(t *testing.T) {
	h := linuxtest.One(t)
	id := h.ID("a")
	h.Must("create", "--bundle", h.Bundle(forever), id)
	st, _ := h.State(id)
	mountinfo, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", st.PID))
	if err != nil {
		t.Fatal(err)
	}
	for n, target := range descriptors(t, st.PID) {
		info, err := os.Stat(fmt.Sprintf("/proc/%d/fd/%s", st.PID, n))
		if err != nil || !info.IsDir() {
			continue
		}
		fdinfo, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", st.PID, n))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(fdinfo), "mnt_id:\t")
		mount, _, _ := strings.Cut(rest, "\n")
		if !strings.Contains("\n"+string(mountinfo), "\n"+mount+" ") {
			t.Errorf("descriptor %s is the directory %q of a mount that is not the container's", n, target)
		}
	}
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", st.PID)); err != nil || !strings.Contains(exe, "memfd:") {
		t.Errorf("the waiting process executes %q, %v, want a memfd", exe, err)
	}
	h.Must("delete", "--force", id)
}
