package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func testStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "a", "root"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// testDir is a container with a state, locked.
func testDir(t *testing.T, s *Store, id string) *Dir {
	t.Helper()
	d, err := s.Create(id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	if err := d.Write(sample()); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOpenLeavesNoTrace(t *testing.T) {
	s := testStore(t)
	if _, err := s.Lookup("c1"); err != ErrNotExist {
		t.Errorf("Lookup: got %v, want %v", err, ErrNotExist)
	}
	if ids, err := s.List(); err != nil || ids != nil {
		t.Errorf("List: got %v, %v; want nothing", ids, err)
	}
	if _, err := os.Stat(s.Path()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the root exists: %v", err)
	}
}

func TestCreateMakesRuncsModes(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	s := testStore(t)
	d := testDir(t, s, "c1")
	if err := d.MakeFIFO(os.Getuid(), os.Getgid()); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{
		s.Path():                 0o700 | fs.ModeDir,
		d.Path():                 0o711 | fs.ModeDir,
		d.Path() + "/state.json": 0o600,
		d.Path() + "/exec.fifo":  0o622 | fs.ModeNamedPipe,
	} {
		fi, err := os.Lstat(path)
		if err != nil {
			t.Error(err)
		} else if fi.Mode() != want {
			t.Errorf("mode of %q: got %v, want %v", path, fi.Mode(), want)
		}
	}
}

func TestOpenRefusesRoot(t *testing.T) {
	writable := t.TempDir()
	if err := os.Chmod(writable, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for root, want := range map[string]string{
		"/":      "a directory of its own",
		"//./":   "a directory of its own",
		writable: "other users can write",
		file:     "not a directory",
		"a\x00b": "invalid argument",
	} {
		s, err := Open(root)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%q): got %v, want an error with %q", root, err, want)
		}
	}
	if os.Getuid() != 0 {
		return
	}
	foreign := t.TempDir()
	if err := os.Chown(foreign, 12345, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(foreign); err == nil || !strings.Contains(err.Error(), "belongs to uid 12345") {
		t.Errorf("Open of another user's directory: got %v", err)
	}
}

func TestDefaultRoot(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "")
	if got := DefaultRoot(); got != "/run/tongs" {
		t.Errorf("without XDG_RUNTIME_DIR: got %q", got)
	}
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/7")
	want := "/run/user/7/tongs"
	if os.Geteuid() == 0 && !inUserNamespace() {
		want = "/run/tongs"
	}
	t.Setenv("USER", "somebody")
	if got := DefaultRoot(); got != want {
		t.Errorf("with XDG_RUNTIME_DIR: got %q, want %q", got, want)
	}
}

func TestRootBelowXDGIsSticky(t *testing.T) {
	xdg := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", xdg)
	s, err := Open(xdg + "/tongs")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	testDir(t, s, "c1")
	fi, err := os.Stat(s.Path())
	if err != nil {
		t.Fatal(err)
	}
	if want := 0o700 | fs.ModeDir | fs.ModeSticky; fi.Mode() != want {
		t.Errorf("got %v, want %v", fi.Mode(), want)
	}
	// A sticky root that only we can write to must open again.
	again, err := Open(s.Path())
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestCreateTaken(t *testing.T) {
	s := testStore(t)
	d := testDir(t, s, "c1")
	if _, err := s.Create("c1"); err != ErrExist {
		t.Errorf("locked: got %v, want %v", err, ErrExist)
	}
	d.Unlock()
	if _, err := s.Create("c1"); err != ErrExist {
		t.Errorf("unlocked: got %v, want %v", err, ErrExist)
	}
	if err := os.WriteFile(s.Path()+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create("file"); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("a file in place: got %v", err)
	}
	if err := os.Symlink(t.TempDir(), s.Path()+"/link"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create("link"); err == nil || errors.Is(err, ErrExist) {
		t.Errorf("a symlink in place: got %v", err)
	}
	if _, err := s.Create("../x"); err == nil || err.Error() != msgInvalidID {
		t.Errorf("bad name: got %v", err)
	}
}

// A create that was killed before its first write, or a delete before its last
// rmdir, leaves a directory without state.json that nobody has locked.
func TestCreateTakesLeftoverOver(t *testing.T) {
	s := testStore(t)
	testDir(t, s, "other")
	dir := s.Path() + "/c1"
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{tempName, fifoName} {
		if err := os.WriteFile(dir+"/"+name, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := testDir(t, s, "c1")
	if has, err := d.HasFIFO(); err != nil || has {
		t.Errorf("HasFIFO: got %v, %v; want the old one gone", has, err)
	}
	if _, err := os.Stat(dir + "/" + tempName); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old temporary file: %v", err)
	}
}

func TestCreateRaceHasOneWinner(t *testing.T) {
	s := testStore(t)
	testDir(t, s, "other") // makes the root
	for round := range 50 {
		id := fmt.Sprint("c", round)
		var wg sync.WaitGroup
		var mu sync.Mutex
		winners := 0
		for range 8 {
			wg.Go(func() {
				d, err := s.Create(id)
				if err == ErrExist {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				defer d.Close()
				if err := d.Write(sample()); err != nil {
					t.Error(err)
				}
				mu.Lock()
				winners++
				mu.Unlock()
			})
		}
		wg.Wait()
		if winners != 1 {
			t.Fatalf("round %d: %d winners", round, winners)
		}
	}
}

// Creates and deletes of one name, all at once: whoever holds the lock must own
// the directory that has the name.
func TestLockExcludesDeleteAndCreate(t *testing.T) {
	s := testStore(t)
	testDir(t, s, "other")
	var inside sync.Mutex
	var wg sync.WaitGroup
	enter := func(what string) {
		if !inside.TryLock() {
			t.Errorf("%s: another one is inside", what)
		}
	}
	created, deleted := 0, 0
	for range 4 {
		wg.Go(func() {
			for range 200 {
				d, err := s.Create("c1")
				if err == ErrExist {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				enter("create")
				created++
				if err := d.Write(sample()); err != nil {
					t.Error(err)
				}
				inside.Unlock()
				d.Close()
			}
		})
		wg.Go(func() {
			for range 200 {
				d, err := s.Lookup("c1")
				if err == ErrNotExist {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if err = d.Lock(); err == nil {
					enter("delete")
					if _, lerr := d.Load(); lerr != nil && lerr != ErrNotExist {
						t.Error(lerr)
					}
					if err := d.Remove(); err != nil {
						t.Error(err)
					}
					deleted++
					inside.Unlock()
				} else if err != ErrNotExist {
					t.Error(err)
				}
				d.Close()
			}
		})
	}
	wg.Wait()
	if created == 0 || deleted == 0 {
		t.Errorf("nothing was tried: %d creates, %d deletes", created, deleted)
	}
}

func TestLockAfterRemoveSaysNotExist(t *testing.T) {
	s := testStore(t)
	d := testDir(t, s, "c1")
	late, err := s.Lookup("c1")
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if err := d.Remove(); err != nil {
		t.Fatal(err)
	}
	d.Unlock()
	testDir(t, s, "c1") // the name is used anew
	if err := late.Lock(); err != ErrNotExist {
		t.Errorf("got %v, want %v", err, ErrNotExist)
	}
}

func TestWriteAndRemoveNeedTheLock(t *testing.T) {
	s := testStore(t)
	d := testDir(t, s, "c1")
	d.Unlock()
	if err := d.Write(sample()); err == nil {
		t.Error("Write without lock: no error")
	}
	if err := d.Remove(); err == nil {
		t.Error("Remove without lock: no error")
	}
}

func TestLoadHostileFile(t *testing.T) {
	for name, c := range map[string]struct {
		put  func(path string) error
		want string
	}{
		"fifo":      {func(p string) error { return unix.Mkfifo(p, 0o600) }, "not a regular file"},
		"symlink":   {func(p string) error { return os.Symlink("/etc/passwd", p) }, "too many levels of symbolic links"},
		"directory": {func(p string) error { return os.Mkdir(p, 0o700) }, "not a regular file"},
		"huge":      {func(p string) error { return errors.Join(os.WriteFile(p, nil, 0o600), os.Truncate(p, 1<<40)) }, "too large"},
		"garbage":   {func(p string) error { return os.WriteFile(p, []byte("\xff{"), 0o600) }, "damaged"},
		"another's": {func(p string) error {
			st := sample()
			st.ID = "c2"
			return os.WriteFile(p, st.Encode(), 0o600)
		}, `belongs to container "c2"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := testStore(t)
			d := testDir(t, s, "c1")
			path := d.Path() + "/" + stateName
			if err := errors.Join(os.Remove(path), c.put(path)); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Load(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Load: got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestRemoveTakesAllAndFollowsNoLink(t *testing.T) {
	s := testStore(t)
	d := testDir(t, s, "c1")
	marker := filepath.Join(t.TempDir(), "marker")
	err := errors.Join(
		os.WriteFile(marker, nil, 0o600),
		os.MkdirAll(d.Path()+"/notify/deep", 0o700),
		os.Symlink(filepath.Dir(marker), d.Path()+"/notify/link"),
		d.MakeFIFO(os.Getuid(), os.Getgid()),
	)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second one must be no error
		if err := d.Remove(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(d.Path()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory: %v", err)
	}
	if _, err := os.Stat(marker); err != nil {
		t.Errorf("a file outside: %v", err)
	}
}

// --root may have been mistaken: `delete --force` must not empty a directory
// that was never a container's.
func TestRemoveSparesWhatIsNoContainer(t *testing.T) {
	s := testStore(t)
	testDir(t, s, "other")
	file := s.Path() + "/thesis/chapter1"
	err := errors.Join(os.Mkdir(filepath.Dir(file), 0o700), os.WriteFile(file, nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Lookup("thesis")
	if err == nil {
		defer d.Close()
		err = d.Lock()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(); err == nil || !strings.Contains(err.Error(), "directory not empty") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

func TestListSkipsWhatCannotBeContainers(t *testing.T) {
	s := testStore(t)
	testDir(t, s, "b")
	testDir(t, s, "a")
	err := errors.Join(
		os.WriteFile(s.Path()+"/file", nil, 0o600),
		os.Mkdir(s.Path()+"/not valid", 0o700),
		os.Symlink("a", s.Path()+"/link"),
	)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := s.List()
	if want := []string{"a", "b"}; err != nil || !slices.Equal(ids, want) {
		t.Errorf("got %v, %v; want %v", ids, err, want)
	}
}

func TestLookupRefusesForeignDirectory(t *testing.T) {
	s := testStore(t)
	d := testDir(t, s, "c1")
	d.Close()
	if err := os.Chmod(d.Path(), 0o733); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lookup("c1"); err == nil || !strings.Contains(err.Error(), "other users can write") {
		t.Errorf("got %v", err)
	}
}
