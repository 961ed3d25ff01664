package stub

import (
	"os"
	"reflect"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

func deadline() time.Time { return time.Now().Add(5 * time.Second) }

// TestDescriptors runs in a process of its own, in which 3 to 5 are known.
func TestDescriptors(t *testing.T) {
	if !isChild(t.Name()) {
		var files []*os.File
		for range 3 {
			r, _ := pipe(t)
			files = append(files, r)
		}
		again(t, t.Name(), nil, files...)
		return
	}
	r, w := pipe(t)
	leaked, err := unix.FcntlInt(r.Fd(), unix.F_DUPFD, 20) // as if whoever started tongs had forgotten it
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leaked)
	for preserve := range 4 {
		s := launch(t, Config{Preserve: preserve, Inherit: []kernel.Handle{handle(w), handle(r)}})
		run(t, s, func(b *kernel.Batch) { b.Umask(0) })
		mine, got := openFDs(), fdsOf(strconv.Itoa(s.PID))
		want := map[string]string{"0": "/dev/null", "1": "/dev/null", "2": "/dev/null"}
		next := 3
		put := func(target string) {
			want[strconv.Itoa(next)] = target
			next++
		}
		for next < 3+preserve {
			put(mine[strconv.Itoa(next)])
		}
		put("/memfd:tongs:calls (deleted)")
		put(got[strconv.Itoa(next)]) // a socket of which only the stub has this end
		put(mine[strconv.Itoa(int(w.Fd()))])
		put(mine[strconv.Itoa(int(r.Fd()))])
		if !reflect.DeepEqual(got, want) {
			t.Errorf("preserve %d:\ngot  %v\nwant %v", preserve, got, want)
		}
		if n, _, _ := s.Line().Number(nil); n != int64(3+preserve+1) {
			t.Errorf("the line is %d", n)
		}
		// The handles mean what they say.
		run(t, s, func(b *kernel.Batch) { b.Write(s.Inherited()[0], "x") })
		b := &kernel.Batch{}
		text := b.Read(s.Inherited()[1], 1)
		if err := s.Run(b); err != nil || string(text.Bytes()) != "x" {
			t.Errorf("read %q, %v", text.Bytes(), err)
		}
		s.Kill()
		s.Close()
	}
}

func TestPreservedIsNotOpen(t *testing.T) {
	const missing = 900
	if _, err := unix.FcntlInt(3+missing, unix.F_GETFD, 0); err == nil {
		t.Skip("descriptor 903 is open")
	}
	if s, err := Start(Config{CgroupFD: -1, Preserve: missing + 1}); err == nil {
		s.Kill()
		s.Close()
		t.Error("a descriptor that is not open was preserved")
	}
}

// fork/exec uses numbers above the highest descriptor for its own purposes
// before it executes the image. Wherever that highest one lies, the image
// must not be among them.
func TestHighDescriptors(t *testing.T) {
	r, _ := pipe(t)
	for high := 10; high < 80; high++ {
		fd, err := unix.FcntlInt(r.Fd(), unix.F_DUPFD_CLOEXEC, high)
		if err != nil {
			t.Fatal(err)
		}
		inherit := []kernel.Handle{kernel.NewHandle(int64(fd), "high")}
		for range 12 { // low ones at high places, which are moved twice
			inherit = append(inherit, kernel.NewHandle(0, "low"))
		}
		s := launch(t, Config{Inherit: inherit})
		run(t, s, func(b *kernel.Batch) { b.Umask(0) })
		s.Kill()
		s.Close()
		unix.Close(fd)
	}
}
