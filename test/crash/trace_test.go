package crash

import (
	"fmt"
	"testing"

	"tongs/internal/linuxtest/stepper"
)

// call is a system call of a traced program: the nth with its number.
type call struct {
	number, nth int
}

// trace runs a program to its end, or until kill says that it is to be killed
// before a call. All its threads are followed; what it forks runs free. It gives
// the calls in their order, and whether it has killed.
func trace(t *testing.T, argv []string, kill func(call) bool) (calls []call, killed bool) {
	t.Helper()
	nth := make(map[int]int)
	ws := stepper.Run(t, stepper.Command{Argv: argv}, func(s *stepper.Stop) stepper.Verdict {
		if !s.Entry {
			return stepper.Next
		}
		c := call{s.Number, nth[s.Number]}
		nth[s.Number]++
		calls = append(calls, c)
		if killed = kill(c); killed {
			return stepper.Kill
		}
		return stepper.Next
	})
	if !killed && ws.ExitStatus() != 0 {
		t.Errorf("%q: status %d, signal %v", argv, ws.ExitStatus(), ws.Signal())
	}
	return calls, killed
}

func (c call) String() string {
	return fmt.Sprintf("system call %d, number %d of its kind", c.number, c.nth+1)
}
