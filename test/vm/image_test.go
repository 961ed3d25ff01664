package vm

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// image is what the script of that name makes.
type image struct{ dir string }

func (i image) file(name string) string { return filepath.Join(i.dir, name) }

// kernel is that of a suite, with its initial file system.
func (i image) kernel(suite string) []string {
	return []string{"-kernel", i.file(suite + "/vmlinuz"), "-initrd", i.file(suite + "/initrd")}
}

// sources are the files that an image is made from.
func sources() []string { return []string{"image", "packages", "tests.service", "tests.target"} }

// keep is how long an image stays that nobody uses.
const keep = 14 * 24 * time.Hour

// openImage gives the image from the cache, and makes it first if there is none
// from these sources.
func openImage(t *testing.T) image {
	t.Helper()
	cache := cacheDir()
	if err := os.MkdirAll(cache, 0o700); err != nil {
		t.Fatalf("cannot make the cache of virtual machines: %v", err)
	}
	unlock := lock(t, cache)
	defer unlock()
	hash := sha256.New()
	for _, name := range sources() {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(hash, "%s %d\n%s", name, len(data), data)
	}
	i := image{filepath.Join(cache, fmt.Sprintf("%x", hash.Sum(nil)[:8]))}
	if _, err := os.Stat(i.dir); err != nil {
		begin := time.Now()
		i.make(t)
		t.Logf("the image took %.0f s to make", time.Since(begin).Seconds())
	}
	now := time.Now()
	if err := os.Chtimes(i.dir, now, now); err != nil {
		t.Error(err)
	}
	prune(t, cache)
	return i
}

// cacheDir is the user's cache. A service may have no home.
func cacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = "/var/cache"
	}
	return filepath.Join(dir, "tongs-vm")
}

// lock waits until no other test makes images in the cache.
func lock(t *testing.T, cache string) (unlock func()) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(imageTime)
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }
		}
		if time.Now().After(end) {
			t.Fatalf("another test has made an image in %s for %v: %v", cache, imageTime, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// imageTime bounds making an image, which takes a minute on an idle machine.
const imageTime = 15 * time.Minute

// make runs the script, whose output is shown if it fails.
func (i image) make(t *testing.T) {
	t.Helper()
	made := i.dir + ".new"
	if err := os.RemoveAll(made); err != nil { // a test that was killed
		t.Fatal(err)
	}
	cmd := exec.Command("./image", made)
	log, err := runBounded(cmd, imageTime)
	if err != nil {
		os.RemoveAll(made)
		t.Fatalf("cannot make the image of the virtual machine: %v\n%s", err, lastLines(log, 40))
	}
	if err := os.Rename(made, i.dir); err != nil {
		t.Fatal(err)
	}
}

// prune removes images that nobody has used for long.
func prune(t *testing.T, cache string) {
	t.Helper()
	entries, err := os.ReadDir(cache)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && e.IsDir() && time.Since(info.ModTime()) > keep {
			if err := os.RemoveAll(filepath.Join(cache, e.Name())); err != nil {
				t.Error(err)
			}
		}
	}
}

// runBounded runs a command, and kills it and all of its process group when it is
// too slow. It does not outlive the test.
func runBounded(cmd *exec.Cmd, limit time.Duration) (string, error) {
	out, err := os.CreateTemp("", "tongs-vm-log-")
	if err != nil {
		return "", err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	runtime.LockOSThread() // whose end the kernel takes for the parent's
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	timer := time.AfterFunc(limit, func() { unix.Kill(-cmd.Process.Pid, unix.SIGKILL) })
	err = cmd.Wait()
	if !timer.Stop() {
		err = fmt.Errorf("it was ended after %v: %w", limit, err)
	}
	text, _ := io.ReadAll(io.NewSectionReader(out, 0, 1<<20)) // what there is
	return string(text), err
}
