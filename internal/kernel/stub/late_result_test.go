package stub

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

// The result of the stub's report is stored by the stub after the report has
// woken tongs. With both on one CPU it is stored long after: when tongs has
// written its next batch. It must not land in a record of that batch, where an
// execve that is being executed would look as if it had returned.
func TestLateResult(t *testing.T) {
	if !isChild(t.Name()) {
		again(t, t.Name(), nil) // since it moves all threads to one CPU
		return
	}
	pin(t)
	for range 100 {
		s := launch(t, Config{})
		run(t, s, func(b *kernel.Batch) { b.Umask(0) })
		b := &kernel.Batch{}
		b.CloseRange(3, unix.CLOSE_RANGE_CLOEXEC)
		b.Execve("/proc/self/exe", []string{"argc is 1, which is no memory"}, nil)
		if err := s.Exec(b); err != nil {
			t.Fatal(err)
		}
		s.Kill()
		s.Close()
	}
}

// pin moves all threads of this process to its first CPU.
func pin(t *testing.T) {
	t.Helper()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	first := 0
	for !all.IsSet(first) {
		first++
	}
	one.Set(first)
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if tid, err := strconv.Atoi(task.Name()); err != nil || unix.SchedSetaffinity(tid, &one) != nil {
			t.Fatalf("cannot pin thread %q: %v", task.Name(), err)
		}
	}
}
