package criu

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A CRIU that hangs is not waited for.
func TestIdle(t *testing.T) {
	s, theirs, err := NewPair()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f := os.NewFile(uintptr(theirs), "criu")
	defer f.Close()
	s.idle = 50 * time.Millisecond
	o := &Options{ImagesDir: -1, WorkDir: -1, LazyPages: true} // lazy in a restore: it comes back at once
	_, err = s.Do(Restore, o, func(Notice) error { return nil })
	if err == nil || err.Error() != "criu restore: it has done nothing for 50ms" {
		t.Errorf("%v", err)
	}
}

// One that writes to its log or uses the processor does something.
func TestProgress(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	o := &Options{ImagesDir: -1, WorkDir: int(dir.Fd()), LogFile: "x.log"}
	none := o.progress()
	if err := os.WriteFile(dir.Name()+"/x.log", []byte("line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	logged := o.progress()
	if logged.log == none.log {
		t.Errorf("a log of five bytes counts as %d", logged.log)
	}
	o.ImagesDir, o.WorkDir = o.WorkDir, -1
	if again := o.progress(); again.log != logged.log {
		t.Errorf("in the images' directory it counts as %d", again.log)
	}
	worker := exec.Command("sh", "-c", "(i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done); echo; read x")
	in, err := worker.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := worker.StdoutPipe()
	if err == nil {
		err = worker.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Wait()
	defer worker.Process.Kill()
	before := o.progress()
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if after := o.progress(); after.ticks == before.ticks {
		t.Errorf("a child that works has used %d ticks before and after", after.ticks)
	}
}

// A program that does not end when its connection is closed is killed.
func TestEnd(t *testing.T) {
	program := t.TempDir() + "/criu"
	if err := os.WriteFile(program, []byte("#!/bin/sh\nexec sleep 1000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	p, err := Start(program)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.patience = 20 * time.Millisecond
	if err := p.End(); err == nil || !strings.Contains(err.Error(), "did not end within 20ms, and was killed") {
		t.Errorf("%v", err)
	}
}
